"""The judge's side of the conversation with a program: asks, and believes no more than values.

What comes back is decoded within bounds; see `serving` for the messages, `mirrors` for what stands
for the program's objects here.
"""

from __future__ import annotations

import ast
import functools
import io
import os
import socket
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

from . import frames
from .bounds import DEFAULT, CollisionError, DecodeError, EncodeError
from .describing import ASKED, REFUSED
from .encoder import Encoder
from .files import Files
from .interpreter import FILENAME
from .kinds import (
    ATTRIBUTES,
    CONTAINERS,
    EXCEPTION,
    FROZEN,
    IMMUTABLE,
    NAMED,
    NANS,
    OPAQUE,
    SHARED,
    attributes,
    exception_parts,
    fill,
    global_name,
    is_nan,
    make_exception,
    named_nan,
    pure_name,
    pure_named,
)
from .messages import ANSWER, Receiver, Sender, said, shortened
from .mirrors import Kind, Mirror, is_instance, is_subclass, make_mirror, own_class
from .objects import Objects, Results

__all__ = ["Remote", "Unanswered", "Unsupported"]

_SHARED_NAMES: Final = {kind: name for name, kind in SHARED.items()}
# As a test knows them.
_NAMED: Final[dict[tuple[str, str], Any]] = {
    **NAMED,
    ("builtins", "isinstance"): is_instance,
    ("builtins", "issubclass"): is_subclass,
}
TEST_MODULE: Final = "test"
# What functools.cmp_to_key makes: it is called with an item, and the results are compared.
_SORT_KEY: Final = type(functools.cmp_to_key(id))  # type: ignore[arg-type]
_OF_SORT_KEYS: Final = ("__call__", "__eq__", "__ge__", "__gt__", "__le__", "__lt__")
# After so many single steps an iterator is asked for several items at once.
STEPS, AT_ONCE = 64, 256


class Unanswered(BaseException):
    """The program cannot answer any more: no Exception, so that a test does not catch it."""


class Unsupported(BaseException):
    """The test cannot be judged without the program's own code deciding, or knowing too much."""


class Remote:
    """The program's process, as the test sees it.

    Attributes:
        objects: what both know.
        setup_classes: classes of the setup code, which the program's process has too, by name.
        handles: those of the program's global names, until it binds these to something else.
        answered: how often the program was asked for more than a name, and answered.
        refusal: what ended the conversation, sticky: a test that swallows it changes nothing.
        raised: what the program raised last, as text and as the exception that the test got.
        assertion: an assertion of the test that failed inside a call from the program.
    """

    def __init__(
        self,
        channel: socket.socket,
        assigned: tuple[str, ...],
        builtins: tuple[str, ...],
        test: str = "",
    ) -> None:
        self._channel = channel
        self._test = test
        self._meanings: tuple[tuple[str, ...], ...] = (assigned, builtins)
        self._frames = frames.Reader(channel)
        self._told_folder = False
        self._results = Results()
        self._stdout = sys.stdout
        self._receiving = False
        self._files = Files(os.environ.get("TMPDIR", ""), apart=FILENAME)
        self.objects = Objects(1)
        self.setup_classes: dict[str, type] = {}
        self.handles: dict[str, Any] = {}
        self.answered = 0
        self.refusal: BaseException | None = None
        self.raised: tuple[str, BaseException] | None = None
        self.assertion: AssertionError | None = None
        Mirror.program = self

    def share(self, classes: dict[str, type]) -> None:
        """Tell the program's process which of its classes the test has as well."""
        if classes:
            names = self.ask("share", *classes)
            self.setup_classes = {name: classes[name] for name in classes if name in names}

    def name(self, name: str) -> Any:
        """Ask for what the program means by a name.

        The first time it is told which names the test takes to have a meaning of their own.
        """
        meanings, self._meanings = self._meanings, ()
        return self.ask("name", name, *meanings)

    def refuse(self, reason: str) -> NoReturn:
        """End the test: it cannot be judged."""
        if self.refusal is None:
            self.refusal = Unsupported(reason)
        raise self.refusal

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Have the program do something.

        Raises:
            BaseException: what the program raised.
            Unanswered: it ended, or its answer is malformed.
            Unsupported: a value cannot be carried.
        """
        if self.refusal is not None:
            raise self.refusal
        if self._receiving:
            raise DecodeError("what it sends cannot be read without asking it")
        watched = sys.stdout is not self._stdout
        released = self.objects.unheld(_keep_none)
        self._send(operation, arguments, watched=watched, released=tuple(released))
        while True:
            kind, content, printed = self._receive()
            if printed:
                sys.stdout.write(printed)
            if kind == "value":
                self.answered += operation not in ("name", "share")
                if operation == "call":
                    self._results.add(content)
                return own_class(content) if isinstance(content, Mirror) else content
            if kind == "apart":
                self.answered += 1
                value, name = content
                if _compares_objects(self._test):
                    self.refuse(f"the test compares {name}, of which each process has its own")
                return value
            if kind in ("argument", "again") and operation == "call":
                self.answered += 1
                return self._told(kind, content, arguments[1])
            if kind == "raised":
                error, text = content
                self.answered += 1
                self.raised = (text, error)
                raise error
            if kind != "callback":
                self._give_up("its answer is none")
            self._serve(*content)

    def _told(self, kind: str, number: int, arguments: Sequence[Any]) -> Any:
        """Return the argument, or the earlier result, that an answer names."""
        try:
            if kind == "again":
                return self._results.get(number)
            return dict(enumerate(arguments))[number]
        except KeyError:
            self._give_up("it names an object that was not told of")

    def _send(
        self,
        operation: str,
        content: tuple[Any, ...],
        *,
        watched: bool = False,
        released: tuple[int, ...] = (),
    ) -> None:
        try:
            folder = "" if self._told_folder else self._files.folder
            self._told_folder = True
            request = (operation, content, released, watched, self._files.changes(), folder)
            message = _JudgeSender(self).message(shortened(request))
        except Exception as error:  # noqa: BLE001 - nothing of ours is for a test to catch
            self.refuse(f"an argument: {error}")
        try:
            frames.send(self._channel, message)
        except OSError as error:
            self._give_up(str(error))

    def _receive(self) -> tuple[str, Any, str]:
        """Return a well-formed answer: its kind, what it says, and what was printed."""
        self._receiving = True
        try:
            body = self._frames.receive(DEFAULT.size)
            if body is None:
                self._give_up("it ended")
            message = _JudgeReceiver(body, self).message()
            kind, content, released, printed, files, rebound = said(message, ANSWER)
            _check(kind, content, printed, released)
            self._files.apply(files)
            self.objects.forget(released)
            for name in rebound:
                self.handles.pop(name, None)
        except CollisionError as error:
            self.refuse(str(error))
        except Exception as error:  # noqa: BLE001 - nothing of ours is for a test to catch
            self._give_up(f"its answer is malformed: {error}")
        finally:
            self._receiving = False
        if kind == "unsupported":
            self.refuse(content)
        if kind == "ended":
            self._give_up("it did not load")
        return kind, content, printed

    def _give_up(self, reason: str) -> NoReturn:
        self.refusal = Unanswered(reason)
        raise self.refusal

    def _serve(self, number: int, operation: str, arguments: Any, pairs: Any) -> None:
        """Do what the program asks of an object that the test passed it."""
        answer: tuple[str, tuple[Any, ...]]
        try:
            value = _do(self._passed(number), operation, arguments, dict(pairs))
            answer = ("return", (value,))
        except (Unanswered, Unsupported):
            raise
        except BaseException as error:  # noqa: BLE001 - it is the program's to catch
            if isinstance(error, AssertionError) and self._is_tests(error):
                self.assertion = error
            answer = ("raise", (error,))
        self._send(*answer)

    def _is_tests(self, error: BaseException) -> bool:
        return self.raised is None or self.raised[1] is not error

    def _passed(self, number: int) -> Any:
        if not self.objects.is_passed(number):
            self._give_up("it calls what it was not passed")
        return self.objects.get(number)


def _check(kind: Any, content: Any, printed: Any, released: Any) -> None:
    """See that an answer is one.

    Raises:
        DecodeError: it is not.
    """
    if kind != "value":  # the most frequent one, which says anything
        match kind, content:
            case ("ended", _) | ("unsupported", str()) | ("argument" | "again", int()):
                pass
            case ("raised", (BaseException(), str())) | ("apart", (_, str())):
                pass
            case "callback", (int(), str(), tuple(), tuple(pairs)):
                _check_pairs(pairs)
            case _:
                raise DecodeError("an answer expected")
    if type(printed) is not str or not {int}.issuperset(map(type, released)):
        raise DecodeError("text and numbers expected")


def _compares_objects(test: str) -> bool:
    """Return whether a test compares what is not plain to be a constant with another such thing."""
    return any(
        isinstance(node, ast.Compare)
        and all(any(isinstance(n, ast.Name) for n in ast.walk(part)) for part in _compared(node))
        for node in ast.walk(ast.parse(test))
    )


def _compared(node: ast.Compare) -> list[ast.expr]:
    return [node.left, *node.comparators]


def _keep_none(*_: object) -> bool:
    return False


def _do(value: Any, operation: str, arguments: Any, keywords: dict[str, Any]) -> Any:
    """Do with an object of the test's what a program may: no more than to use it.

    Raises:
        AttributeError: a program has no business with what it asks for.
    """
    if operation == "call" and callable(value):
        return value(*arguments, **keywords)
    if operation == "__next__" and isinstance(value, Iterator):
        return next(value)
    if type(value) is _SORT_KEY and operation in _OF_SORT_KEYS:
        return getattr(_SORT_KEY, operation)(value, *arguments)
    kind = type(value)
    if kind is types.SimpleNamespace or getattr(kind, "__module__", None) == TEST_MODULE:
        if operation in ASKED | REFUSED:
            return getattr(type(value), operation)(value, *arguments, **keywords)
        name = arguments[0]
        # What its class does is not for the program to replace.
        replaces = operation == "setattr" and callable(getattr(type(value), str(name), None))
        known = operation in ("getattr", "setattr") and type(name) is str
        if known and not replaces and name[:1] != "_":
            action: Callable[..., Any] = getattr if operation == "getattr" else setattr
            return action(value, *arguments)
    raise AttributeError(f"{type(value).__name__!r} object has no attribute {arguments[:1]!r}")


class _JudgeSender(Sender):
    def __init__(self, remote: Remote) -> None:
        super().__init__(remote.objects)
        self._remote = remote

    def put_other(self, value: Any, kind: type, depth: int) -> None:
        described = Mirror.described.get(kind)
        if described is not None:
            self._put_local(value, kind, described["layout"], depth)
        elif isinstance(value, type):
            self._put_class(value, depth)
        elif kind in self._remote.setup_classes.values():
            self.put_mutable(value, ATTRIBUTES, kind)
        elif isinstance(value, BaseException):
            self.put_fixed(
                value, EXCEPTION, self._exception_class(kind), exception_parts(value), depth
            )
        elif (name := pure_name(value) or global_name(value)) is not None:
            self.put_global(*name)
        elif isinstance(value, Iterator) and not isinstance(value, io.IOBase):
            self._put_passed(value, "iterator", kind.__name__, ("__next__",), depth)
        elif _is_simple(kind):
            specials = tuple(
                n for n in sorted(ASKED | REFUSED) if n in dir(kind) and _brings(kind, n)
            )
            self._put_passed(value, "object", kind.__name__, specials, depth)
        elif kind is _SORT_KEY:
            self._put_passed(value, "object", kind.__name__, _OF_SORT_KEYS, depth)
        elif callable(value):
            self._put_passed(value, "function", getattr(value, "__name__", "function"), (), depth)
        else:
            raise EncodeError(f"a value of type {kind.__name__} cannot be carried over")

    def _put_class(self, value: type, depth: int) -> None:
        shared = next((n for n, k in self._remote.setup_classes.items() if k is value), None)
        if shared is not None:
            self.put_global("", shared)
        elif value is Kind:
            self.put_global("builtins", "type")
        elif (name := global_name(value)) is not None:
            self.put_global(*name)
        else:
            self._put_passed(value, "function", value.__name__, (), depth)

    def _put_passed(
        self, value: Any, form: str, name: str, specials: tuple[str, ...], depth: int
    ) -> None:
        """Write what the program will ask the test about."""
        self.put_fixed(value, OPAQUE, (form, name, specials), (), depth)
        self.objects.keep(value)

    def _put_local(self, value: Any, kind: type, layout: str, depth: int) -> None:
        """Write an instance of a mirror that was made here."""
        if layout == ATTRIBUTES or layout in CONTAINERS.values():
            self.put_mutable(value, layout, kind)
        elif layout == EXCEPTION:
            self.put_fixed(value, layout, ("", kind), exception_parts(value), depth)
        elif layout == FROZEN:
            self.put_fixed(value, layout, kind, (tuple(attributes(value).items()),), depth)
        elif layout == IMMUTABLE:
            self.put_fixed(value, layout, kind, (), depth)
            Encoder.put(self, value, depth + 1)
        else:
            raise EncodeError("an object that the program does not have")

    def _exception_class(self, kind: type) -> tuple[str, type]:
        if global_name(kind) is not None:
            return "", kind
        base = next(item for item in kind.__mro__ if global_name(item) is not None)
        return kind.__name__, base


def _is_simple(kind: type) -> bool:
    """Return whether the instances of a class of the test's are nothing but objects."""
    return kind is types.SimpleNamespace or (
        kind.__module__ == TEST_MODULE
        and all(base is object or base.__module__ == TEST_MODULE for base in kind.__mro__)
    )


def _brings(kind: type, name: str) -> bool:
    return getattr(kind, name) is not getattr(object, name, None) and name != "__hash__"


class _JudgeReceiver(Receiver):
    def __init__(self, data: bytes, remote: Remote) -> None:
        super().__init__(data, remote.objects)
        self._remote = remote

    def make_mutable(self, layout: str, kind: Any) -> Any:
        if layout == ATTRIBUTES and kind not in self._remote.setup_classes.values():
            told = Mirror.described.get(kind)
            if told is None or told["layout"] != ATTRIBUTES:
                raise DecodeError("a class of plain attributes expected")
        return super().make_mutable(layout, kind)

    def make_class(self, description: Any) -> type:
        return make_mirror(description)

    def make_fixed(self, layout: str, kind: Any, depth: int) -> Any:
        if not isinstance(kind, type):
            raise DecodeError("a class expected")
        if kind in NANS:
            value: Any = self.get(depth + 1)
            if layout != IMMUTABLE or type(value) is not kind or not is_nan(value):
                raise DecodeError("a value that is not equal to itself expected")
            return value
        told = Mirror.described.get(kind, {"layout": EXCEPTION})
        if told["layout"] != layout:
            raise DecodeError("a class of this layout expected")
        if layout == OPAQUE:
            return object.__new__(kind)
        if layout == EXCEPTION:
            return self._exception(kind, depth)
        plain = self.get(depth + 1)
        if layout == FROZEN:
            value = object.__new__(kind)
            _check_pairs(plain)
            fill(value, ATTRIBUTES, [part for pair in plain for part in pair])
            return value
        return type(plain).__new__(kind, plain)

    def _exception(self, kind: Any, depth: int) -> BaseException:
        given, fields, state, cause, context, hidden = (self.get(depth + 1) for _ in range(6))
        if not issubclass(kind, BaseException) or type(given) is not tuple:
            raise DecodeError("an exception expected")
        _check_pairs(fields)
        _check_pairs(state)
        if not all(isinstance(other, BaseException | None) for other in (cause, context)):
            raise DecodeError("a cause expected")
        return make_exception(kind, given, fields, state, cause, context, hidden is True)

    def find_global(self, module: str, name: str) -> Any:
        found: Any = SHARED.get((module, name)) or _NAMED.get((module, name))
        if found is None:
            found = named_nan(module, name)
        if found is None and not isinstance(pure := pure_named(module, name), type):
            # A class of the library's would bring what decides to the classes derived from it.
            found = pure
        if not module:
            found = self._remote.setup_classes.get(name)
        if found is None:
            raise DecodeError("what both sides have expected")
        return found

    def allow_attributes(self, kind: type, names: Iterable[Any]) -> None:
        for name in names:
            if type(name) is not str or (name.startswith("__") and name.endswith("__")):
                raise DecodeError("an attribute's name expected")
            if kind not in self._remote.setup_classes.values():
                continue
            for base in kind.__mro__:
                found = base.__dict__.get(name)
                if (
                    hasattr(type(found), "__get__")
                    and type(found) is not types.MemberDescriptorType
                ):
                    raise DecodeError(f"{name} is a method of {kind.__name__}")


def _check_pairs(pairs: Any) -> None:
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str:
            raise DecodeError("attributes expected")
