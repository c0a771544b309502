"""Takes the program out of a whole answer: of all candidates in it, the last of the best counts.

A candidate is the code of one fence, code without a fence, or what continues the given code; each
with what it needs of the given code and of the other parts of the answer.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from attrs import frozen

from egcfg.decoding.answer import AnswerReader, Language
from egcfg.decoding.definitions import (
    UNPARSABLE,
    Strength,
    missing_names,
    parse,
    preamble,
    supplied,
)
from egcfg.decoding.lexing import Lexer, cleaned
from egcfg.interfaces.prompt import CodeLayout
from egcfg.interfaces.reasoning import opening_tag

__all__ = ["code_so_far", "extract_code"]

_LEADING_TAG = re.compile(
    r"\s*(?:\ufeff|<s>|<bos>|\[/?[A-Z]+\]|<[|\uff5c][^\s|\uff5c<>]+[|\uff5c]>"
    r"|<(?:answer|solution|code|python)>)"
)
_CODE_START = re.compile(
    r"(?:import|from|class|def|async|for|while|if|try|with)\b|@\w|[^\W\d][\w.]*\(|[^\n=]*[^=!<>\n]=",
)
_GIVES_BACK = re.compile(r"^\s+return\b|^return\b|\byield\b|\braise\b", re.MULTILINE)
_HALF_A_FENCE = re.compile(r"^(?:`{1,2}|~{1,2})\Z", re.MULTILINE)


@frozen(order=True)
class _Candidate:
    """A program that an answer may mean; the greatest one is meant."""

    strength: Strength
    language: Language
    place: int
    program: str


def extract_code(
    response: str,
    layout: CodeLayout,
    entry_point: str | None,
    given_code: str = "",
    known: str = "",
) -> str:
    """Return the whole program of an answer: given code, then its code; empty if it holds none.

    The program is the last one in the answer that parses, defines the entry point (rather than
    importing it or leaving its body out). Reasoning, in tags or before a tag
    that only closes, holds no candidate.

    Args:
        response: the answer, a forced response prefix included.
        layout: where a prompt of this kind has its code.
        entry_point: name of the function asked for; None for a whole program, of which one that
            reads and prints is preferred.
        given_code: code that the response continues or that comes before it.
        known: code of which the program gets the definitions that it lacks, and no more.

    Returns:
        The program; where none is one, the code as it stands, for its syntax error.
    """
    reader = AnswerReader(layout, entry_point, given_code, drafts=True)
    reader.read(_without_leading_tags(response))
    fragments = list(_fragments(reader))
    numbers = range(len(fragments))
    candidates = [c for n in numbers if (c := _candidate(reader, fragments, n, known))]
    if candidates:
        return max(candidates).program
    joined = reader.program("\n".join(code for code, _ in fragments))
    if reader.strength(joined) > Strength.NONE:  # one function over several blocks
        return joined
    return code_so_far(reader)


def code_so_far(reader: AnswerReader) -> str:
    """Return the program that an answer has come to, finished or not; empty if to none.

    Unlike `extract_code`, it is the one at the end of the answer, whatever came before.
    """
    if reader.continuation is not None:
        return reader.given_code + cleaned(reader.continuation)
    span = reader.span
    if span.start is None:
        return ""
    fragment = reader.text[span.start : span.end]
    program = reader.program(_HALF_A_FENCE.sub("", fragment))
    others = [p.text for p in reader.passages if p.text.strip() != fragment.strip()]
    return supplied(program, others, reader.entry_point) if program else ""


_Fragment = tuple[str, Language]


def _fragments(reader: AnswerReader) -> Iterator[_Fragment]:
    """Yield the code in each part of an answer, with what its fence says, the last part last."""
    passages = reader.passages
    if reader.continuation is not None:
        # What follows the end of the continued function may hold another answer. All of it may,
        # where the function did not come to be.
        *passages, whole = passages
        is_answer = reader.is_answer(reader.program(reader.continuation))
        given = preamble(reader.given_code, reader.entry_point)
        rest = AnswerReader(CodeLayout.FENCED, reader.entry_point, given, drafts=True)
        rest.read(whole.text[len(reader.continuation) if is_answer else 0 :])
        passages += rest.passages
        yield reader.continuation, Language.NOT_SAID
    for passage in passages:
        text = _HALF_A_FENCE.sub("", passage.text)
        if passage.language is None:
            yield from ((code, Language.NOT_SAID) for code in _bare_code(text))
        elif parse(reader.program(text)) is not None:
            yield text, passage.language
        else:
            # It may be a fence that was never closed, or one too many.
            for part in re.split(r"(?m)^[ \t]*(?:`{3,}|~{3,}).*$", text):
                yield from ((code, passage.language) for code in _bare_code(part))


def _candidate(
    reader: AnswerReader, fragments: list[_Fragment], number: int, known: str
) -> _Candidate | None:
    code, language = fragments[number]
    program = reader.program(code)
    strength = reader.strength(program)
    if strength is Strength.NONE:
        return None
    if (
        reader.layout is CodeLayout.COMPLETION
        and reader.entry_point is not None
        and code != reader.continuation
        and not reader.stands_alone(code)
        and not _GIVES_BACK.search(code)
    ):
        strength = Strength.WEAK  # hardly the function's body; a call of it, maybe
    if missing_names(program):
        others = [other for n, (other, _) in enumerate(fragments) if n != number]
        program = supplied(program, [known, *others], reader.entry_point)
    language = language if reader.entry_point is None else Language.NOT_SAID
    return _Candidate(strength, language, number, program)


def _without_leading_tags(text: str) -> str:
    position = 0
    while (match := _LEADING_TAG.match(text, position)) and (
        opening_tag(text, match.end() - len(match[0].lstrip())) is None
    ):
        position = match.end()
    return text[position:]


# --- code without a fence -------------------------------------------------------------------------


def _bare_code(text: str) -> Iterator[str]:
    """Yield the stretches of whole statements in a text that is prose otherwise."""
    lines = text.splitlines(keepends=True)
    number = 0
    while number < len(lines):
        length = 0
        if _CODE_START.match(lines[number]) and _may_begin(cleaned(lines[number])):
            code = cleaned("".join(lines[number:]))
            length = _length(code.splitlines(keepends=True))
            if length:
                yield "".join(code.splitlines(keepends=True)[:length])
        number += max(length, 1)


def _may_begin(line: str) -> bool:
    """Whether a line may begin a statement: cheap, for texts of many lines that may not."""
    lexer = Lexer()
    lexer.feed(line)
    if not lexer.at_statement:
        return True  # it goes on after this line
    ends = (
        "",
        "    pass",
        "    pass\nfinally:\n    pass",
        "    case _:\n        pass",
        "def f(): pass",
    )
    return any(parse(f"{line.rstrip()}\n{end}") is not None for end in ends)


def _length(lines: list[str]) -> int:
    """Return how many lines are whole statements, without words that only look like some."""
    end = len(lines)
    while end > 0:
        error, tree = _parse_error("".join(lines[:end]))
        if tree is not None:
            body = list(tree.body)
            while body and isinstance(body[-1], ast.Expr) and _is_word(body[-1].value):
                body.pop()
            return body[-1].end_lineno or 0 if body else 0
        end = min(error, end) - 1
        # A statement counts as a whole or not at all.
        while end > 0 and not lines[end][:1].strip():
            end -= 1
    return 0


def _parse_error(text: str) -> tuple[int, ast.Module | None]:
    """Return the number of the line that is no Python, from 1, or the syntax tree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return 0, ast.parse(text)
        except SyntaxError as error:
            return error.lineno or 1, None
        except UNPARSABLE:
            return text[: text.find("\0") + 1].count("\n") + 1, None


def _is_word(value: ast.expr) -> bool:
    return isinstance(value, ast.Name | ast.Attribute | ast.Tuple)
