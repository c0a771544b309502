"""What the sandbox is asked to run, and what it answers: plain values, no machinery."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = [
    "Call",
    "Execution",
    "ExecutionResult",
    "Instrument",
    "Limits",
    "Outcome",
    "Raised",
]


class Outcome(enum.StrEnum):
    """How an execution ended, decided by the parent and the kernel, not by the program.

    ``SANDBOX_ERROR`` says nothing about the program: the sandbox failed on it twice.
    """

    OK = "ok"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    KILLED = "killed"
    SANDBOX_ERROR = "sandbox_error"


@frozen(kw_only=True)
class Limits:
    """What one execution may use.

    Attributes:
        cpu_seconds: processor time; the limit that decides on a loaded machine.
        wall_seconds: real time, for programs that sleep or wait; keep it well above cpu_seconds.
            Waits for a core do not count, up to four times as much in all. Where the system does
            not tell them (it is not Linux, or hides it), that is the limit of all programs.
        memory_bytes: address space of the process.
        output_bytes: standard output, where it is kept. Of standard error as much is kept; what
            comes after that is dropped.
        file_bytes: size of any file it writes.
    """

    cpu_seconds: float = 5.0
    wall_seconds: float = 15.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    file_bytes: int = 16 << 20


@frozen
class Call:
    """An expression to evaluate after the program ran, such as ``f(2, [3])``.

    Attributes:
        source: the expression's source text.
    """

    source: str


@frozen(kw_only=True)
class Instrument:
    """Trusted code that watches a program from inside its process, such as a tracing engine.

    The module is loaded by its file in the process that children are forked from, so it may import
    the standard library only. It defines::

        class Instrument:
            def __init__(self, options: dict, memory: memoryview): ...
            def start(self) -> None: ...   # right before the program's first line
            def resume(self) -> None: ...   # between the program and its call
            def stop(self, error: BaseException | None) -> None: ...   # right after its last

            # Optional: instead of the builtin `compile`, before `start`; and what the call's value
            # goes through while the program is still watched.
            def compile(self, source: bytes, filename: str) -> types.CodeType: ...
            def finish(self, value: Any) -> Any: ...

        def rehearse() -> None: ...   # optional: run ahead of time, so that the rest runs faster

    `rehearse` is called once when the module is loaded, and once in each process that waits for a
    program.

    `memory` is shared with the parent and survives the child's death: what was written to it is
    in `ExecutionResult.memory`. It comes from the judged program's process, so it is untrusted
    data: never part of a verdict.

    Attributes:
        path: the module's file.
        options: JSON-able options for its constructor.
        memory_bytes: size of the shared memory, zero-filled at the start.
    """

    path: str
    options: Mapping[str, Any] = field(factory=dict)
    memory_bytes: int = 1 << 20


@frozen(kw_only=True)
class Execution:
    """One run of one program in a fresh process.

    Attributes:
        source: the program, compiled as a file ``program.py`` with UTF-8 text.
        setup: code that runs before it in the same names; or after it, where it needs names that
            the program defines.
        call: evaluated in the program's globals afterwards; its value comes back.
        stdin: what standard input holds.
        run_as_main: whether ``__name__`` is ``"__main__"``, as for a whole program.
        limits: what it may use.
        keep_output: whether what it prints is read. Else it may print any amount, to nobody.
        instrument: what watches it.
    """

    source: str
    setup: str = ""
    call: Call | None = None
    stdin: str = ""
    run_as_main: bool = False
    limits: Limits = field(factory=Limits)
    keep_output: bool = True
    instrument: Instrument | None = None


@frozen(kw_only=True)
class Raised:
    """An exception that ended a program, as plain text.

    Attributes:
        type: name of its class.
        message: its text, bounded; made without the program's own ``__str__``.
        line: line of the program that it left last; None when no line of the program is in its
            traceback.
    """

    type: str
    message: str
    line: int | None = None


@frozen(kw_only=True)
class ExecutionResult:
    """What came of an execution; everything but `outcome` and `seconds` is untrusted data.

    Attributes:
        outcome: how it ended.
        value: the call's value after a trip through the sandbox's own codec: exact builtin types
            and plain arrays only. Meaningful when `has_value`.
        has_value: whether a call was made, returned, and its value could be carried over.
        unsupported: why the value could not be carried over; None when it could.
        raised: the exception that ended the program.
        stdout: standard output, decoded as UTF-8 with backslash escapes for what is not.
        undecodable: whether some of it is not.
        stderr: the same for standard error.
        memory: the instrument's shared memory without its trailing zeros; empty without an
            instrument.
        seconds: wall time from its request to its end, or to the end of its report.
        cpu_seconds: processor time that it took.
        packages: those that it imported, itself or by others, as ``name==version``.
        detail: for `Outcome.SANDBOX_ERROR` and `Outcome.KILLED`, what happened.
    """

    outcome: Outcome
    value: Any = None
    has_value: bool = False
    unsupported: str | None = None
    raised: Raised | None = None
    stdout: str = ""
    undecodable: bool = False
    stderr: str = ""
    memory: bytes = field(default=b"", repr=False)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    packages: tuple[str, ...] = ()
    detail: str = ""
