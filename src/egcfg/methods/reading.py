"""Reads what models answer: asserts, calls, items, labelled parts, numbers and judgements.

Models are asked for one form and answer in another: markup, JSON, Markdown or prose, and they leave
parts out. Nothing here raises on any text: what cannot be read is missing from what is returned.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from egcfg.decoding.definitions import parse
from egcfg.interfaces.problem import AssertTest, find_call

__all__ = [
    "Judgement",
    "items",
    "judgements",
    "made_asserts",
    "made_calls",
    "number",
    "part",
    "verdict",
]

LONGEST_ASSERT = 1000
MOST_LINES = 12
MOST_PARENTHESES = 40
"""Within one call."""
DEEPEST = 60
"""Levels of an assert's syntax tree: what is read here is visited recursively elsewhere."""

_BULLET = re.compile(r"^\s*(?:[-*+\u2022]\s+|\d+[.)]\s+|\[\s*(?=[\"'`]))?")
_BAD = r"in-?correct(?:ly)?|wrong(?:ly)?|false|faulty|buggy|bugs?|mistakes?|errors?"
_GOOD = r"right|correct(?:ly)?|true|fine|ok|okay|yes"
_NOT = r"(?:not|no|nothing|without|\w+n['\u2019]t|never)\s+(?:\w+\s+)?"
# "not right", and "correct": false in JSON; then "no bug".
_JUDGES = re.compile(
    rf"\b(?:(?P<wrong>{_NOT}(?:{_GOOD})|(?:right|correct)\W{{1,4}}(?:false|no)|{_BAD})"
    rf"|(?P<right>{_NOT}(?:{_BAD})|{_GOOD}))\b",
    re.IGNORECASE,
)
# Of an answer that ends in a verdict further words count, and after its label a bare "no".
_VERDICT = re.compile(
    rf"\b(?:(?P<wrong>{_NOT}(?:{_GOOD}|pass\w*|accept\w*)|{_BAD}|fail\w*|reject\w*)"
    rf"|(?P<right>{_NOT}(?:{_BAD}|fail\w*)|{_GOOD}|pass(?:es|ed)?|accept\w*)|(?P<no>no))\b",
    re.IGNORECASE,
)
_ASKED_FOR = re.compile(r"\bend with\W{1,3}verdict\b.*", re.IGNORECASE)
"""How a question asks for a verdict, where the answer repeats it."""
_CODE = re.compile(r"```.*?(?:```|\Z)|`(?![a-z ]+(?:`|\Z))[^`\n]*(?:`|\Z)", re.DOTALL)
"""Blocks, and what is marked as code within a line, but for words such as `right`."""
_NEAR_LABEL = 80
"""Characters after a label in which its verdict is looked for."""


# --- asserts --------------------------------------------------------------------------------------


def made_asserts(text: str, function: str, *, cut: bool = False) -> list[AssertTest]:
    """Return the asserts about a function in an answer, each once, in their order.

    Read are assert statements wherever they are, one per line or over several, those of `unittest`,
    comparisons without the word, and examples of a doctest.

    Args:
        text: the answer.
        function: name of the function.
        cut: whether the answer ends in the middle; its last line may then lack the wanted value.
    """
    if cut:
        text = text.rpartition("\n")[0]
    found: dict[str, None] = {}
    lines = [line for piece in _strings(text) for line in piece.splitlines()]
    number = 0
    while number < len(lines):
        length, source = _assert_at(lines, number, function)
        if source is not None:
            found[source] = None
        number += length
    return [AssertTest(source) for source in found]


def _assert_at(lines: Sequence[str], start: int, function: str) -> tuple[int, str | None]:
    """Return how many lines to go on by, and the assert that begins at a line if there is one."""
    line = _bare(lines[start])
    if line.startswith(">>>") and start + 1 < len(lines):
        source = _assert_in(f"({line[3:].strip()}) == ({lines[start + 1].strip()})", function)
        return (1, None) if source is None else (2, source)
    if "assert" not in line and function not in line:
        return 1, None
    text = line
    for length in range(1, MOST_LINES + 1):
        for candidate in _readings(text):
            source = _assert_in(candidate, function)
            if source is not None:
                return length, source
        if start + length >= len(lines) or len(text) > LONGEST_ASSERT:
            break
        text += "\n" + lines[start + length]
    return 1, None


def _assert_in(text: str, function: str) -> str | None:
    """Return the one assert about a function that a text is, as Python writes it."""
    if len(text) > LONGEST_ASSERT or (tree := parse(text.strip())) is None or _is_deep(tree):
        return None
    match tree.body:
        case [ast.Assert(test=test)]:
            pass
        case [ast.Expr(value=ast.Compare() as test)]:
            pass
        case [ast.Expr(value=ast.Call(func=ast.Attribute(attr=name), args=arguments))]:
            match name, arguments:
                case "assertEqual", [first, second, *_]:
                    test = ast.Compare(first, [ast.Eq()], [second])
                case "assertTrue", [test, *_]:
                    pass
                case "assertFalse", [negated, *_]:
                    test = ast.UnaryOp(ast.Not(), negated)
                case _:
                    return None
        case _:
            return None
    source = ast.unparse(ast.Assert(test, None))
    return source if find_call(source, function) is not None else None


def _is_deep(tree: ast.AST) -> bool:
    level = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def made_calls(text: str, function: str) -> list[str]:
    """Return the calls of a function in an answer, each once, in their order.

    Calls whose arguments name something, such as a variable, are left out.
    """
    found: dict[str, None] = {}
    for start in re.finditer(rf"(?<![\w.]){re.escape(function)}\(", text):
        piece = text[start.start() : start.start() + LONGEST_ASSERT]
        for end in islice(re.finditer(r"\)", piece), MOST_PARENTHESES):
            tree = parse(piece[: end.end()])
            if tree is not None:
                if not _is_deep(tree) and _names(tree) == [function]:
                    found[ast.unparse(tree)] = None
                break
    return list(found)


def _names(tree: ast.AST) -> list[str]:
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


def _bare(line: str) -> str:
    return _BULLET.sub("", line).strip().strip("`").strip()


def _readings(text: str) -> dict[str, None]:
    """Return what a line may mean: itself, what it quotes, or what follows some words."""
    begun = text.find("assert ")
    after = [text[begun:]] if begun > 0 else []
    quoted = re.findall(r"`([^`\n]+)`", text)
    return dict.fromkeys([text, text.rstrip(" ,"), _unquoted(text), *quoted, *after])


def _unquoted(text: str) -> str:
    """Return what a string literal contains, as in a list of JSON that is no JSON as a whole."""
    tree = parse(text.strip().rstrip(" ,]"))
    match tree and tree.body:
        case [ast.Expr(value=ast.Constant(value=str(content)))]:
            return content
    return text


# --- items, parts, numbers ------------------------------------------------------------------------


def items(text: str, label: str) -> list[str]:
    """Return the items of an answer that lists several, each as one text.

    Read are elements ``<label>``, closed or not; lines such as ``## Label 2:``; and a list of JSON.
    Empty where there is none of them.
    """
    name = re.escape(label)
    starts = list(re.finditer(rf"<{name}\b[^<>]*>", text, re.IGNORECASE))
    if starts:
        closing = re.compile(rf"</{name}\s*>", re.IGNORECASE)
        return [p for piece in _between(text, starts) if (p := closing.split(piece)[0].strip())]
    starts = list(
        re.finditer(rf"^[^\w\n]*{name}\W{{0,3}}\d+\b[^\w\n]*", text, re.IGNORECASE | re.MULTILINE)
    )
    if starts:
        return [p for piece in _between(text, starts) if (p := piece.strip())]
    for value in _json_values(text):
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), value)
        if isinstance(value, list) and any(isinstance(item, dict | str) for item in value):
            return [shown for item in value if (shown := _shown(item).strip())]
    return []


def part(text: str, label: str) -> str | None:
    """Return the part of an answer under a label: a key, an element, or a heading; None without.

    A heading's part goes up to the next heading.
    """
    for value in _json_values(text):
        if isinstance(value, dict):
            for key, content in value.items():
                if key.strip().lower() == label.lower():
                    return _shown(content).strip()
    name = re.escape(label)
    if found := re.search(rf"<{name}\b[^<>]*>(.*?)(?:</{name}\s*>|\Z)", text, re.I | re.S):
        return found[1].strip()
    if found := re.search(
        rf"^(?:#+\s*|\W*){name}\b[^\w\n]*(.*?)(?=^#+\s|\Z)", text, re.I | re.S | re.M
    ):
        return found[1].strip()
    return None


def number(text: str, label: str) -> float | None:
    """Return a number from 0 to 100 in an answer, the one under a label if there is one.

    Shares such as ``0.9`` and ``9/10`` count as percentages. None where there is none.
    """
    found = re.search(rf"\b{re.escape(label)}\b\D{{0,40}}(\d.*)", text, re.IGNORECASE)
    told = part(text, label) or (found[1] if found else "")
    marked = re.findall(r"\d+(?:\.\d+)?(?=\s*%)", text)
    for source in (told, *marked, text):
        for match in re.finditer(r"(\d{1,9}(?:\.\d{1,9})?)(?:\s*/\s*(\d{1,9}))?", source):
            value, whole = float(match[1]), float(match[2] or 0)
            if whole > 0:
                value *= 100 / whole
            elif "." in match[1] and value <= 1:
                value *= 100
            if value <= 100:
                return value
    return None


# --- judgements ----------------------------------------------------------------------------------


@frozen
class Judgement:
    """What a model says about one of several things.

    Attributes:
        right: whether it says that the thing is right.
        reason: what it says, as it says it.
    """

    right: bool
    reason: str


def judgements(text: str, label: str, shown: Iterable[str] = ()) -> dict[int, Judgement]:
    """Return what an answer says about each of several things, such as blocks, by their numbers.

    A thing is right or wrong by the first word that says so; without such a word it is missing.

    Args:
        text: the answer.
        label: what the things are called, as in ``Block 1: right``.
        shown: parts of the question, such as the things themselves. Where the answer repeats one,
            a word in it, such as ``return True``, is no judgement.
    """
    for each in shown:
        text = text.replace(each, "")
    found: dict[int, Judgement] = {}
    name = re.compile(rf"\b{re.escape(label)}\W{{0,5}}(?:number\W{{0,3}})?(\d{{1,4}})\b", re.I)
    starts = list(name.finditer(text))
    for start, piece in zip(starts, _between(text, starts), strict=True):
        if said := _JUDGES.search(piece):
            reason = " ".join(piece.strip(" \t\n:.-*#]>\"'{}").split())
            found.setdefault(int(start[1]), Judgement(said["wrong"] is None, reason))
    return found


def verdict(text: str) -> bool | None:
    """Return whether an answer says in the end that something is right; None where it does not.

    What follows the last word "verdict" decides, else the last word that judges, outside of code.
    """
    text = _ASKED_FOR.sub("", text)
    _, *labelled = re.split(r"\bverdict\b", text, flags=re.IGNORECASE)
    for piece in reversed(labelled):
        if said := _VERDICT.search(piece[:_NEAR_LABEL]):
            return said["right"] is not None
    prose = _CODE.sub(" ", text)
    *_, last = [None, *(said for said in _VERDICT.finditer(prose) if said["no"] is None)]
    return None if last is None else last["right"] is not None


# --- JSON -----------------------------------------------------------------------------------------


def _strings(text: str) -> list[str]:
    """Return the texts in the JSON of an answer; the answer itself where it contains none."""
    found: list[str] = []
    todo = list(_json_values(text))
    while todo:
        match todo.pop(0):
            case str(content):
                found.append(content)
            case list(values):
                todo[:0] = values
            case dict(values):
                todo[:0] = values.values()
    return [*found, text]


def _json_values(text: str) -> Iterator[Any]:
    """Yield the lists and objects of JSON in a text, the outermost ones."""
    decoder = json.JSONDecoder()
    place = 0
    while (found := re.compile(r"[\[{]").search(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            place = found.end()
            continue
        if value:
            yield value


def _shown(value: Any) -> str:
    """Return a value of JSON as lines of text."""
    match value:
        case str():
            return value
        case dict():
            return "\n".join(f"{key}: {_shown(content)}" for key, content in value.items())
        case list():
            return "\n".join(_shown(item) for item in value)
    return str(value)


def _between(text: str, starts: Sequence[re.Match[str]]) -> list[str]:
    """Return the text after each match, up to the next one."""
    ends = [*(match.start() for match in starts), len(text)][1:]
    return [text[match.end() : end] for match, end in zip(starts, ends, strict=True)]
