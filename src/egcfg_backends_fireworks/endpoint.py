"""The backend behind both endpoint names: what the seam asks, in terms of completion requests."""

from __future__ import annotations

import asyncio
import time
import uuid
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve, frozen

from egcfg.backend import (
    Capabilities,
    ChatMessage,
    Continuation,
    LogprobBackend,
    SampleQuery,
    ScoreQuery,
    TokenLogprobs,
    Usage,
)
from egcfg.errors import CapabilityError, UsageError
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.distributions import RowReader, check_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.probe import STEERING_BIAS, ServerProfile, probe_server
from egcfg_backends_fireworks.prompts import PromptWire
from egcfg_backends_fireworks.requests import Dialect, Requests
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
from egcfg_backends_fireworks.sampling import draw
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.transport import SdkTransport
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["EndpointBackend"]

T = TypeVar("T")
MOST_CHOICES = 128
"""Continuations in one request at most, as the services document it."""


@frozen(kw_only=True)
class _Session:
    """What is known once the server has been probed."""

    client: EndpointClient
    requests: Requests
    routes: ServerRoutes
    profile: ServerProfile
    reader: RowReader
    wire: PromptWire


class EndpointBackend(LogprobBackend):
    """A model behind a completions endpoint with log-probabilities.

    The server is probed at the first question. Requests run on an event loop in a thread of their
    own, so that a backend works inside and outside of a caller's own loop.

    Args:
        options: which model, where, and with how much patience.

    Raises:
        UsageError: the model is not named, or the API key is not set.
    """

    Options: ClassVar[type] = EndpointOptions

    def __init__(self, options: EndpointOptions) -> None:
        if not options.model:
            raise UsageError(
                "an endpoint needs the model's name as the service knows it; pass --model NAME"
            )
        self.options = options
        self.tokenizer = LocalTokenizer(options.tokenizer) if options.tokenizer else None
        self.usage = Usage()
        self._model = options.model
        self._new_transport = self.transport_factory()
        self._too_many = MOST_CHOICES + 1
        self._cache_key = uuid.uuid4().hex
        self._exits = ExitStack()
        self._portal: BlockingPortal | None = None
        self._probed: _Session | None = None

    @abstractmethod
    def transport_factory(self) -> Callable[[], SdkTransport]:
        """Return what opens the connection, in the event loop that is to use it.

        Raises:
            UsageError: the API key is not set.
        """

    @abstractmethod
    def dialect(self) -> Dialect:
        """Return how this service wants things said."""

    # --- what the seam asks ------------------------------------------------------------------

    @property
    def model_name(self) -> str:
        """The model's name as the service knows it."""
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        """What the server was found to do; probes it if that has not been done."""
        profile = self.probe()
        return Capabilities(
            top_k=profile.top_k,
            scores_drafts=False,
            context_length=self.options.context_length or profile.context_length,
            chat=self.tokenizer is not None or profile.chat_template,
            deterministic=profile.seeded,
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The end-of-sequence tokens met so far; complete for every distribution given out."""
        return frozenset(self._session().reader.end_ids)

    @property
    def dropped_alternatives(self) -> int:
        """Alternatives that could be given no token id, so far."""
        return self._session().reader.dropped

    def probe(self) -> ServerProfile:
        """Return what the server can do; asked once per backend.

        Raises:
            CapabilityError: it gives no log-probabilities.
            UsageError, BackendError: it does not answer, or not this user.
        """
        return self._session().profile

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt: the model's own where they can be known, else of pieces."""
        return self._run(self._session().wire.encode, text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens."""
        return self._session().reader.vocabulary.decode(ids)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return the prompt text of a chat, by the local tokenizer or the server's template.

        Raises:
            CapabilityError: there is neither.
        """
        if self.tokenizer is not None:
            return self.tokenizer.render_chat(messages)
        session = self._session()
        text = None
        if session.profile.chat_template:
            text = self._run(session.routes.render_chat, messages)
        if text is None:
            raise CapabilityError(
                f"the endpoint has no chat template for {self.model_name}; choose --prompt "
                "deepseek_instruct or --prompt long_code, or name the model's tokenizer: "
                "-o backend.tokenizer=HUB_ID_OR_FOLDER"
            )
        return text

    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return one distribution per query; all are asked for at once."""
        if any(query.draft for query in queries):
            raise CapabilityError("an endpoint scores no drafts; send sequences without drafts")
        session = self._session()
        return [[one] for one in self._run(self._score_all, session, queries)]

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return the continuations of each query, in one request per query where possible."""
        return self._run(self._sample_all, self._session(), queries)

    def close(self) -> None:
        """End the requests in flight and close the connections."""
        portal, self._portal = self._portal, None
        if portal is not None:
            if self._probed is not None:
                portal.call(self._probed.client.transport.close)
            portal.call(portal.stop, True)
        self._exits.close()
        self._probed = None

    # --- how it is answered ----------------------------------------------------------------------

    async def _score_all(
        self, session: _Session, queries: Sequence[ScoreQuery]
    ) -> list[TokenLogprobs]:
        return await _together([self._score(session, query) for query in queries])

    async def _score(self, session: _Session, query: ScoreQuery) -> TokenLogprobs:
        prompt = await session.wire.wire(query.sequence.ids)
        profile, reader = session.profile, session.reader
        request = partial(
            session.requests.completion,
            prompt,
            # Where the temperature changes what is reported, 1 is the one that leaves it alone.
            temperature=0.0 if profile.raw else 1.0,
            cache_key=self._key(query.sequence.role),
        )

        def check(completion: Completion) -> None:
            choice = completion.choices[0]
            check_rows(choice)
            if not choice.rows and not (profile.steering_id is not None or _ended(choice)):
                raise MalformedResponseError("an answer without log-probabilities")

        choice = (await session.client.complete(request(), check)).choices[0]
        if not choice.rows and profile.steering_id is not None:
            # No row: the token was no whole character, or an end that the server does not show.
            # What is asked is the distribution, so let the server draw another token from it.
            bias = {profile.steering_id: STEERING_BIAS}
            choice = (await session.client.complete(request(bias=bias), _needs_rows)).choices[0]
        if not choice.rows:
            return reader.hidden_end(profile.end_id)
        reader.note_end(choice)
        return reader.distribution(choice.rows[0])

    async def _sample_all(
        self, session: _Session, queries: Sequence[SampleQuery]
    ) -> list[list[Continuation]]:
        # One after the other: llama.cpp's server mixes up its caches when several prompts with
        # several continuations each are evaluated together.
        return [await self._sample(session, query) for query in queries]

    async def _sample(self, session: _Session, query: SampleQuery) -> list[Continuation]:
        prompt = tuple(query.sequence.ids)

        async def ask(ids: Sequence[int], count: int, tokens: int, seed: int) -> Sequence[Choice]:
            request = partial(
                session.requests.completion,
                await session.wire.wire((*prompt, *ids)),
                max_tokens=tokens,
                temperature=query.params.temperature,
                top_p=query.params.top_p,
                cache_key=self._key(query.sequence.role),
            )
            return await self._choices(session, request, count, seed)

        return await draw(
            ask, session.reader, query.count, query.params, keep_scores=session.profile.raw
        )

    async def _choices(
        self, session: _Session, request: Callable[..., dict[str, Any]], count: int, seed: int
    ) -> Sequence[Choice]:
        def check(wanted: int, completion: Completion) -> None:
            if len(completion.choices) != wanted:
                raise MalformedResponseError(
                    f"{len(completion.choices)} continuations instead of {wanted}"
                )
            for choice in completion.choices:
                check_rows(choice)

        if session.profile.multiple and 1 < count < self._too_many:
            try:
                body = request(n=count, seed=seed)
                return (await session.client.complete(body, partial(check, count))).choices
            except RejectedRequestError:
                # More than this server's `n` may be: one request each, now and from now on.
                self._too_many = count
        completions = await _together(
            [
                session.client.complete(request(seed=seed + index), partial(check, 1))
                for index in range(count)
            ]
        )
        return [completion.choices[0] for completion in completions]

    def _key(self, role: str) -> str:
        return f"egcfg-{self._cache_key}-{role or 'other'}"

    # --- the connection ----------------------------------------------------------------------

    def _session(self) -> _Session:
        if self._probed is None:
            self._probed = self._run(self._open)
        return self._probed

    async def _open(self) -> _Session:
        dialect = self.dialect()
        client = EndpointClient(self._new_transport(), self.options)
        routes = ServerRoutes(client, self._model, enabled=dialect.server_routes)
        requests = Requests(model=self._model, dialect=dialect, top_k=self.options.top_k)
        try:
            profile, requests = await probe_server(client, requests, routes)
        except BaseException:
            await client.transport.close()
            raise
        vocabulary = Vocabulary(has_ids=profile.ids_throughout)
        reader = RowReader(vocabulary, profile.top_k)
        if profile.end_id is not None and vocabulary.has_ids:
            vocabulary.learn(profile.end_id, b"")
            reader.end_ids.add(profile.end_id)

        async def learn(text: str) -> Sequence[int] | None:
            return (await client.complete(requests.completion(text))).choices[0].prompt_ids

        wire = PromptWire(
            vocabulary,
            profile,
            routes.tokenize_pieces,
            learn,
            self.tokenizer.encode if self.tokenizer is not None else None,
        )
        return _Session(
            client=client,
            requests=requests,
            routes=routes,
            profile=profile,
            reader=reader,
            wire=wire,
        )

    def _run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine on the event loop's thread, and count what it cost."""
        if self._portal is None:
            self._portal = self._exits.enter_context(start_blocking_portal())
        started = time.perf_counter()
        try:
            answer: T = self._portal.call(function, *args)
            return answer
        finally:
            seconds = self.usage.seconds + time.perf_counter() - started
            counted = self._probed.client.usage if self._probed else self.usage
            self.usage = evolve(counted, seconds=seconds)


async def _together(questions: Sequence[Awaitable[T]]) -> list[T]:
    """Return all answers; if one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _needs_rows(completion: Completion) -> None:
    if not completion.choices[0].rows:
        raise MalformedResponseError("an answer without log-probabilities")


def _ended(choice: Choice) -> bool:
    return choice.finish == "stop" and not choice.text
