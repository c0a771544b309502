"""Runs one program in this process, answers calls of its functions, and reports.

From the program's first line on, this process is hostile: whatever it reports is data. The report
says what came of the program; how the process ended is not for it to tell.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import types
from typing import Any

from . import codec, frames, interpreter
from .exceptions import describe
from .interpreter import FILENAME
from .packages import PackageFinder
from .serving import serve

__all__ = ["READY", "prepare", "run"]

READY = b"R"
# Python 3.11 counts calls from C, too: three are below a program that are not below a script.
RECURSION_ROOM = 1000 if sys.version_info >= (3, 12) else 1003


def prepare() -> None:
    """Do to this process what takes no request, so that it need not be done when one is here."""
    # The module seeds itself anew in every fork.
    random.seed(0)
    interpreter.open_streams()


def run(
    request: dict[str, Any],
    report: int,
    channel: socket.socket | None,
    instrument: Any,
    packages: PackageFinder,
    *,
    ends: bool = True,
) -> None:
    """Run ``request["source"]``, then its call or the calls that come in, and report.

    Args:
        request: source, setup, call and main, as the parent packs them. Setup is code of the
            tests that runs before the program, or after it where it needs the program's names.
        report: descriptor that the report goes to: `READY` before anything is made of the program,
            then a frame with an encoded dict.
        channel: where calls come in after the program ran, until its other end closes.
        instrument: watches the program, as `egcfg.sandbox.Instrument` describes it. May be None.
        packages: tells which packages were imported.
        ends: whether this process ends after it.
    """
    stdout, stderr = sys.stdout, sys.stderr
    module, error, answer = _execute(request, report, instrument)
    if channel is None and ends:
        if error is not None:
            interpreter.tell(error)
        del module, error
        interpreter.finish(request["source"], main=bool(request["main"]))
    failure = interpreter.flush_output()
    if failure is not None and request["main"]:
        answer.setdefault("raised", describe(failure, FILENAME))
    del failure
    for stream in (stdout, stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    if channel is not None:
        serve(channel, module, error, FILENAME, request["source"])
    if imported := packages.imported():
        answer["packages"] = imported
    _send(report, answer)


def _execute(
    request: dict[str, Any], report: int, instrument: Any
) -> tuple[types.ModuleType, BaseException | None, dict[str, Any]]:
    """Run the program and its call; return its module, what ended it, and what to report."""
    main = bool(request["main"])
    module = interpreter.new_module(main=main)
    call = request["call"]
    answer: dict[str, Any] = {}
    error: BaseException | None = None
    sys.setrecursionlimit(RECURSION_ROOM + _stack_depth())
    os.write(report, READY)
    if not request["keep_output"]:
        interpreter.drop_output()
    try:
        # In the same names, but a text of its own: the program's first statement stays its first.
        late_setup = _run_setup(request["setup"], module) if request["setup"] else None
        source = interpreter.encoded(request["source"])
        program = getattr(instrument, "compile", _compile)(source, FILENAME)
        expression = compile(call.strip(), "<call>", "eval", dont_inherit=True) if call else None
    except BaseException as caught:  # noqa: BLE001 - it is the answer
        error = caught
    else:
        # Nothing of ours that is written in Python may run between start() and the program.
        if instrument is not None:
            instrument.start()
        try:
            exec(program, module.__dict__)
            if late_setup is not None:
                exec(late_setup, module.__dict__)
            if expression is not None:
                if instrument is not None:
                    instrument.resume()
                value = eval(expression, module.__dict__)
                value = getattr(instrument, "finish", _unchanged)(value)
        except BaseException as caught:  # noqa: BLE001 - it is the answer
            error = caught
        if instrument is not None:
            instrument.stop(error)
        if error is None and expression is not None:
            _put_value(answer, value)
    if error is not None and not (main and _is_regular_exit(error)):
        answer["raised"] = describe(error, FILENAME)
    return module, error, answer


def _is_regular_exit(error: BaseException) -> bool:
    """Return whether it is a plain ``sys.exit()``: a whole program's regular end."""
    if not isinstance(error, SystemExit):
        return False
    code = SystemExit.__dict__["code"].__get__(error)
    if code is None or not isinstance(code, int):
        return code is None
    # What fits no C integer is -1; of a status, the system keeps the lowest byte.
    return int.bit_length(code) < 64 and int.__and__(code, 0xFF) == 0


def _compile(source: bytes, filename: str) -> types.CodeType:
    return compile(source, filename, "exec", dont_inherit=True)


def _unchanged(value: object) -> object:
    return value


def _stack_depth() -> int:
    """Return how many frames are below the caller's, which the program is not to pay for."""
    depth, frame = 0, sys._getframe().f_back
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def _run_setup(setup: str, module: types.ModuleType) -> types.CodeType | None:
    """Run what the tests rely on; return it where it needs names that the program will define."""
    code = compile(setup, "<setup>", "exec", dont_inherit=True)
    try:
        exec(code, module.__dict__)
    except NameError:
        return code
    return None


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
