"""A backend in front of another one: a subclass overrides the questions that it changes."""

from __future__ import annotations

from collections.abc import Sequence

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

__all__ = ["ForwardingBackend"]


class ForwardingBackend(LogprobBackend):
    """Answers everything as the backend behind it does.

    Args:
        backend: the one behind it.
    """

    Options = object

    def __init__(self, backend: LogprobBackend) -> None:
        self.backend = backend

    @property
    def usage(self) -> Usage:  # type: ignore[override]  # nobody sets another's totals
        """The totals of the backend behind it."""
        return self.backend.usage

    @property
    def model_name(self) -> str:
        """As the backend says."""
        return self.backend.model_name

    @property
    def capabilities(self) -> Capabilities:
        """As the backend says."""
        return self.backend.capabilities

    @property
    def end_ids(self) -> frozenset[int]:
        """As the backend says."""
        return self.backend.end_ids

    def encode(self, text: str) -> tuple[int, ...]:
        """As the backend does."""
        return self.backend.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """As the backend does."""
        return self.backend.decode(ids)

    def count_tokens(self, text: str) -> int:
        """As the backend does."""
        return self.backend.count_tokens(text)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """As the backend does."""
        return self.backend.render_chat(messages)

    def start(self, ids: Sequence[int], role: str = "") -> TokenSequence:
        """As the backend does."""
        return self.backend.start(ids, role)

    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """As the backend does."""
        return self.backend.score(queries)

    def ahead(self, sequence: TokenSequence) -> tuple[tuple[int, ...], list[TokenLogprobs]]:
        """As the backend does."""
        return self.backend.ahead(sequence)

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """As the backend does."""
        return self.backend.sample(queries)

    def logprobs(self, queries: Sequence[LogprobQuery]) -> list[list[float]]:
        """As the backend does."""
        return self.backend.logprobs(queries)

    def close(self) -> None:
        """End the backend."""
        self.backend.close()
