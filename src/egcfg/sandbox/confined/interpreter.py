"""What the interpreter does around a script: the names it finds, its streams, its file, its end.

A program is to find what ``python program.py`` gives it, in a process that was an interpreter long
before the program came.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib.util
import io
import os
import site
import sys
import threading
import types
from importlib.machinery import SourceFileLoader

__all__ = [
    "FILENAME",
    "add_site_names",
    "encoded",
    "finish",
    "new_module",
    "open_streams",
    "place",
]

FILENAME = "program.py"
"""What programs are compiled as: their file, as seen from the folder that they start in."""


def add_site_names() -> None:
    """Add what the module `site` adds to builtins, and hide the script that this process runs."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [FILENAME]


def open_streams() -> None:
    """Give this process text streams over its own descriptors 0, 1 and 2."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "w" if number else "r"
        raw = io.FileIO(number, mode, closefd=False)
        raw.name = f"<{name}>"  # type: ignore[misc]  # as the interpreter does
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


def encoded(source: str) -> bytes:
    """Return a program as the bytes of its file, for the compiler to read its encoding from."""
    return source.encode("utf-8", "surrogatepass")


def place(source: str, folder: str) -> None:
    """Make a program the file that this interpreter was started with.

    Args:
        source: the program.
        folder: the working directory.
    """
    path = os.path.join(folder, FILENAME)
    with contextlib.suppress(OSError):  # no room for it: it runs all the same
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(file, encoded(source))
        finally:
            os.close(file)
    sys.argv[:] = [path]
    sys.orig_argv[:] = [sys.executable, path]
    sys.path.insert(0, folder)


def new_module(*, main: bool) -> types.ModuleType:
    """Return an empty module for the program, which others find by its name.

    Args:
        main: whether it is the script itself, else a module that a script imports.
    """
    path = sys.argv[0]
    if main:
        module = types.ModuleType("__main__")
        names = module.__dict__
        names |= {"__builtins__": builtins, "__file__": path, "__cached__": None}
        names["__loader__"] = SourceFileLoader("__main__", path)
        if sys.version_info < (3, 14):
            names["__annotations__"] = {}
    else:
        spec = importlib.util.spec_from_file_location(FILENAME.removesuffix(".py"), path)
        if spec is None:
            raise ImportError(f"{path} cannot be a module")
        module = importlib.util.module_from_spec(spec)
    # Dataclasses, typing and pickle look a class's module up by name.
    sys.modules[module.__name__] = module
    return module


def finish(module: types.ModuleType, error: BaseException | None) -> None:
    """End as the interpreter does after a script: hook, threads, exit handlers, what it holds.

    An error's traceback is not printed, unless by a hook of the program's own.

    Args:
        module: the program's.
        error: what ended it.
    """
    for step in (
        lambda: _tell(error),
        threading._shutdown,  # type: ignore[attr-defined]  # the interpreter's own steps
        atexit._run_exitfuncs,
        lambda: _let_go(module),
    ):
        with contextlib.suppress(BaseException):
            step()


def _tell(error: BaseException | None) -> None:
    """Tell the program's own hook of an uncaught exception, and people the reason of an exit."""
    if isinstance(error, SystemExit):
        code = SystemExit.__dict__["code"].__get__(error)
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    elif error is not None and sys.excepthook is not sys.__excepthook__:
        # The first entry of the traceback is a function of ours.
        traceback = error.__traceback__
        sys.excepthook(type(error), error, traceback and traceback.tb_next)


def _let_go(module: types.ModuleType) -> None:
    """Let go of a program's objects: files write what they still hold, ``__del__`` is called."""
    names = module.__dict__
    for private in (True, False):
        for name in list(names):
            if private is (name[:1] == "_" and name[1:2] != "_") and name != "__builtins__":
                names[name] = None
