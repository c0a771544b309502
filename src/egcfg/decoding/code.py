"""The code in a response: finds it, cuts it, and makes it a program that can run (step 3b).

Pure functions over text come first, then `Response`, which follows one response as it grows. Every
decision about where code begins and ends looks only at text that cannot change any more, so a
position that was found once is found again, at the same place, in every longer response with the
same beginning.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.usage.model import Model

__all__ = [
    "CandidateProgram",
    "CodeSpan",
    "Response",
    "distinct_programs",
    "executable_program",
    "extract_code",
    "find_code",
    "parses",
]

# What the parser raises on text that a model may write: null bytes, hopeless nesting.
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@frozen
class CodeSpan:
    """Where the code is in a response; positions are character indices.

    Attributes:
        start: where it begins; None: not yet.
        end: where it ends (exclusive); None: not yet.
        guidance_start: the first character that guidance may shape: after ``def <entry point>(``,
            or `start` where no such definition is to come; None: not yet.
    """

    start: int | None = None
    end: int | None = None
    guidance_start: int | None = None


def find_code(
    response: str, layout: CodeLayout, entry_point: str | None, given_code: str = ""
) -> CodeSpan:
    """Return where the code of a response, finished or not, begins and ends.

    Args:
        response: the text so far, a forced response prefix included.
        layout: where a prompt of this kind has its code.
        entry_point: name of the function asked for; None for a whole program.
        given_code: code that the response continues or that comes before it.
    """
    if layout is CodeLayout.COMPLETION:
        start, end = 0, _completion_end(response, entry_point, given_code)
    else:
        fence = _opening_fence(response)
        if fence is None:
            return CodeSpan()
        start, end = fence.end, _closing_fence(response, fence)
    return CodeSpan(start, end, _guidance_start(response, start, end, entry_point, given_code))


def extract_code(
    response: str, layout: CodeLayout, entry_point: str | None, given_code: str = ""
) -> str:
    """Return the whole program of a response: given code, then its code; empty if it holds none.

    A model that forgot the fence, or that answered a plain continuation with a fenced function, is
    understood as well. The arguments are those of `find_code`.
    """
    span = find_code(response, layout, entry_point, given_code)
    if layout is CodeLayout.COMPLETION:
        program = given_code + response[: span.end]
        if parses(program):
            return program
        # An instruction-tuned model tends to start afresh instead of continuing.
        restart = extract_code(response, CodeLayout.FENCED, entry_point)
        afresh = entry_point is None or _definition(entry_point).search(restart)
        return restart if restart and afresh and parses(restart) else program
    if span.start is None:
        code = _bare_code(response, entry_point)
    elif span.end is None:
        code = re.sub(r"(?m)^`{1,2}\Z", "", response[span.start :])  # half a closing fence
    else:
        code = response[span.start : span.end]
    if not code.strip():
        return ""
    gap = "\n" if given_code and not given_code.endswith("\n") else ""
    return given_code + gap + textwrap.dedent(code)


# --- fenced code ------------------------------------------------------------------------------

# A whole line: an info string of backtick fences holds no backtick (that would be inline code).
_OPENING = re.compile(r"^(?P<indent> {0,3})(?P<ticks>`{3,})(?P<info>[^`\n]*)\n", re.MULTILINE)


@frozen
class _Fence:
    end: int  # after its line
    indent: int
    ticks: int

    def closing(self) -> re.Pattern[str]:
        """A fence at least as long, indented no further; it need not be a whole line yet."""
        return re.compile(rf"^ {{0,{self.indent}}}`{{{self.ticks}}}", re.MULTILINE)


def _opening_fence(response: str) -> _Fence | None:
    """The first fence that may hold Python; a block in another language is skipped."""
    position = 0
    while match := _OPENING.search(response, position):
        fence = _Fence(match.end(), len(match["indent"]), len(match["ticks"]))
        language = match["info"].strip().strip("{}.").lower()
        if not language or language.startswith("py"):
            return fence
        closing = fence.closing().search(response, fence.end)
        if closing is None:
            return None
        line_end = response.find("\n", closing.end())
        if line_end < 0:
            return None
        position = line_end + 1
    return None


def _closing_fence(response: str, fence: _Fence) -> int | None:
    match = fence.closing().search(response, fence.end)
    return match.start() if match else None


_FIRST_LINE_OF_CODE = re.compile(
    r"^(?:import \w|from \w+ import|@\w|class \w|(?:async )?def \w)", re.MULTILINE
)


def _bare_code(response: str, entry_point: str | None) -> str:
    """Code without a usable fence: from the first line of code as far as it parses."""
    if entry_point is not None and not _definition(entry_point).search(response):
        return ""
    first = _FIRST_LINE_OF_CODE.search(response)
    if first is None:
        return response if entry_point is None and parses(response) else ""
    lines = response[first.start() :].splitlines(keepends=True)
    for count in range(len(lines), 0, -1):
        code = "".join(lines[:count])
        if parses(code) and (entry_point is None or _definition(entry_point).search(code)):
            return code
    return "".join(lines)


# --- plain continuation -----------------------------------------------------------------------

_LEXEME = re.compile(r"#[^\n]*|'''|\"\"\"|['\"]|[\[({]|[\])}]|\\\r?\n|\n")
_STRING_ENDS = {
    quote: re.compile(rf"\\.|{quote}" + (r"|\n" if len(quote) == 1 else ""), re.DOTALL)
    for quote in ("'", '"', "'''", '"""')
}
_BODY_LINE = re.compile(r"[ \t]+[^\s#]")
_NEVER_IN_BRACKETS = re.compile(r"(?:def|class|if __name__)\s|```")


def _completion_end(response: str, entry_point: str | None, given_code: str) -> int | None:
    """The start of the first line that is no longer part of the continued function."""
    if entry_point is None:  # a whole program: only a fence ends it
        fence = re.search(r"^```", response, re.MULTILINE)
        return fence.start() if fence else None
    text = given_code + response
    body_seen = bool(given_code) and not given_code.endswith("\n")
    for position, in_brackets in _line_starts(text):
        if position < len(given_code):
            continue
        rest = text[position : position + 16]
        if rest[:1].strip() and not rest.startswith("#"):
            over = _NEVER_IN_BRACKETS.match(rest) if in_brackets else True
            if over and body_seen:
                return position - len(given_code)
        elif _BODY_LINE.match(text, position):
            body_seen = True
    return None


def _line_starts(text: str) -> Iterator[tuple[int, bool]]:
    """Yield where lines begin outside of strings and explicit continuations.

    Each with whether a bracket is open there. An online scan: what is yielded for a text is
    yielded for every longer one.
    """
    yield 0, False
    depth = 0
    position = 0
    while match := _LEXEME.search(text, position):
        lexeme, position = match[0], match.end()
        if lexeme == "\n":
            yield position, depth > 0
        elif lexeme in _STRING_ENDS:
            ending = _string_end(text, position, lexeme)
            if ending is None:
                return
            position = ending
        elif lexeme in "([{":
            depth += 1
        elif lexeme in ")]}":
            depth = max(depth - 1, 0)


def _string_end(text: str, position: int, quote: str) -> int | None:
    for match in _STRING_ENDS[quote].finditer(text, position):
        if match[0] == quote:
            return match.end()
        if match[0] == "\n":  # an unfinished string ends with its line; the newline counts
            return match.start()
    return None


# --- both -------------------------------------------------------------------------------------


def _definition(entry_point: str) -> re.Pattern[str]:
    name = re.escape(entry_point)
    return re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{name}[ \t]*\(", re.MULTILINE)


def _guidance_start(
    response: str, start: int, end: int | None, entry_point: str | None, given_code: str
) -> int | None:
    if entry_point is None or _definition(entry_point).search(given_code):
        return start
    match = _definition(entry_point).search(response, start, len(response) if end is None else end)
    return match.end() if match else None


def parses(code: str) -> bool:
    """Return whether `code` is Python, as far as its grammar goes."""
    return _parse(code) is not None


# --- from code to a program that can run --------------------------------------------------------


@frozen
class CandidateProgram:
    """A distinct executable program of some candidates.

    Attributes:
        source: normalised source text.
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
    lines = text.split("\n")
    for end in range(len(lines), 0, -1):
        for completed in _completions(lines[:end]):
            tree = _parse(completed)
            if tree is not None:
                return _normalise(tree, entry_point)
    return None


def distinct_programs(texts: Iterable[str], entry_point: str | None) -> list[CandidateProgram]:
    """Return the distinct executable programs of `texts`, in order of first appearance."""
    counts: dict[str, int] = {}
    for text in texts:
        source = executable_program(text, entry_point)
        if source is not None:
            counts[source] = counts.get(source, 0) + 1
    return [CandidateProgram(source, samples) for source, samples in counts.items()]


def _completions(lines: list[str]) -> Iterator[str]:
    """Yield `lines` as they are, then with what an open block at their end may lack."""
    text = "\n".join(lines)
    yield text
    last = next((line for line in reversed(lines) if line.strip()), "")
    body = text + "\n" + _indent(last) + "    pass" if _opens_block(last) else text
    if body is not text:
        yield body
    for indent in _open_tries(lines):
        body += f"\n{indent}finally:\n{indent}    pass"
        yield body


def _opens_block(line: str) -> bool:
    # A comment may follow the colon; a wrong guess costs one failed parse, no more.
    return line.partition("#")[0].rstrip().endswith(":")


def _open_tries(lines: list[str]) -> list[str]:
    """Return the indents of the `try` lines without a handler, innermost first."""
    tries: list[str] = []
    for line in lines:
        words = line.strip()
        if words.startswith("try:"):
            tries.append(_indent(line))
        elif words.startswith(("except", "finally")) and _indent(line) in tries:
            # Whatever was opened deeper ended before this line.
            del tries[tries.index(_indent(line)) :]
    return tries[::-1]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # An invalid escape sequence is the model's style, not the user's concern.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except UNPARSABLE:
            return None


def _normalise(tree: ast.Module, entry_point: str | None) -> str | None:
    """Return the source of `tree` without docstrings; None if it lacks its entry point."""
    if not tree.body or (entry_point is not None and not _defines(tree, entry_point)):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    try:
        return ast.unparse(tree) or None
    except RecursionError:
        return None


def _defines(tree: ast.Module, name: str) -> bool:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined):
                if defined == name:
                    return True
            case ast.Assign(targets=targets):
                if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                    return True
    return False


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
        text: the response prefix and the generated tokens' text.
        span: where the code is in `text`.
    """

    model: Model
    problem: Task
    prompt: Prompt
    ids: tuple[int, ...] = ()
    text: str = field(init=False)
    span: CodeSpan = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.read(self.prompt.response_prefix)

    @property
    def in_code(self) -> bool:
        """Whether the point is reached from which lines are guided."""
        return self.span.guidance_start is not None

    async def append(self, token: int) -> str:
        """Add a token; return the text that it added."""
        before = len(self.text)
        self.ids += (token,)
        self.read(await self.text_with(()))
        return self.text[before:]

    async def text_with(self, ids: Sequence[int]) -> str:
        """Return the text as if `ids` came next."""
        return self.prompt.response_prefix + await self.model.decode((*self.ids, *ids))

    def program(self, continuation: str = "") -> str:
        """Return the whole program of the text and `continuation`; empty if there is none."""
        return extract_code(
            self.text + continuation,
            self.prompt.layout,
            self.problem.entry_point,
            self.prompt.given_code,
        )

    def read(self, text: str) -> None:
        """Take `text` as the whole response so far."""
        self.text = text
        self.span = find_code(
            text, self.prompt.layout, self.problem.entry_point, self.prompt.given_code
        )
