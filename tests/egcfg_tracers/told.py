"""What a compact text tells of a run, and whether it is what a plain recorder has seen of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = [
    "agrees",
    "effects",
    "first_untold",
    "first_untrue",
    "held",
    "of_the_call",
    "told_by_lines",
    "words_of_the_tracer",
]

PLACE = r"[^\W\d]\w*(\.\w+)*(\[[^]]+\])*"
CHANGED = rf"{PLACE}|len\({PLACE}\)|del {PLACE}|{PLACE}\.(add|remove)\(.*\)"


def variable_of(place: str) -> str:
    """Return the variable that a place such as ``dp[25]`` is in; none, where there is no place."""
    return re.findall(r"\w*", place.removeprefix("len(").removeprefix("del "))[0]


def effects(text: str) -> list[tuple[str, str]]:
    """Return places and values of ``a=1, b=[2, 3], dp[25]=3, head.value=4``.

    What is no value, as ``del dp[25]`` and ``seen.add(3)``, has an empty one.
    """
    parts, quote, depth = [""], "", 0
    for at, char in enumerate(text):
        if text.startswith("...,", at):  # the value is cut, so what it opens stays open
            quote, depth = "", 0
        elif quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "([{<") - (char in ")]}>")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    pairs = [part.strip().partition("=") for part in parts]
    return [(name, value) for name, _, value in pairs if re.fullmatch(CHANGED, name)]


NAME = r"[^\W\d]\w*(\.\w+)*(?=[\[)]|$|\.(add|remove)\()"  # what a place begins with
WORDS = r"<(?:[^<>]|<[^<>]*>)+>"


def words_of_the_tracer(value: str) -> bool:
    """Whether a text is no `repr` but made by the tracer, as of an object of the program's."""
    return value.startswith("<")


def in_order(value: str) -> str:
    """Return the text of a set in one order."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(sorted(found, key=repr)) if isinstance(found, set) else value


def agrees_in_words(shown: str, real: str) -> bool:
    """Whether the tracer's words for an object are of its class, or name the same function."""
    if named := re.fullmatch(r"<(class|[Ff]unction|generator) (.+)>", shown):
        return named[2] in real
    if shown == "<...":  # cut before its first word
        return True
    kind = re.match(r"<(\w+)", shown)
    return kind is not None and kind[1] == getattr(real, "kind", None)


def agrees(shown: str, real: str | None) -> bool:
    """Whether a shown text is a value's `repr`, its ends where it is cut, or the tracer's words."""
    if real is None:
        return False
    if words_of_the_tracer(shown):
        return agrees_in_words(shown, real)
    real = re.sub(r"^defaultdict\([^{]*", "defaultdict(", real)
    real = re.sub(r", maxlen=\d+\)$", ")", real)
    shown = shown.replace("<cycle>", "[...]")
    if "..." in shown and shown != real:
        head, tail = shown.partition("...")[0].rstrip("'"), shown.rpartition("...")[2]
        tail = re.sub(r"^ \d+ more|^b?'", "", tail)
        return real.startswith(head) and real.endswith(tail)
    if shown[:1] in "([{" and (words := re.findall(WORDS, shown)):  # among other values
        named = [re.findall(r"\w+", each)[-1] for each in words]
        around = ".*".join(map(re.escape, re.split(WORDS, shown)))
        return all(name in real for name in named) and bool(re.fullmatch(around, real))
    return in_order(shown) == in_order(real)


Told = tuple[str, int, str, str]
"""``call``, ``held``, ``return``, ``exception`` or ``source``; line; variable; text."""


def held(moment: Any, place: str) -> str | None:
    """Return the text of a variable or of a place in one such as ``dp[25]``, if there is one."""
    if place.startswith("del "):
        return "" if variable_of(place) in moment.variables else None
    found = re.search(NAME, place.removeprefix("len("))
    assert found is not None
    name = found[0]
    text: str | None = {**moment.variables, **moment.attributes}.get(name)
    if text is None or place == name:
        return text
    try:
        whole = ast.literal_eval(text)
        if change := re.fullmatch(r".*\.(add|remove)\((.*)\)", place):
            return "" if (ast.literal_eval(change[2]) in whole) == (change[1] == "add") else None
        part = eval(place.replace(name, "whole", 1), {"whole": whole})
    except (ValueError, LookupError):
        return None
    return repr(bytes([part]) if isinstance(whole, bytes) else part)


def happened(moment: Any, told: Told) -> bool:
    """Whether something told is what the recorder saw at a moment."""
    kind, line, name, text = told
    if kind in ("call", "held"):
        place = (moment.event, 0) if kind == "call" else ("held", moment.ran)
        return place == (kind, line) and agrees(text, held(moment, name))
    return (moment.event, moment.line) == (kind, line) and agrees(text, moment.told)


def first_untrue(moments: Sequence[Any], told: Sequence[Told]) -> Told | None:
    """Return the first thing told that did not happen, or not after what is told before it."""
    at = 0
    for each in told:
        while at < len(moments) and not happened(moments[at], each):
            at += 1
        if at == len(moments):
            return each
        at += not each[2]  # several variables may hold at one moment
    return None


def worth_telling(known: Any, call: str) -> Iterator[tuple[Any, list[Told]]]:
    """Yield each moment with what a text that leaves nothing out must tell of it.

    That is all but: variables that are deleted; arguments that the call itself tells; exceptions
    where they are passed on or raised again, and those by which a generator is closed or ends; the
    value of the call, which `check_ending` looks for.
    """
    texts: dict[int, dict[str, str]] = {}
    for number, moment in enumerate(known.moments):
        before = texts.setdefault(moment.activation, {})
        kind, line = ("call", 0) if moment.event == "call" else ("held", moment.ran)
        due = [
            (kind, line, name, text)
            for name, text in moment.variables.items()
            if before.get(name) != text and not (number == 0 and text in call)
        ]
        texts[moment.activation] = moment.variables
        is_result = number == len(known.moments) - 1 and moment.told == known.result
        raised = moment.first and not re.match("GeneratorExit|Stop(Async)?Iteration", moment.told)
        if (moment.event == "return" and not is_result) or raised:
            due.append((moment.event, moment.line, "", moment.told))
        yield moment, due


def first_untold(known: Any, told: Sequence[Told], call: str) -> Told | None:
    """Return the first thing that is told nowhere, or only before what happened earlier."""
    start = 0
    for moment, due in worth_telling(known, call):
        found = []
        for each in due:
            matching = (n for n in range(start, len(told)) if tells(told[n], moment, each))
            found.append(next(matching, None))
            if found[-1] is None:
                return each
        start = max(found, default=start - 1) + 1
    return None


def tells(told: Told, moment: Any, due: Told) -> bool:
    """Whether something told is what is due, of a variable also a change within it."""
    kind, line, name, text = told
    if kind == "source":
        return ("held", line, name, text) == due
    return (kind, line) == due[:2] and variable_of(name) == due[2] and happened(moment, told)


def of_the_call(text: str, program: tuple[str, str]) -> str:
    """Return a compact text without what comes before the call, the module's own lines."""
    rows = text.split("\n")
    opening = next(n for n, row in enumerate(rows) if row.startswith(program[1]))
    return "\n".join(rows[opening:])


def told_by_lines(text: str) -> list[Told]:
    """Return what the rows of a compact text say of calls and lines, from top to bottom.

    A row that has nothing but ``name = value`` may tell in its source what it does.
    """
    told: list[Told] = []
    line = 0
    for number, row in enumerate(map(str.strip, text.split("\n"))):
        if match := re.match(r"L(\d+)\b", row):
            line = int(match[1])
        if match or number == 0 or row.startswith("call "):
            parts = re.split(r" (->|=>|!!) ", row)
        elif row.startswith("where "):  # what held when the line above failed
            shown = effects(row.removeprefix("where "))
            told[-1:-1] = [("held", line, name, value) for name, value in shown]
            continue
        else:
            continue
        if bound := re.fullmatch(r"L\d+ (\w+) = (.*?)( \[[A-Z_]+\b.*\])?", row):
            told.append(("source", line, bound[1], bound[2]))
        for sign, said in zip(parts[1::2], parts[2::2], strict=True):
            if sign == "->" and match is None:
                told += [("call", 0, name, value) for name, value in effects(said)]
            elif sign == "->":
                told += [("held", line, name, value) for name, value in effects(said)]
            else:
                kind = "return" if sign == "=>" else "exception"
                told.append((kind, line, "", said.removeprefix("yields ")))
    return told
