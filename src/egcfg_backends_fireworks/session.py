"""A probed server and the questions that the seam asks of it, as completion requests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from attrs import define, field

from egcfg.backend import Continuation, SampleQuery, ScoreQuery, TokenLogprobs
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.distributions import RowReader, check_rows
from egcfg_backends_fireworks.drafts import draft_distributions, draft_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.probe import STEERING_BIAS, ServerProfile, probe_server
from egcfg_backends_fireworks.prompts import PromptWire
from egcfg_backends_fireworks.requests import Dialect, Requests
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
from egcfg_backends_fireworks.sampling import draw
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.together import together
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["Session"]

MOST_CHOICES = 128
"""Continuations in one request at most, as the services document it."""


@define(kw_only=True)
class Session:
    """Everything known about a server once it has been probed; lives in one event loop.

    Attributes:
        client: asks it.
        requests: words what it is asked.
        routes: its further routes.
        profile: what it can do.
        reader: reads its rows.
        wire: turns sequences into what is sent.
    """

    client: EndpointClient
    requests: Requests
    routes: ServerRoutes
    profile: ServerProfile
    reader: RowReader
    wire: PromptWire
    _cache_key: str = field(factory=lambda: uuid.uuid4().hex, init=False, repr=False)
    _most_choices: int = field(default=MOST_CHOICES, init=False, repr=False)

    @classmethod
    async def open(
        cls,
        client: EndpointClient,
        dialect: Dialect,
        model: str,
        top_k: int,
        tokenizer: Callable[[str], Sequence[int]] | None,
    ) -> Self:
        """Probe a server.

        Raises:
            CapabilityError: it gives no log-probabilities.
            UsageError, BackendError: it does not answer, or not this user.
        """
        routes = ServerRoutes(client, model, enabled=dialect.server_routes)
        asked = Requests(model=model, dialect=dialect, top_k=top_k)
        profile, requests = await probe_server(client, asked, routes)
        vocabulary = Vocabulary(has_ids=profile.ids_throughout)
        reader = RowReader(vocabulary, profile.top_k)
        if profile.end_id is not None and vocabulary.has_ids:
            vocabulary.learn(profile.end_id, b"")
            reader.end_ids.add(profile.end_id)

        async def learn(text: str) -> Sequence[int] | None:
            return (await client.complete(requests.completion(text))).choices[0].prompt_ids

        return cls(
            client=client,
            requests=requests,
            routes=routes,
            profile=profile,
            reader=reader,
            wire=PromptWire(vocabulary, profile, routes.tokenize_pieces, learn, tokenizer),
        )

    async def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return the distributions of each query; all queries are asked at once."""
        return await together(
            [self._score_draft(query) if query.draft else self._score(query) for query in queries]
        )

    async def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return the continuations of each query.

        One query after the other: llama.cpp's server mixes up its caches when several prompts with
        several continuations each are evaluated together.
        """
        return [await self._sample(query) for query in queries]

    # --- scoring -----------------------------------------------------------------------------

    async def _score(self, query: ScoreQuery) -> list[TokenLogprobs]:
        steering, reader = self.profile.steering_id, self.reader
        request = partial(
            self.requests.completion,
            await self.wire.wire(query.sequence.ids),
            temperature=self._plain_temperature,
            cache_key=self._key(query.sequence.role),
        )

        def check(completion: Completion) -> None:
            choice = completion.choices[0]
            check_rows(choice)
            if not (choice.rows or steering is not None or _ended(choice)):
                raise MalformedResponseError("an answer without log-probabilities")

        choice = (await self.client.complete(request(), check)).choices[0]
        if not choice.rows and steering is not None:
            # No row: the token was no whole character, or an end that the server does not show.
            # What is asked is the distribution, so let the server draw another token from it.
            bias = {steering: STEERING_BIAS}
            choice = (await self.client.complete(request(bias=bias), _needs_rows)).choices[0]
        if not choice.rows:
            return [reader.hidden_end(self.profile.end_id)]
        reader.note_end(choice)
        return [reader.distribution(choice.rows[0])]

    async def _score_draft(self, query: ScoreQuery) -> list[TokenLogprobs]:
        draft = query.draft
        request = self.requests.completion(
            await self.wire.wire((*query.sequence.ids, *draft)),
            temperature=self._plain_temperature,
            echo=len(draft) if self.profile.echo_last else 0,
            cache_key=self._key(query.sequence.role),
        )

        def check(completion: Completion) -> None:
            draft_rows(completion.choices[0], draft)

        choice = (await self.client.complete(request, check)).choices[0]
        return draft_distributions(self.reader, choice, draft)

    @property
    def _plain_temperature(self) -> float:
        # Where the temperature changes what is reported, 1 is the one that leaves it alone.
        return 0.0 if self.profile.raw else 1.0

    # --- sampling ------------------------------------------------------------------------------

    async def _sample(self, query: SampleQuery) -> list[Continuation]:
        prompt = tuple(query.sequence.ids)

        async def ask(ids: Sequence[int], count: int, tokens: int, seed: int) -> Sequence[Choice]:
            request = partial(
                self.requests.completion,
                await self.wire.wire((*prompt, *ids)),
                max_tokens=tokens,
                temperature=query.params.temperature,
                top_p=query.params.top_p,
                cache_key=self._key(query.sequence.role),
            )
            return await self._choices(request, count, seed)

        return await draw(ask, self.reader, query.count, query.params, keep_scores=self.profile.raw)

    async def _choices(
        self, request: Callable[..., dict[str, Any]], count: int, seed: int
    ) -> Sequence[Choice]:
        def check(wanted: int, completion: Completion) -> None:
            if len(completion.choices) != wanted:
                raise MalformedResponseError(
                    f"{len(completion.choices)} continuations instead of {wanted}"
                )
            for choice in completion.choices:
                check_rows(choice)

        if self.profile.multiple and 1 < count <= self._most_choices:
            try:
                body = request(n=count, seed=seed)
                return (await self.client.complete(body, partial(check, count))).choices
            except RejectedRequestError:
                # More than this server's `n` may be: one request each, now and from now on.
                self._most_choices = count - 1
        completions = await together(
            [
                self.client.complete(request(seed=seed + index), partial(check, 1))
                for index in range(count)
            ]
        )
        return [completion.choices[0] for completion in completions]

    def _key(self, role: str) -> str:
        return f"egcfg-{self._cache_key}-{role or 'other'}"


def _needs_rows(completion: Completion) -> None:
    check_rows(completion.choices[0])
    if not completion.choices[0].rows:
        raise MalformedResponseError("an answer without log-probabilities")


def _ended(choice: Choice) -> bool:
    return choice.finish == "stop" and not choice.text
