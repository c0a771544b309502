"""Python text before it is parsed: what of it is code, strings and comments, line by line.

An online scan: what is said of a line depends on the lines before it alone. So a decision about
a response that still grows is the same for every longer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from attrs import define

__all__ = ["Lexer", "cleaned", "definition_opening"]

Kind: TypeAlias = Literal["code", "string", "comment"]

_LEXEME = re.compile(r"#[^\n]*|'''|\"\"\"|['\"]|[\[({]|[\])}]|\\\r?\n")
_STRING_ENDS = {
    quote: re.compile(rf"\\.|{quote}" + (r"|\n" if len(quote) == 1 else ""), re.DOTALL)
    for quote in ("'", '"', "'''", '"""')
}


@define
class Lexer:
    """The state of a scan between two lines.

    Attributes:
        quote: the quotes of the string that is open; None: none is.
        depth: how many brackets are open.
        continued: whether the last line ended in a backslash.
    """

    quote: str | None = None
    depth: int = 0
    continued: bool = False

    @property
    def in_string(self) -> bool:
        """Whether the next line begins inside a string."""
        return self.quote is not None

    @property
    def at_statement(self) -> bool:
        """Whether the next line begins a statement, as far as brackets can be trusted."""
        return self.quote is None and self.depth == 0 and not self.continued

    def feed(self, text: str) -> None:
        """Read whole lines."""
        for _ in self.pieces(text):
            pass

    def pieces(self, text: str) -> Iterator[tuple[Kind, int, int]]:
        """Read whole lines; yield what they consist of, with where it begins and ends."""
        position = 0
        while position < len(text):
            if self.quote is not None:
                end = self._string_end(text, position)
                yield "string", position, end
                position = end
                continue
            match = _LEXEME.search(text, position)
            end = match.start() if match else len(text)
            if position < end:
                self.continued = False
                yield "code", position, end
            if match is None:
                return
            lexeme, position = match[0], match.end()
            if lexeme[0] == "#":
                yield "comment", match.start(), position
            elif lexeme in _STRING_ENDS:
                self.quote = lexeme
                yield "string", match.start(), position
            else:
                self._take(lexeme)
                yield "code", match.start(), position

    def _take(self, lexeme: str) -> None:
        self.continued = lexeme[0] == "\\"
        if lexeme in "([{":
            self.depth += 1
        elif lexeme in ")]}":
            self.depth = max(self.depth - 1, 0)

    def _string_end(self, text: str, position: int) -> int:
        assert self.quote is not None  # it is asked inside a string only
        for match in _STRING_ENDS[self.quote].finditer(text, position):
            if match[0][0] != "\\":
                self.quote = None
                # An unfinished string ends with its line; the newline is code again.
                return match.start() if match[0] == "\n" else match.end()
        return len(text)


# --- what tokenizers and web pages leave in code --------------------------------------------------

_BLANKS = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_NEWLINES = "\u0085\u2028\u2029"
_LEFT_OVER = re.compile(f"([{_BLANKS}])|[{_INVISIBLE}]|([{_NEWLINES}])")

# None of these is Python outside of strings and comments, the last group at a line's end at least.
_END_MARK = re.compile(
    r"```|<[|\uff5c][^\s|\uff5c<>]{1,40}[|\uff5c]>|</[A-Za-z][\w:-]*>|\[/[A-Z]+\]"
    r"|(?:<(?:s|eos|bos|pad|unk|eot|EOT|end_of_turn|start_of_turn|end_of_utterance|file_sep)>)\s*$",
    re.MULTILINE,
)


def cleaned(code: str) -> str:
    """Return `code` without what is no Python at all, strings and comments left as they are.

    Lines end as Python reads them, blanks of other kinds become plain ones, characters without
    width are dropped, and the code ends where a special token, a closing tag or a fence is stuck to
    its last line.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    marks = [match.start() for match in _END_MARK.finditer(code)]
    if code.isascii() and not marks:
        return code
    parts = []
    for kind, start, end in Lexer().pieces(code):
        if kind == "code":
            stop = next((mark for mark in marks if start <= mark < end), end)
            parts.append(_plain(code[start:stop]))
            if stop < end:
                break
        else:
            parts.append(code[start:end])
    return "".join(parts)


def _plain(code: str) -> str:
    return _LEFT_OVER.sub(lambda m: " " if m[1] else "\n" if m[2] else "", code)


# --- where a function begins to be defined --------------------------------------------------------


def definition_opening(name: str) -> re.Pattern[str]:
    """Return a pattern of the beginning of a line that defines `name`; what follows is its value.

    It matches a `def`, a class, an assignment (annotated or of a tuple, too) and an import. What
    it matches in the beginning of a line is no longer up to the rest of it.
    """
    name, gap = re.escape(name), r"[^\S\n]*"
    return re.compile(
        rf"{gap}(?:(?:async\s{gap})?def\s{gap}{name}{gap}[(\[]"
        rf"|class\s{gap}{name}{gap}[(\[:]"
        # Of several targets, too: a = f = ..., (f, g) = ...
        rf"|(?:[^\n#'\"=(]*={gap})??[ (\[]*(?:[\w.*]+{gap},[ (\[]*)*{name}{gap}[)\]]*"
        rf"(?:{gap},[\w \t.,*()\[\]]*)?{gap}(?::[^\n=#]+)?=(?=[^=])"
        rf"|(?:from\s{gap}[\w.]+\s{gap})?import\b[^\n#;]*\b{name}{gap}(?=[,)\n;#]))"
    )
