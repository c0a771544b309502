"""How models mark their reasoning: the tags around it, and what ends a block left open.

The forms are those of published chat templates and model cards; a model that uses none of them is
read as one that does not reason before its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

__all__ = ["TAG_STARTS", "closing_tags", "closing_text", "opening_tag", "opens_reasoning"]

_NAMES = "(?:think|thinking|thoughts?|reason|reasoning|analysis|reflection|scratchpad|seed:think)"


@frozen
class _Form:
    """One way to mark reasoning.

    Attributes:
        opening: a pattern.
        closing: a pattern.
        text: closes a block, for a prompt; None: repeat the opening tag's name with a slash.
    """

    opening: str
    closing: str
    text: str | None


_FORMS = (
    _Form(rf"<{_NAMES}>", rf"</{_NAMES}>", None),
    _Form(r"\[THINK\]", r"\[/THINK\]", "[/THINK]"),
    _Form("◁think▷", "◁/think▷", "◁/think▷"),
    _Form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", "<|END_THINKING|>"),
    _Form(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", "<|end_of_thought|>"),
    _Form(r"<\|channel>thought", r"<channel\|>", "<channel|>"),
    # Harmony; with its special tokens left out of the text, the channels' names are what remains.
    _Form(
        r"<\|channel\|>\s*(?:analysis|commentary)[^<\n]*<\|message\|>",
        r"<\|channel\|>\s*final[^<\n]*<\|message\|>|assistantfinal(?=\W|[A-Z])",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
)
TAG_STARTS = "".join(sorted({form.opening.lstrip("\\")[0] for form in _FORMS}))
"""The characters that a tag which opens reasoning can begin with."""
_OPENING = re.compile("|".join(f"({form.opening})" for form in _FORMS))
_CLOSING = re.compile("|".join(f"({form.closing})" for form in _FORMS))
_HARMONY_ANSWER = "<|start|>assistant"
_QUOTES = "`'\""


def opening_tag(text: str, position: int = 0) -> int | None:
    """Return where the tag that opens reasoning at `position` ends; None: there is none."""
    match = _OPENING.match(text, position)
    return match.end() if match else None


def closing_tags(text: str) -> Iterator[re.Match[str]]:
    """Yield the tags in a text that close reasoning, but those in quotes."""
    for match in _CLOSING.finditer(text):
        around = text[max(0, match.start() - 1) : match.start()], text[match.end() :][:1]
        if not all(side and side in _QUOTES for side in around):
            yield match


def opens_reasoning(rendered: str) -> bool:
    """Whether a rendered chat ends in an open reasoning block, for the answer to go on in."""
    return _open_at_end(rendered) is not None


def closing_text(rendered: str) -> str:
    """Return what takes a rendered chat from its end to the start of the answer itself.

    That is the end of a reasoning block that the template left open, so that it is empty: the text
    with which templates do that by themselves where reasoning is switched off. For harmony it is
    the name of the answer's channel. Empty where the answer starts at once.
    """
    if rendered.endswith(_HARMONY_ANSWER):
        return "<|channel|>final<|message|>"
    match = _open_at_end(rendered)
    if match is None:
        return ""
    form = _FORMS[(match.lastindex or 1) - 1]
    tag = form.text or match[0].replace("<", "</", 1)
    return f"\n{tag}\n\n" if rendered.endswith("\n") else tag


def _open_at_end(rendered: str) -> re.Match[str] | None:
    """The opening tag that only white space follows."""
    tail = rendered.rstrip()
    start = max(0, len(tail) - 80)
    found = [match for match in _OPENING.finditer(tail, start) if match.end() == len(tail)]
    return found[-1] if found else None
