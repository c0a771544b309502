"""Runs one program in this process, answers calls of its functions, and reports.

From the program's first line on, this process is hostile: whatever it reports is data. The report
says what came of the program; how the process ended is not for it to tell.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import random
import socket
import sys
import threading
import types
from typing import Any

from . import codec, frames
from .exceptions import describe
from .serving import serve

__all__ = ["READY", "prepare", "rehearse", "run"]

READY = b"R"
FILENAME = "<program>"
RECURSION_ROOM = 1000
REHEARSAL = """
from typing import List

def f(values: List[int]) -> list:
    for i, x in enumerate(values):
        if not x % 2:
            return [x + 1]
"""


REQUEST = json.dumps({"source": REHEARSAL, "call": "f([1, 2])", "main": False, "setup": ""})


def prepare() -> None:
    """Do to this process what takes no request, so that it need not be done when one is here."""
    # The module seeds itself anew in every fork.
    random.seed(0)
    open_streams()


def rehearse() -> None:
    """Do once what every execution does.

    Memory that this process shares with the one it was forked from is copied when it is written
    to, and that takes longer than the work itself.
    """
    request = json.loads(REQUEST)
    report = os.open(os.devnull, os.O_WRONLY)
    run(request, report, None, None)
    os.close(report)
    del sys.modules["program"]


def run(
    request: dict[str, Any],
    report: int,
    channel: socket.socket | None,
    instrument: Any,
) -> None:
    """Run ``request["source"]``, then its call or the calls that come in, and report.

    Args:
        request: source, setup, call and main, as the parent packs them. Setup is code of the
            tests that runs before the program, or after it where it needs the program's names.
        report: descriptor that the report goes to: `READY` right before the first line, then a
            frame with an encoded dict.
        channel: where calls come in after the program ran, until its other end closes.
        instrument: watches the program, as `egcfg.sandbox.Instrument` describes it. May be None.
    """
    main = bool(request["main"])
    stdout, stderr = sys.stdout, sys.stderr
    module = types.ModuleType("__main__" if main else "program")
    # Dataclasses and typing look a class's module up by name.
    sys.modules[module.__name__] = module
    call = request["call"]
    answer: dict[str, Any] = {}
    error: BaseException | None = None
    sys.setrecursionlimit(RECURSION_ROOM + _stack_depth())
    setup = request.get("setup", "")
    try:
        late_setup = not _run_setup(setup, module)
        program = compile(request["source"], FILENAME, "exec", dont_inherit=True)
        expression = compile(call.strip(), "<call>", "eval", dont_inherit=True) if call else None
    except BaseException as caught:  # noqa: BLE001 - it is the answer
        os.write(report, READY)
        error = caught
    else:
        if instrument is not None:
            instrument.start()
        # Nothing of ours that is written in Python may run between start() and the program.
        os.write(report, READY)
        try:
            exec(program, module.__dict__)
            if late_setup:
                exec(setup, module.__dict__)
            if expression is not None:
                if instrument is not None:
                    instrument.resume()
                value = eval(expression, module.__dict__)
        except BaseException as caught:  # noqa: BLE001 - it is the answer
            error = caught
        if instrument is not None:
            instrument.stop(error)
        if error is None and expression is not None:
            _put_value(answer, value)
    if main and (error is None or isinstance(error, SystemExit)):
        error = _finish(error)
    if error is not None:
        answer["raised"] = describe(error, FILENAME)
    for stream in (sys.stdout, stdout, stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    if channel is not None:
        serve(channel, module, error, FILENAME)
    _send(report, answer)


def _stack_depth() -> int:
    """Return how many frames are below the caller's, which the program is not to pay for."""
    depth, frame = 0, sys._getframe().f_back
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def _run_setup(setup: str, module: types.ModuleType) -> bool:
    """Run what the tests rely on; False where it must wait for names that the program defines."""
    try:
        exec(setup, module.__dict__)
    except NameError:
        return False
    return True


def open_streams() -> None:
    """Give this process text streams over its own descriptors 0, 1 and 2."""
    stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8", "surrogateescape"
    )
    stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace"
    )
    for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _finish(error: BaseException | None) -> BaseException | None:
    """End a whole program as the interpreter would: wait for its threads, run its exit handlers.

    A plain ``sys.exit()`` is a program's regular end.
    """
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # the interpreter's own step
        atexit._run_exitfuncs()
    if isinstance(error, SystemExit):
        code = SystemExit.__dict__["code"].__get__(error)
        return None if code is None or (type(code) is int and code == 0) else error
    return error


def _put_value(answer: dict[str, Any], value: object) -> None:
    try:
        answer["value"] = codec.encode(value)
    except codec.EncodeError as error:
        answer["unsupported"] = str(error)
    except Exception as error:  # noqa: BLE001 - an iterator that raises while drained
        answer["unsupported"] = f"{type(error).__name__} while it was carried over"


def _send(report: int, answer: dict[str, Any]) -> None:
    try:
        body = codec.encode(answer)
    except MemoryError:
        answer = {"raised": ("MemoryError", "", None, "MemoryError")}
        body = codec.encode(answer)
    view = memoryview(frames.HEADER.pack(len(body)) + body)
    while view:
        view = view[os.write(report, view) :]
