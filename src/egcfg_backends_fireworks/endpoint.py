"""The backend behind both endpoint names: the seam's synchronous questions over a session."""

from __future__ import annotations

import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve

from egcfg.errors import CapabilityError, UsageError
from egcfg.interfaces.backend import (
    Capabilities,
    ChatMessage,
    Continuation,
    LogprobBackend,
    LogprobQuery,
    SampleQuery,
    ScoreQuery,
    TokenLogprobs,
    TokenSequence,
    Usage,
)
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.probe import ServerProfile
from egcfg_backends_fireworks.requests import Dialect
from egcfg_backends_fireworks.session import Session
from egcfg_backends_fireworks.transport import SdkTransport

__all__ = ["EndpointBackend"]

T = TypeVar("T")


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
        self.usage = Usage()
        self._model = options.model
        self._connect = self.transport_factory()
        self._tokenizer = LocalTokenizer(options.tokenizer) if options.tokenizer else None
        self._exits = ExitStack()
        # A thread that nobody ends would keep a process that forgets to close from exiting.
        weakref.finalize(self, self._exits.close)
        self._portal: BlockingPortal | None = None
        self._client: EndpointClient | None = None
        self._opened: Session | None = None

    @abstractmethod
    def transport_factory(self) -> Callable[[], SdkTransport]:
        """Return what opens the connection, in the event loop that is to use it.

        Raises:
            UsageError: the address or the API key is missing or wrong.
        """

    @abstractmethod
    def dialect(self) -> Dialect:
        """Return how this service wants things said."""

    @property
    def model_name(self) -> str:
        """The model's name as the service knows it."""
        return self._model

    @property
    def capabilities(self) -> Capabilities:
        """What the server was found to do; probes it if that has not been done."""
        session = self._session()
        profile = session.server.profile
        return Capabilities(
            top_k=profile.top_k,
            scores_drafts=session.scoring.echoes,
            context_length=self.options.context_length or profile.context_length,
            chat=self._tokenizer is not None or profile.chat_template,
            deterministic=profile.seeded,
            exact_logprobs=session.scoring.tells_single_tokens,
            goes_ahead=session.scoring.goes_ahead,
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The end-of-sequence tokens met so far; complete for every distribution given out."""
        return frozenset(self._session().server.reader.end_ids)

    @property
    def dropped_alternatives(self) -> int:
        """Alternatives that could be given no token id, so far."""
        return self._session().server.reader.dropped

    def probe(self) -> ServerProfile:
        """Return what the server can do; asked once per backend.

        Raises:
            CapabilityError: it gives no log-probabilities.
            UsageError, BackendError: it does not answer, or not this user.
        """
        return self._session().server.profile

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt: the model's own where they can be known, else of pieces."""
        return self._run(self._session().server.wire.encode, text)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has: an estimate where only a request would tell."""
        return self._run(self._session().server.wire.count, text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens."""
        session = self._session()
        if session.server.profile.spells_apart:
            self._run(session.server.speller.learn, ids)
        return session.server.reader.vocabulary.decode(ids)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return the prompt text of a chat, by the local tokenizer or the server's template.

        Raises:
            CapabilityError: there is neither.
        """
        if self._tokenizer is not None:
            return self._tokenizer.render_chat(messages)
        session = self._session()
        text = None
        if session.server.profile.chat_template:
            text = self._run(session.routes.render_chat, messages)
        if text is None:
            raise CapabilityError(
                f"the endpoint has no chat template for {self.model_name}; choose --prompt "
                "deepseek_instruct or --prompt long_code, or name the model's tokenizer: "
                "--tokenizer HUB_ID_OR_FOLDER"
            )
        return text

    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return the distributions of each query, in one request for all where possible."""
        session = self._session()
        if any(query.draft for query in queries) and not session.scoring.echoes:
            raise CapabilityError(
                f"the endpoint scores no drafts (echo: {session.server.profile.echo}, policy: "
                f"{self.options.drafts}); send sequences without drafts"
            )
        return self._run(session.scoring.score, queries)

    def ahead(self, sequence: TokenSequence) -> tuple[tuple[int, ...], list[TokenLogprobs]]:
        """Return where the server went on by itself when it was asked before."""
        return self._run(self._session().scoring.ahead, sequence)

    def logprobs(self, queries: Sequence[LogprobQuery]) -> list[list[float]]:
        """Return the exact log-probabilities of each query's tokens."""
        session = self._session()
        if not session.scoring.tells_single_tokens:
            raise CapabilityError(
                f"the endpoint tells no log-probabilities of chosen tokens (echo: "
                f"{session.server.profile.echo}, policy: {self.options.drafts}, no logit_bias)"
            )
        return self._run(session.scoring.logprobs, queries)

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return the continuations of each query, in as few requests as the server allows."""
        return self._run(self._session().sampling.sample, queries)

    def close(self) -> None:
        """End the requests in flight and close the connections."""
        self._portal = self._client = self._opened = None
        self._exits.close()

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = self._run(self._open, self._started_portal())
        return self._opened

    async def _open(self, portal: BlockingPortal) -> Session:
        if self._client is None:
            transport = self._connect()
            self._exits.callback(portal.call, transport.close)
            self._client = EndpointClient(transport, self.options, usage=self.usage)
        return await Session.open(
            self._client,
            self.dialect(),
            self._model,
            self.options,
            self._tokenizer.encode if self._tokenizer is not None else None,
        )

    def _run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run a coroutine on the event loop's thread, and count what it cost."""
        portal = self._started_portal()
        started = time.perf_counter()
        try:
            answer: T = portal.call(function, *args)
            return answer
        finally:
            seconds = self.usage.seconds + time.perf_counter() - started
            counted = self._client.usage if self._client is not None else self.usage
            self.usage = evolve(counted, seconds=seconds)

    def _started_portal(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._exits.enter_context(start_blocking_portal())
            self._exits.callback(self._portal.call, self._portal.stop, True)
        return self._portal
