"""An exception as plain, bounded text, without running any of the program's own code."""

from __future__ import annotations

import builtins
from types import TracebackType

__all__ = ["describe"]

MESSAGE_CHARS = 500
_PLAIN = (str, int, float, complex, bool, bytes, type(None))


def describe(error: BaseException, filename: str) -> tuple[str, str, int | None, str]:
    """Return (class name, message, line of the program, nearest builtin class) of an exception.

    Args:
        error: the exception.
        filename: what the program was compiled as; the last traceback entry in it gives the line.
    """
    kind = type(error)
    name = str(type.__dict__["__name__"].__get__(kind))[:MESSAGE_CHARS]
    base = next(
        (c for c in type.__dict__["__mro__"].__get__(kind) if c.__module__ == "builtins"),
        Exception,
    )
    return name, _message(error, base)[:MESSAGE_CHARS], _line(error, filename), base.__name__


def _message(error: BaseException, base: type[BaseException]) -> str:
    arguments = BaseException.__dict__["args"].__get__(error)
    if all(_is_plain(argument) for argument in arguments):
        try:
            # With plain arguments only, a builtin class's __str__ runs nothing of the program's.
            return str(base.__str__(error))
        except Exception:  # noqa: BLE001 - a half-built exception; its arguments say enough
            pass
    return ", ".join(_render(argument) for argument in arguments[:5])


def _is_plain(value: object) -> bool:
    if type(value) is tuple:  # a SyntaxError's place
        return all(type(item) in _PLAIN for item in value)
    # A huge integer cannot be printed.
    return type(value) in _PLAIN and not (type(value) is int and value.bit_length() > 4096)


def _render(value: object) -> str:
    if _is_plain(value) and type(value) is not tuple:
        return value if type(value) is str else repr(value)
    return f"<{str(type.__dict__['__name__'].__get__(type(value)))[:80]}>"


def _line(error: BaseException, filename: str) -> int | None:
    line: int | None = None
    step: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    while step is not None:
        if step.tb_frame.f_code.co_filename == filename:
            line = step.tb_lineno
        step = step.tb_next
    if line is None and type(error) in (SyntaxError, builtins.IndentationError, builtins.TabError):
        place = SyntaxError.__dict__["lineno"].__get__(error)
        line = place if type(place) is int else None
    return line
