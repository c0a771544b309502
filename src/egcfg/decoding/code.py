"""From code to programs that can run, and a response that grows towards one (step 3b)."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

from egcfg.decoding.answer import AnswerReader
from egcfg.decoding.definitions import Strength, parse, strength
from egcfg.decoding.extraction import code_so_far, extract_code
from egcfg.decoding.lexing import Lexer
from egcfg.decoding.settings import Comments
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Alternative
from egcfg.usage.model import Model

__all__ = ["CandidateProgram", "Response", "distinct_programs", "executable_program"]


@frozen
class CandidateProgram:
    """A distinct executable program of some candidates.

    Attributes:
        source: normalised source text, or the first such text as it was written.
        samples: how many of the given texts led to it.
    """

    source: str
    samples: int


def executable_program(text: str, entry_point: str | None) -> str | None:
    """Return the executable program of `text`, or None if there is none.

    Args:
        text: code, possibly cut off anywhere.
        entry_point: function that the program must define; None accepts any program.

    Returns:
        The longest prefix of whole lines that parses once an empty block at its end has a `pass`
        and an unfinished `try` has an empty `finally`; without comments and docstrings, as
        `ast.unparse` prints it. Equal programs give equal text.
    """
    found = _executable(text)
    return found and _normalise(found[1], entry_point)


def distinct_programs(
    texts: Iterable[str], entry_point: str | None, comments: Comments = Comments.DROP
) -> list[CandidateProgram]:
    """Return the distinct executable programs of `texts`, in order of first appearance.

    Comments and docstrings tell no two programs apart, whether they are kept or not.
    """
    counts: Counter[str] = Counter()
    written: dict[str, str] = {}
    for text in texts:
        found = _executable(text)
        source = found and _normalise(found[1], entry_point)
        if found and source:
            counts[source] += 1
            written.setdefault(source, found[0] if comments is Comments.KEEP else source)
    return [CandidateProgram(written[source], samples) for source, samples in counts.items()]


def _executable(text: str) -> tuple[str, ast.Module] | None:
    """Return the longest prefix of `text` that parses, completed, and its syntax tree."""
    lines = text.split("\n")
    for end in range(len(lines), 0, -1):
        for completed in _completions(lines[:end]):
            tree = parse(completed)
            if tree is not None:
                return completed.strip("\n"), tree
    return None


def _completions(lines: list[str]) -> Iterator[str]:
    """Yield `lines` as they are, then with what an open block at their end may lack."""
    text = "\n".join(lines)
    yield text
    last = next((line for line in reversed(lines) if line.strip()), "")
    # A colon elsewhere in the line costs one failed parse, no more.
    body = text + "\n" + _indent(last) + "    pass" if ":" in last else text
    if body is not text:
        yield body
    for indent in _open_tries(lines):
        body += f"\n{indent}finally:\n{indent}    pass"
        yield body


def _open_tries(lines: list[str]) -> list[str]:
    """Return the indents of the `try` lines without a handler, innermost first."""
    tries: list[str] = []
    lexer = Lexer()
    for line in lines:
        words = line.strip()
        if not lexer.in_string and words.startswith("try:"):
            tries.append(_indent(line))
        elif words.startswith(("except", "finally")) and _indent(line) in tries:
            # Whatever was opened deeper ended before this line.
            del tries[tries.index(_indent(line)) :]
        lexer.feed(line + "\n")
    return tries[::-1]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _normalise(tree: ast.Module, entry_point: str | None) -> str | None:
    """Return the source of `tree` without docstrings; None if it lacks its entry point."""
    if not tree.body or (entry_point and strength(tree, entry_point) is Strength.NONE):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    try:
        return ast.unparse(tree) or None
    except RecursionError:
        return None


def _drop_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> None:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            node.body = rest
    if not node.body and not isinstance(node, ast.Module):
        node.body = [ast.Pass()]


# --- a response as it grows ---------------------------------------------------------------------


@define
class Response:
    """What the model has answered to a prompt.

    Attributes:
        model: turns token ids into text.
        problem: what was asked.
        prompt: how it was asked; its response prefix counts as part of the text.
        ids: the generated tokens.
        alternatives: how many of the likeliest tokens of a distribution to tell.
    """

    model: Model
    problem: Task
    prompt: Prompt
    ids: tuple[int, ...] = ()
    alternatives: int = 0
    _reader: AnswerReader = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._reader = self._new_reader()
        self.read(self.prompt.response_prefix)

    @property
    def text(self) -> str:
        """The response prefix and the generated tokens' text."""
        return self._reader.text

    @property
    def in_code(self) -> bool:
        """Whether the lines that come next are guided."""
        span = self._reader.span
        return span.guidance_start is not None and span.end is None

    @property
    def over(self) -> bool:
        """Whether nothing of the answer is to come."""
        return self._reader.span.over

    async def append(self, token: int) -> str:
        """Add a token; return the text that it added."""
        before = len(self.text)
        self.ids += (token,)
        self.read(await self.text_with(()))
        return self.text[before:]

    def extend(self, ids: tuple[int, ...], text: str) -> None:
        """Add tokens that decode to `text` where they stand."""
        self.ids += ids
        self.read(self.text + text)

    def take_back(self, ids: tuple[int, ...], text: str) -> None:
        """Become the response that it was at these tokens, with this text."""
        self.ids = ids
        self._reader = self._new_reader()
        self.read(text)

    async def text_with(self, ids: Sequence[int]) -> str:
        """Return the text as if `ids` came next."""
        return self.prompt.response_prefix + await self.model.decode((*self.ids, *ids))

    async def addition(self, token: int) -> str:
        """Return the text that `token` would add if it came next."""
        return (await self.text_with((token,)))[len(self.text) :]

    async def likeliest(self, distribution: Logprobs | None) -> tuple[Alternative, ...]:
        """Return the likeliest next tokens of a distribution, `alternatives` at most."""
        told = self.alternatives
        top = [] if distribution is None or not told else distribution.top(told)
        return tuple([Alternative(text=await self.addition(t), logprob=v) for t, v in top])

    def read(self, text: str) -> None:
        """Take `text` as the whole response so far."""
        self._reader.read(text)

    def program_with(self, continuation: str = "") -> str:
        """Return the program that the text and `continuation` have come to; empty if to none."""
        reader = self._new_reader()
        reader.read(self.text + continuation)
        return code_so_far(reader)

    def program(self, continuation: str = "") -> str:
        """Return the program of the response with `continuation` at its end; empty if to none."""
        return extract_code(
            self.text + continuation,
            self.prompt.layout,
            self.problem.entry_point,
            self.prompt.given_code,
        )

    def _new_reader(self) -> AnswerReader:
        # Where the answer has a beginning already, the prompt closed the reasoning before it.
        opened = self.prompt.chat and not self.prompt.response_prefix
        return AnswerReader.of(
            self.prompt,
            self.problem.entry_point,
            reasoning=opened and self.model.capabilities.reasons,
        )
