"""What the interpreter does around a script: the names it finds, its streams, its file, its end.

A program is to find what ``python program.py`` gives it, in a process that was an interpreter long
before the program came.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import functools
import gc
import io
import os
import site
import sys
import threading
import types
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from typing import Any, NoReturn

__all__ = [
    "FILENAME",
    "add_site_names",
    "drop_output",
    "encoded",
    "enter",
    "finish",
    "flush_output",
    "new_module",
    "open_streams",
    "place",
    "prefer_fork",
    "tell",
]

FILENAME = "program.py"
"""What programs are compiled as: their file, as seen from the folder that they start in."""

_Exit = Callable[[str | int | None], NoReturn]

AT_THE_END = ("__del__", "open", "TextIOWrapper", "Buffered", "yield")
"""A program without any of these has nothing that would still do something when it is freed."""


def add_site_names() -> None:
    """Add what the module `site` adds to builtins, and hide the script that this process runs."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    if sys.version_info < (3, 12):
        sys.exit = _exit_whole(sys.exit)  # type: ignore[assignment]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [FILENAME]
    # An environment's link to it is not among the files that programs see.
    sys.executable = os.path.realpath(sys.executable)


def prefer_fork() -> None:
    """Make forking the default of `multiprocessing`, as it was before Python 3.14.

    By the default from then on, each lock starts a process that cleans up after it, which a program
    here must not do.
    """
    if sys.platform == "linux" and sys.version_info >= (3, 14):
        from multiprocessing import context

        context._default_context._default_context = context._concrete_contexts["fork"]


def _exit_whole(leave: _Exit) -> _Exit:
    """Return ``sys.exit`` that keeps a tuple whole.

    Before Python 3.12 whatever catches the exception unpacks the tuple. Where nothing does, as in a
    script, it is printed and the status is 1; but here there is always something that does.
    """

    @functools.wraps(leave)
    def leave_whole(status: Any = None, /) -> NoReturn:
        if isinstance(status, tuple):
            raise SystemExit(status)
        leave(status)

    return leave_whole


def open_streams() -> None:
    """Give this process text streams over its own descriptors 0, 1 and 2."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "w" if number else "r"
        raw = io.FileIO(number, mode, closefd=False)
        raw.name = f"<{name}>"  # as the interpreter does
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw) if number else io.BufferedReader(raw),
            "utf-8",
            "backslashreplace" if name == "stderr" else "surrogateescape",
            newline="\n",
            line_buffering=name == "stderr",
        )
        stream.mode = mode  # type: ignore[misc]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def drop_output() -> None:
    """Have nobody read what this process prints from now on, so that it waits for no reader."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nobody, number)
    os.close(nobody)


def encoded(source: str) -> bytes:
    """Return a program as the bytes of its file, for the compiler to read its encoding from."""
    return source.encode("utf-8", "surrogatepass")


def enter(folder: str) -> int:
    """Have this interpreter look as if it had been started with a program's file.

    Args:
        folder: the working directory, which the file is in.

    Returns:
        A descriptor of the file, which is still empty.
    """
    path = f"{folder}/{FILENAME}"
    sys.argv[:] = [path]
    sys.orig_argv[:] = [sys.executable, path]
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)


def place(source: str, file: int, folder: str) -> None:
    """Lay a program down in its file, and have modules beside it found.

    Args:
        source: the program.
        file: as `enter` returns it.
        folder: the working directory.
    """
    with contextlib.suppress(OSError):  # no room for it: it runs all the same
        os.write(file, encoded(source))
    os.close(file)
    sys.path.insert(0, folder)


def new_module(*, main: bool) -> types.ModuleType:
    """Return an empty module for the program, which others find by its name.

    Args:
        main: whether it is the script itself, else a module that a script imports.
    """
    name, path = _name(main=main), sys.argv[0]
    module = types.ModuleType(name)
    names = module.__dict__
    names |= {"__file__": path, "__cached__": None, "__loader__": SourceFileLoader(name, path)}
    if main:
        names["__builtins__"] = builtins
        if sys.version_info < (3, 14):
            names["__annotations__"] = {}
    # Dataclasses, typing and pickle look a class's module up by name.
    sys.modules[name] = module
    return module


def _name(*, main: bool) -> str:
    return "__main__" if main else FILENAME.removesuffix(".py")


def tell(error: BaseException) -> None:
    """Tell the program's own hook of an uncaught exception, and people the reason of an exit."""
    with contextlib.suppress(BaseException):
        if isinstance(error, SystemExit):
            code = SystemExit.__dict__["code"].__get__(error)
            if code is not None and not isinstance(code, int):
                print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        elif sys.excepthook is not sys.__excepthook__:
            # The first entry of the traceback is a function of ours.
            traceback = error.__traceback__
            sys.excepthook(type(error), error, traceback and traceback.tb_next)


def flush_output() -> BaseException | None:
    """Flush the program's output as the interpreter does at its end.

    Returns:
        Why it cannot: the interpreter's exit status is 120 then.
    """
    failure: BaseException | None = None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if not (stream is None or getattr(stream, "closed", False)):
                stream.flush()
        except BaseException as error:  # noqa: BLE001 - of a stream of the program's own
            failure = error
    return failure


def finish(source: str, *, main: bool) -> None:
    """End as the interpreter does after a script: threads, exit handlers, then all objects.

    The caller must hold nothing of the program's any more.

    Args:
        source: the program.
        main: whether it was the script itself.
    """
    if len(threading._active) > 1 or threading._threading_atexits:  # type: ignore[attr-defined]
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]  # the interpreter's own step
    if atexit._ncallbacks():
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
    # Files write what they still hold, generators end, `__del__` is called.
    sys.modules.pop(_name(main=main), None)
    if any(word in source for word in AT_THE_END):
        gc.collect()
