"""The response so far: its token ids, their text, and where its code begins and ends."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from egcfg.decoding.code import CodeSpan, extract_code, find_code
from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt

__all__ = ["Response"]


@define
class Response:
    """What the model has answered to a prompt.

    Attributes:
        backend: turns token ids into text.
        problem: what was asked.
        prompt: how it was asked; its forced response prefix counts as part of the text.
        ids: the generated tokens.
        text: the forced prefix and the generated tokens' text.
        span: where the code stands in `text`.
    """

    backend: LogprobBackend
    problem: Problem
    prompt: Prompt
    ids: tuple[int, ...] = ()
    text: str = field(init=False)
    span: CodeSpan = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._read()

    @property
    def in_code(self) -> bool:
        """Whether the point is reached from which lines are guided."""
        return self.span.guidance_start is not None

    def append(self, token: int) -> str:
        """Add a token; return the text that it added."""
        before = len(self.text)
        self.ids += (token,)
        self._read()
        return self.text[before:]

    def text_with(self, ids: Sequence[int]) -> str:
        """Return the text as if `ids` came next."""
        return self.prompt.response_prefix + self.backend.decode((*self.ids, *ids))

    def program(self, further: str = "") -> str:
        """Return the whole program in the text (`further` behind it); empty if there is none."""
        return extract_code(
            self.text + further,
            self.prompt.layout,
            self.problem.entry_point,
            self.prompt.given_code,
        )

    def _read(self) -> None:
        self.text = self.text_with(())
        self.span = find_code(
            self.text, self.prompt.layout, self.problem.entry_point, self.prompt.given_code
        )
