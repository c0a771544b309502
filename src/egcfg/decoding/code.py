"""Finds the code in a response: pure functions over text, knows nothing about tokens or models.

A response grows at its end while it is decoded. Every decision here looks only at text that cannot
change any more, so a position that was found once is found again, at the same place, in every
longer response with the same beginning.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator

from attrs import frozen

from egcfg.interfaces.prompt import CodeLayout

__all__ = ["CodeSpan", "extract_code", "find_code", "parses"]


@frozen
class CodeSpan:
    """Where the code stands in a response; positions are character indices.

    Attributes:
        start: where it begins; None: not yet.
        end: where it ends (exclusive); None: not yet.
        guidance_start: the first character that guidance may shape: behind ``def <entry point>(``,
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
        given_code: code that the response continues or that stands before it.
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
    end: int  # behind its line
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
    try:
        with warnings.catch_warnings():  # about the model's escapes: not our user's concern
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
