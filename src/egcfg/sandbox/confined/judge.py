"""Runs a trusted test against a program that lives in another process.

The test sees a stub in place of the function. A call is sent over the channel to the program's
process; the test goes on with the plain value that comes back, or with an exception of the same
builtin class. The program never was in this process, and what it sends is decoded with bounds.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import socket
import sys
from typing import Any

from . import codec, frames
from .program import READY

__all__ = ["run_judge"]

MESSAGE_CHARS = 300
EVALUATE = "__evaluate__"


class Unanswered(BaseException):
    """The program cannot answer any more: no Exception, so that a test does not catch it."""


class Unsupported(BaseException):
    """A value that cannot be carried over."""


class Remote:
    """The program's process, as the test sees it.

    Attributes:
        calls: how many were answered.
        refusal: what ended the conversation, sticky: a test that swallows it changes nothing.
        raised: what the program raised last, as text and as the exception that the test got.
    """

    def __init__(self, channel: socket.socket, name: str) -> None:
        self._channel = channel
        self._name = name
        self.calls = 0
        self.refusal: BaseException | None = None
        self.raised: tuple[str, BaseException] | None = None

    def call(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function with copies of the arguments."""
        return self._ask(["call", self._name, list(arguments), keywords])

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression in the program's globals."""
        return self._ask(["evaluate", expression])

    def _ask(self, request: list[Any]) -> Any:
        if self.refusal is not None:
            raise self.refusal
        try:
            return self._exchange(codec.encode(request))
        except codec.EncodeError as error:
            self.refusal = Unsupported(f"an argument: {error}")
        except (OSError, frames.FrameError) as error:
            self.refusal = Unanswered(str(error))
        except (Unanswered, Unsupported) as error:
            self.refusal = error
        raise self.refusal

    def _exchange(self, request: bytes) -> Any:
        frames.send(self._channel, request)
        body = frames.receive(self._channel, codec.DEFAULT.size)
        if body is None:
            raise Unanswered("it ended")
        try:
            answer = codec.decode(body)
            match answer:
                case {"raised": (str(kind), str(message), _, str(base))}:
                    error = _exception(base, message)
                    self.raised = (f"{kind}: {message}", error)
                case {"unsupported": str(reason)}:
                    raise Unsupported(reason)
                case {"value": bytes(data)}:
                    value = codec.decode(data)
                    self.calls += 1
                    return value
                case _:
                    raise Unanswered("its answer is malformed")
        except codec.DecodeError as malformed:
            raise Unanswered(f"its answer is malformed: {malformed}") from malformed
        self.calls += 1
        raise error


def run_judge(request: dict[str, Any], report: int, channel: socket.socket) -> None:
    """Run ``request["test"]`` and report a verdict: status, message and number of calls."""
    os.write(report, READY)
    remote = Remote(channel, request["entry_point"])
    module: dict[str, Any] = {"__name__": "test", "__builtins__": builtins}
    for name in request["modules"]:
        module[name] = importlib.import_module(name)
    # Setup that needs the program's classes runs in the program's process only.
    for source in (request["given"], request["setup"]):
        with contextlib.suppress(Exception):
            exec(compile(source, "<setup>", "exec", dont_inherit=True), module)
    module[request["entry_point"]] = remote.call
    module[EVALUATE] = remote.evaluate
    # A hostile value's text must not end in an error of its own.
    sys.set_int_max_str_digits(0)
    status, message = "passed", ""
    try:
        exec(compile(request["test"], "<test>", "exec", dont_inherit=True), module)
        if request["call_check"]:
            module["check"](remote.call)
    except BaseException as error:  # noqa: BLE001 - it is the verdict
        status, message = _classify(error, remote)
    if remote.refusal is not None:
        kind = "unsupported" if isinstance(remote.refusal, Unsupported) else "unanswered"
        status, message = kind, str(remote.refusal)
    verdict = {"status": status, "message": message[:MESSAGE_CHARS], "calls": remote.calls}
    body = codec.encode(verdict)
    os.write(report, frames.HEADER.pack(len(body)) + body)


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
    except Exception:  # noqa: BLE001 - a hostile value inside the message
        return ""


def _exception(base: str, message: str) -> BaseException:
    """Return an exception of the builtin class named, as far as a test may catch it."""
    kind = getattr(builtins, base, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = RuntimeError
    # Some builtin classes want more arguments than a message.
    error: BaseException = kind.__new__(kind, message)
    error.args = (message,)
    return error
