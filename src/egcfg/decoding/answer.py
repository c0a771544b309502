"""Reads an answer as it grows: where its program begins, and whether it is over.

An answer may reason, draft, show how to install, call or test something, and spread its program
over several blocks. What is decided here is decided by text that cannot change any more: a whole
line, or the beginning of one that means the same whatever follows.
"""

from __future__ import annotations

import enum
import re
import textwrap
from typing import Literal

from attrs import define, evolve, field, frozen

from egcfg.decoding.definitions import Strength, parse, preamble, strength
from egcfg.decoding.lexing import Lexer, cleaned, definition_opening
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.interfaces.reasoning import TAG_STARTS, closing_tags, opening_tag

__all__ = ["AnswerReader", "CodeSpan", "Language", "Passage"]


@frozen
class CodeSpan:
    """Where the program of a response is, or the last one so far; positions are character indices.

    Attributes:
        start: where it begins; None: not yet.
        end: where it ends (exclusive); None: not yet.
        guidance_start: the first character that guidance may shape: after the opening of the entry
            point's definition, or `start` where none is to come; None: not yet.
        over: whether the answer is over with it.
    """

    start: int | None = None
    end: int | None = None
    guidance_start: int | None = None
    over: bool = False


class Language(enum.IntEnum):
    """What a fence says of its block, the likeliest for a program last."""

    OTHER = 0
    NOT_SAID = 1
    PYTHON = 2


@frozen
class Passage:
    """A part of an answer, its reasoning left out.

    Attributes:
        text: what it says.
        language: of the fence around it; None: there is none.
    """

    text: str
    language: Language | None


_FENCE = re.compile(r"(?P<before>[^`~\n]*)(?P<ticks>`{3,}|~{3,})(?P<info>[^`\n]*)$", re.MULTILINE)
_LIST_MARK = re.compile(r"\s*(?:[-*+]|\d+[.)])?\s*")
# What a line may be of which no more is there, if it is to open a fence or a reasoning block.
_BEGUN = re.compile(
    r"\s*(?:[-*+]|\d+[.)]?)?\s*(?:`{0,2}|~{0,2}|(?:`{3,}|~{3,})[^`\n]*)"
    rf"|\s*[{re.escape(TAG_STARTS)}].*"
)
_MARKDOWN = ("markdown", "md")
_BODY_LINE = re.compile(r"[^\S\n]+[^\s#]")
_NEVER_IN_BRACKETS = re.compile(r"(?:def|class|if __name__)\s|```")
_WORD = re.compile(r"\w+")
_GUARDS = frozenset(("if", "elif", "else", "try", "except", "finally", "with", "for", "while"))
_CODE_LINE = re.compile(r"(?:import \w|from [\w.]+ import|@\w|class \w|(?:async )?def \w)")
# Two words that begin with no keyword, or one before punctuation; or an item of a list.
_PROSE_LINE = re.compile(
    r"(?!(?:import|from|class|def|async|if|for|while|try|with|return|raise|assert|del|global|not"
    r"|lambda|await|yield|match|type|pass|break|continue|else|elif|except|finally|case)\b)"
    r"[^\W\d][\w'\u2019-]*(?:,?[ ]+\w|[:.!,][ ]*$)"
    r"|[-*+] [A-Z`]|\d+[.)] [A-Z`]",
    re.MULTILINE,
)


def _language(info: str) -> Language:
    word = next(iter(info.strip().strip("{}").split()), "").strip(".").lower()
    if not word:
        return Language.NOT_SAID
    is_python = word.startswith(("py", "ipython", "sage")) or word.endswith(".py")
    return Language.PYTHON if is_python else Language.OTHER


@frozen
class _Fence:
    """An opened fence.

    Attributes:
        ticks: its characters.
        indent: blanks before them.
        language: of its block.
    """

    ticks: str
    indent: int
    language: Language


@define
class _Code:
    """Code that is being read.

    Attributes:
        start: where it begins.
        lexer: the state before the next line.
        indent: of its first line; None: it has none yet.
        head: first word of its last line at that indent.
        decorated: where the decorators before the next line begin; None: there are none.
    """

    start: int
    lexer: Lexer = field(factory=Lexer)
    indent: int | None = None
    head: str = ""
    decorated: int | None = None


@define
class AnswerReader:
    """Reads one answer.

    Attributes:
        layout: where a prompt of this kind has its code.
        entry_point: name of the function asked for; None for a whole program.
        given_code: code that the answer continues or that comes before it (`Prompt.given_code`).
        reasoning: whether the answer begins inside a reasoning block.
        drafts: whether another whole answer may follow a first one; then a closed block ends
            nothing but its own program.
        text: the answer so far.
        span: where its program is, the last one so far.
    """

    layout: CodeLayout
    entry_point: str | None
    given_code: str = ""
    reasoning: bool = False
    drafts: bool = False
    text: str = field(default="", init=False)
    span: CodeSpan = field(default=CodeSpan(), init=False)
    _opening: re.Pattern[str] | None = field(init=False, repr=False)
    _is_given: bool = field(init=False)
    _mode: Literal["reasoning", "start", "continuing", "prose", "block"] = field(init=False)
    _settled: CodeSpan = field(default=CodeSpan(), init=False)
    _passages: list[Passage] = field(factory=list, init=False)
    _position: int = field(default=0, init=False)
    _passage_start: int = field(default=0, init=False)
    _fence: _Fence | None = field(default=None, init=False)
    _code: _Code | None = field(default=None, init=False)
    _body_seen: bool = field(default=False, init=False)

    @classmethod
    def of(cls, prompt: Prompt, entry_point: str | None, *, reasoning: bool) -> AnswerReader:
        """Return a reader of the answer to a prompt, which may begin inside a reasoning block."""
        # Where the answer is made to start with its code, it is that code.
        drafts = prompt.layout is CodeLayout.FENCED and not prompt.response_prefix
        return cls(prompt.layout, entry_point, prompt.given_code, reasoning, drafts)

    def __attrs_post_init__(self) -> None:
        self._opening = definition_opening(self.entry_point) if self.entry_point else None
        given = self.given_code.splitlines()
        self._is_given = self._opening is None or any(map(self._opening.match, given))
        self._begin(0)
        if self.reasoning:
            self._mode, self._settled = "reasoning", CodeSpan()
        self.read("")

    # --- what was read --------------------------------------------------------------------------

    @property
    def passages(self) -> list[Passage]:
        """The parts of the answer so far, in order, without its reasoning."""
        if self._mode == "reasoning":
            return self._passages
        return [*self._passages, self._passage(len(self.text))]

    @property
    def continuation(self) -> str | None:
        """What continues the given code; None where the answer is read as Markdown."""
        if self._mode not in ("start", "continuing"):
            return None
        return self.text[self._passage_start : self.span.end]

    def program(self, fragment: str) -> str:
        """Return the program that code of the answer means together with the given code.

        A fragment that defines the entry point itself comes after the given imports and helpers,
        another one continues the given code.
        """
        code = _dedented(cleaned(fragment))
        if not code.strip():
            return ""
        if self.layout is CodeLayout.FENCED:
            return _joined(self.given_code, code)
        if self.entry_point is None or self.stands_alone(fragment):
            return _joined(preamble(self.given_code, self.entry_point), code)
        forms = (
            self.given_code + cleaned(fragment),
            # The first line's indent, or all of it, may be lost.
            _joined(self.given_code, "    " + cleaned(fragment).lstrip()),
            _joined(self.given_code, textwrap.indent(code, "    ")),
        )
        return max(forms, key=self.strength)

    def stands_alone(self, fragment: str) -> bool:
        """Whether code of the answer defines the entry point itself."""
        return self.strength(_dedented(cleaned(fragment))) > Strength.NONE

    def strength(self, source: str) -> Strength:
        """Return how much of an answer a program is."""
        tree = parse(source)
        return Strength.NONE if tree is None else strength(tree, self.entry_point)

    def is_answer(self, source: str) -> bool:
        """Whether a program is all that was asked for."""
        return self.strength(source) >= (Strength.FULL if self.entry_point else Strength.WEAK)

    def _passage(self, end: int) -> Passage:
        language = self._fence.language if self._fence else None
        return Passage(self.text[self._passage_start : end], language)

    # --- reading --------------------------------------------------------------------------------

    def read(self, text: str) -> None:
        """Take `text` as the whole answer so far: what was read before, and more."""
        self.text = text
        while True:
            newline = text.find("\n", self._position)
            end = len(text) if newline < 0 else newline + 1
            if not self._read_line(self._position, end, whole=newline >= 0):
                return

    def _read_line(self, start: int, end: int, *, whole: bool) -> bool:
        """Read the line that starts there, as far as there is one.

        The beginning of a line changes nothing but `span`, or it is read up to the end of a tag.

        Returns:
            Whether there is more to read.
        """
        if (position := self._after_tag(start, end, whole=whole)) is not None:
            self._position = position
            return True
        line = self.text[start:end]
        if self._mode == "start" and not self._decide_start(line, whole=whole):
            return True
        match self._mode:
            case "continuing":
                span = self._continued(start, line, whole=whole)
            case "prose":
                span = self._prose(start, line, whole=whole)
            case "block":
                span = self._block(start, line, whole=whole)
            case _:
                span = self._settled
        self.span = self._settled if self._settled.over else span
        if whole:
            self._settled, self._position = self.span, end
        return whole

    def _begin(self, position: int) -> None:
        """Begin to read what is not reasoning, as if nothing came before."""
        self._position = self._passage_start = position
        self._fence = self._code = None
        self._mode, self._settled = "prose", CodeSpan()
        if self.layout is CodeLayout.COMPLETION:
            self._mode, self._code = "start", _Code(position)
            self._code.lexer.feed(self.given_code)
            self._body_seen = not self._line_is_whole
            self._settled = CodeSpan(position, None, position if self._is_given else None)
        self.span = self._settled

    @property
    def _line_is_whole(self) -> bool:
        """Whether the answer begins a line of the given code."""
        return not self.given_code or self.given_code.endswith("\n")

    # --- reasoning ------------------------------------------------------------------------------

    def _after_tag(self, start: int, end: int, *, whole: bool) -> int | None:
        """Follow the tags of reasoning blocks; return where to read on if there is one here."""
        if self._mode == "reasoning":
            for tag in closing_tags(self.text[start:end]):
                if whole or start + tag.end() < end:
                    self._begin(start + tag.end())
                    return start + tag.end()
            return None
        line = self.text[start:end]
        first = len(line) - len(line.lstrip())
        if self._mode in ("start", "prose"):
            after = opening_tag(line, first)
            if after is not None and not self._is_quoted(line, first):
                self._passages.append(self._passage(start))
                self._mode, self._fence, self._code = "reasoning", None, None
                return start + after
        for tag in closing_tags(line):
            rest = line[tag.end() :]
            decided = whole or bool(rest)
            # Somewhere in a sentence it is spoken of.
            ends = (whole and not rest.strip()) or rest.lstrip().startswith("```")
            alone = tag.start() == first or ends
            glued = not rest[:1].isspace() and not line[tag.start() - 1].isspace()
            if decided and (alone or glued) and not self._is_quoted(line, tag.start()):
                # Nobody opened it here, so the chat template did: all of this was reasoning.
                self._passages.clear()
                self._begin(start + tag.end())
                return start + tag.end()
        return None

    def _is_quoted(self, line: str, position: int) -> bool:
        """Whether a position in the current line is in a string or comment of code."""
        if self._code is None:
            return False
        pieces = evolve(self._code.lexer).pieces(line)
        return any(kind != "code" and start <= position < end for kind, start, end in pieces)

    # --- an answer that may continue the given code -----------------------------------------------

    def _decide_start(self, line: str, *, whole: bool) -> bool:
        """See whether the answer continues the given code; return whether to go on with the line.

        A model that is tuned to answer starts afresh instead, with prose or a fence.
        """
        if not self._line_is_whole:
            self._mode = "continuing"
        elif not line.strip():
            return True
        elif whole and (self._opened_fence(line) or _PROSE_LINE.match(line)):
            self._begin(self._passage_start)
            self._mode, self._code = "prose", None
            self._settled = self.span = CodeSpan()
            return False
        elif whole or (line[:1].isspace() and not _BEGUN.fullmatch(line)):
            self._mode = "continuing"
        return True

    def _continued(self, start: int, line: str, *, whole: bool) -> CodeSpan:
        """Read a line of the continued code; the first that is no longer part of it ends it."""
        assert self._code is not None  # in this mode
        span, lexer = self._settled, self._code.lexer
        if (start > self._passage_start or self._line_is_whole) and not (
            lexer.in_string or lexer.continued
        ):
            if self.entry_point is None:  # a whole program: only a fence ends it
                if line.startswith(("```", "~~~")):
                    return evolve(span, end=start, over=True)
            elif line[:1].strip() and not line.startswith("#"):
                over = _NEVER_IN_BRACKETS.match(line) if lexer.depth else True
                if over and self._body_seen:
                    return evolve(span, end=start, over=True)
            elif _BODY_LINE.match(line) and span.guidance_start is not None:
                self._body_seen = self._body_seen or whole
        return self._code_line(self._code, start, line, span, whole=whole)

    # --- Markdown -------------------------------------------------------------------------------

    def _prose(self, start: int, line: str, *, whole: bool) -> CodeSpan:
        """Read a line outside of fences, which may be code all the same."""
        span, code = self._settled, self._code
        in_string = code is not None and code.lexer.in_string
        if whole and not in_string and (fence := self._opened_fence(line)):
            self._passages.append(self._passage(start))
            self._passage_start, self._code = start + len(line), None
            unlabelled = fence.language is Language.NOT_SAID
            if code and unlabelled and self.is_answer(self.program(self.text[code.start : start])):
                return self._closed(code.start, start)  # the fence that opened it was forgotten
            return self._opened(fence, start + len(line), span)
        if code is None:
            if not _CODE_LINE.match(line) and not (self._opening and self._opening.match(line)):
                return span
            if line[:1].isspace():
                return span
            code = _Code(start)
            if whole:  # else the line may still open a fence
                self._code = code
        elif whole and code.lexer.at_statement and _PROSE_LINE.match(line):
            self._code = None
            return evolve(span, end=start) if span.start == code.start else span
        return self._code_line(code, start, line, span, whole=whole)

    def _opened_fence(self, line: str) -> _Fence | None:
        match = _FENCE.match(line)
        if match is None:
            return None
        before, info = match["before"], match["info"].strip()
        language = _language(info)
        if not _LIST_MARK.fullmatch(before):
            # After words on the same line, it is a fence only if it says so.
            says_so = language is Language.PYTHON and len(info.split()) == 1
            if not says_so or "~" in match["ticks"] or self._code is not None:
                return None
            before = ""
        if info.lower() in _MARKDOWN:  # around the whole answer
            return None
        return _Fence(match["ticks"], len(before), language)

    def _opened(self, fence: _Fence, start: int, span: CodeSpan) -> CodeSpan:
        self._mode, self._fence, self._code = "block", fence, _Code(start)
        if fence.language is Language.OTHER:
            return span
        return CodeSpan(start, None, start if self._is_given else None)

    def _block(self, start: int, line: str, *, whole: bool) -> CodeSpan:
        """Read a line inside a fence."""
        assert self._code is not None  # in this mode
        assert self._fence is not None
        code, fence, span = self._code, self._fence, self._settled
        if code.lexer.in_string or not self._closes(fence, line):
            return self._code_line(code, start, line, span, whole=whole)
        if span.start == code.start and span.end is None:
            span = self._closed(code.start, start)
        if whole:
            self._passages.append(self._passage(start))
            self._passage_start = start + len(line)
            self._mode, self._fence, self._code = "prose", None, None
            again = self._opened_fence(line)
            if again and again.language is Language.PYTHON:  # nobody closed the one before
                span = span if span.over else self._opened(again, start + len(line), span)
        return span

    def _closes(self, fence: _Fence, line: str) -> bool:
        match = re.match(rf"[^\S\n]*{fence.ticks[0]}{{{len(fence.ticks)},}}", line)
        if match and len(line) - len(line.lstrip()) <= fence.indent + 3:
            return True
        inner = self._opened_fence(line) if fence.language is not Language.PYTHON else None
        return inner is not None and inner.language is Language.PYTHON

    def _closed(self, start: int, end: int) -> CodeSpan:
        """Return the span of a block that ends there."""
        fragment = self.text[start:end]
        span = evolve(self._settled, start=start, end=end)
        if not self.is_answer(self.program(fragment)):
            return span
        again = any(p.text.strip() == fragment.strip() for p in self._passages)
        return evolve(span, over=again or not self.drafts)

    def _code_line(
        self, code: _Code, start: int, line: str, span: CodeSpan, *, whole: bool
    ) -> CodeSpan:
        """Read a line of code, which may open the definition of the entry point."""
        words = line.lstrip()
        if words and not code.lexer.in_string:
            indent = len(line) - len(words)
            code.indent = indent if code.indent is None else code.indent
            top = indent <= code.indent
            opening = None
            if self._opening and (top or code.head in _GUARDS) and not code.lexer.continued:
                opening = self._opening.match(line)
            if opening and (span.start != code.start or span.guidance_start is None):
                span = CodeSpan(code.start, None, start + opening.end())
            elif opening and top and words.startswith(("def", "async", "class")):
                before = start if code.decorated is None else code.decorated
                so_far = _dedented(cleaned(self.text[code.start : before]))
                if self.is_answer(so_far):
                    span = evolve(span, end=before, over=True)
            if whole and top:
                word = _WORD.match(words)
                code.head = word[0] if word else ""
                decorated = start if code.decorated is None else code.decorated
                code.decorated = decorated if words[0] == "@" else None
        if whole:
            code.lexer.feed(line)
        return span


def _dedented(code: str) -> str:
    """Return code without the indent of its first line that is not blank."""
    first = re.search(r"^([^\S\n]+)\S", code, re.MULTILINE)
    if first is None or code[: first.start()].strip():
        return code
    return re.sub(rf"^{first[1]}", "", code, flags=re.MULTILINE)


def _joined(before: str, code: str) -> str:
    gap = "\n" if before and not before.endswith("\n") else ""
    return before + gap + code
