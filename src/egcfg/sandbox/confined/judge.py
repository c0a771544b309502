"""Runs a trusted test against a program that lives in another process.

The test runs as it is. A name that neither it nor the setup code binds is the program's: what has
a plain form comes as that value, anything else as a handle (see `mirrors`). The program never was
in this process, and what it sends is decoded with bounds.
"""

from __future__ import annotations

import abc
import ast
import builtins
import contextlib
import importlib
import os
import socket
import sys
from typing import Any, Final

from . import codec, frames
from .interpreter import drop_output
from .mirrors import Kind, Mirror, is_instance, is_subclass
from .program import READY
from .remote import TEST_MODULE, Remote, Unsupported

__all__ = ["run_judge"]

MESSAGE_CHARS = 300
# Names that the interpreter looks for in a module, and makes where there are none.
_OWN: Final = frozenset(("__annotations__", "__annotate__", "__conditional_annotations__"))
_SAYS_NOTHING: Final = "the test asked nothing of the program, so that it says nothing about it"


class _Builtins(dict[str, Any]):
    """The builtins, some as `mirrors` has them.

    The body of a class looks past `_Names.__missing__` for names that are the program's.
    """

    def __init__(self, names: _Names) -> None:
        super().__init__(
            vars(builtins) | {"isinstance": is_instance, "issubclass": is_subclass, "type": Kind}
        )
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names[name]


class _Names(dict[str, Any]):
    """A test's global names: what it binds itself, else the program's.

    Attributes:
        absent: well-known modules that cannot be imported here, and why.
    """

    def __init__(self, remote: Remote, entry_point: str) -> None:
        super().__init__(__name__=TEST_MODULE, __builtins__=_Builtins(self))
        self._remote = remote
        self._entry_point = entry_point
        self.absent: dict[str, str] = {}

    def __missing__(self, name: str) -> Any:
        handle = self._remote.handles.get(name)
        if handle is not None:
            return handle
        if name != self._entry_point and (hasattr(builtins, name) or name in _OWN):
            raise KeyError(name)
        if name in self.absent:
            # The program's own module of this name would decide.
            self._remote.refuse(f"the test uses {name}: {self.absent[name]}")
        value = self._remote.name(name)
        if isinstance(type(value), Mirror):
            self._remote.handles[name] = value
        else:
            self._remote.answered += 1
        return value

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.get(name, self) is not self

    def __delitem__(self, name: str) -> None:
        if not super().__contains__(name):
            self._remote.refuse(f"the test deletes {name}, which is the program's")
        super().__delitem__(name)

    def get(self, name: Any, default: Any = None, /) -> Any:
        """Return what a name means, the program's ones included, for ``globals().get(name)``."""
        try:
            return self[name]
        except (KeyError, NameError):
            return default


def run_judge(request: dict[str, Any], report: int, channel: socket.socket) -> None:
    """Run ``request["test"]`` and report a verdict: status and message."""
    os.write(report, READY)
    if not request["keep_output"]:
        drop_output()
    remote = Remote(channel, request["assigned"], request["builtins"], request["test"])
    names = _Names(remote, request["entry_point"])
    for name, module in request["modules"].items():
        try:
            names[name] = importlib.import_module(module)
        except ImportError as error:
            names.absent[name] = str(error)
    # The program makes files in this folder too: none of them is ever imported here.
    sys.path[:] = [path for path in sys.path if path and path != os.getcwd()]
    status, message = "passed", ""
    try:
        _set_up(request["given"], names, remote)
        _set_up(request["setup"], names, remote)
        _share_classes(names, remote)
        names.pop(request["entry_point"], None)
        exec(compile(request["test"], "<test>", "exec", dont_inherit=True), names)
        if request["call_check"]:
            names["check"](remote.name(request["entry_point"]))
    except BaseException as error:  # noqa: BLE001 - it is the verdict
        status, message = _classify(error, remote)
    if status == "passed" and not remote.answered:
        # One that does not load is to blame first, and it may still be at it.
        with contextlib.suppress(BaseException):
            remote.ask("share")
    if remote.refusal is not None:
        kind = "unsupported" if isinstance(remote.refusal, Unsupported) else "unanswered"
        status, message = kind, str(remote.refusal)
    elif status == "passed" and remote.assertion is not None:
        status, message = "unsupported", "the program caught a failed assertion of the test"
    elif status == "passed" and not remote.answered:
        status, message = "unsupported", _SAYS_NOTHING
    # Nothing is asked any more: the program reports at the same time.
    channel.close()
    verdict = {"status": status, "message": message[:MESSAGE_CHARS]}
    body = codec.encode(verdict)
    os.write(report, frames.HEADER.pack(len(body)) + body)


def _set_up(source: str, names: _Names, remote: Remote) -> None:
    """Run code that the test relies on, as far as it runs here.

    Its functions are the test's own: no program replaces them. Its classes are too, if their
    instances are nothing but attributes; others are the program's.
    """
    for statement in _statements(source):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and _is_open(statement):
            continue
        code = compile(ast.Module([statement], []), "<setup>", "exec", dont_inherit=True)
        known = set(names)
        with contextlib.suppress(Exception):
            exec(code, names)
        for name in names.keys() - known:
            value = names[name]
            if (
                isinstance(value, type)
                and value.__module__ == TEST_MODULE
                and not _is_attributes_only(value)
            ):
                del names[name]
        if remote.refusal is not None:
            raise remote.refusal


def _statements(source: str) -> list[ast.stmt]:
    """Return the statements of code that may break off where the program goes on."""
    lines = source.splitlines()
    while lines:
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.parse("\n".join(lines)).body
        lines.pop()
    return []


def _is_open(statement: ast.FunctionDef | ast.ClassDef) -> bool:
    """Return whether a definition is left for the program to complete."""
    if isinstance(statement, ast.ClassDef):
        methods = [part for part in statement.body if isinstance(part, ast.FunctionDef)]
        return any(map(_is_open, methods))
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in statement.body
    )


def _is_attributes_only(kind: type) -> bool:
    return type(kind) in (type, abc.ABCMeta) and all(
        base in (object, abc.ABC) or base.__module__ == TEST_MODULE for base in kind.__mro__
    )


def _share_classes(names: _Names, remote: Remote) -> None:
    classes = {
        name: value
        for name, value in names.items()
        if isinstance(value, type) and value.__module__ == TEST_MODULE
    }
    remote.share(classes)


def _classify(error: BaseException, remote: Remote) -> tuple[str, str]:
    if remote.raised is not None and remote.raised[1] is error:
        text = remote.raised[0]
        return ("memory" if text.startswith("MemoryError:") else "error"), text
    text = f"{type(error).__name__}: {_text(error)}"
    if isinstance(error, AssertionError):
        return "failed", _text(error)
    return ("memory" if isinstance(error, MemoryError) else "error"), text


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a hostile value inside the message
        return ""
