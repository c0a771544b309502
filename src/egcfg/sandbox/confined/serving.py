"""The program's side of the conversation with a test: does what the test asks, and answers.

A request is a tuple: the name of an operation, its arguments, the objects that the test no longer
holds, whether it wants to see what is printed meanwhile, what changed in its folder and, in the
first request, which folder that is.

An answer is a tuple as well: its kind, what it says, the objects that the program no longer holds,
what was printed, what files changed, and the names that mean something else than when the test
asked for them. Parts that say nothing are left out at the end of both. An answer's kind is

- ``"value"`` with what came of it, or ``"argument"`` with the place of the argument that did, or
  ``"again"`` with the number of an earlier result that is the same object (see `Results`);
- ``"apart"`` with a handle of what the test has of its own, a module for one, and its name;
- ``"raised"`` with the exception and its text;
- ``"unsupported"`` with why the value could not be carried over;
- ``"ended"`` where the program did not even load;
- ``"callback"`` with a number, an operation and arguments: before it answers, the program uses what
  the test passed it. The test answers by a request ``"return"`` or ``"raise"``.
"""

from __future__ import annotations

import functools
import importlib
import io
import operator
import os
import socket
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Iterable
from datetime import date, time, timedelta
from typing import Any, Final, NoReturn

from . import frames
from .bounds import DecodeError, EncodeError
from .describing import describe, layout_of
from .encoder import Encoder
from .exceptions import describe as describe_error
from .files import Files
from .interpreter import encoded, flush_output
from .kinds import (
    ARRAY,
    ATTRIBUTES,
    EXCEPTION,
    FROZEN,
    IMMUTABLE,
    LAYOUTS,
    NAMED,
    OPAQUE,
    PLAIN,
    SHARED,
    SHARED_KINDS,
    attributes,
    exception_parts,
    fill,
    is_shared,
    make_exception,
    pure_name,
    pure_named,
)
from .messages import ANSWER, REQUEST, Receiver, Sender, said, shortened
from .objects import Objects, Results

__all__ = ["Service", "serve"]

_SHARED_NAMES: Final = {kind: name for name, kind in SHARED.items()}
_NAMES: Final = {value: name for name, value in NAMED.items()}
_NAMED_KINDS: Final = frozenset(map(type, NAMED.values()))


def serve(
    channel: socket.socket,
    module: types.ModuleType,
    error: BaseException | None,
    filename: str,
    source: str,
) -> None:
    """Answer requests until the other end closes.

    Args:
        channel: the socket to the test.
        module: where the program ran.
        error: why the program did not load; None when it did.
        filename: what the program was compiled as.
        source: the program's text.
    """
    service = Service(channel, module, filename, source)
    while service.step(error):
        pass


class Service:
    """What of the program the test may reach, and the objects that both know."""

    def __init__(
        self, channel: socket.socket, module: types.ModuleType, filename: str, source: str
    ) -> None:
        self.module = module
        self.objects = Objects(-1)
        self.setup_classes: tuple[str, ...] = ()
        self._asked: dict[str, Any] = {}
        self._channel = channel
        self._frames = frames.Reader(channel)
        self._shares_folder = False
        self._results = Results()
        self._refused = ""
        self._filename = filename
        self._source = source
        self._lock = threading.RLock()
        self._loop: Any = None
        self._files = Files(os.environ.get("TMPDIR", ""), apart=os.path.basename(filename))

    def receive(self) -> Any:
        """Return the next request; None where there is none any more."""
        body = self._frames.receive()
        return None if body is None else said(_ProgramReceiver(body, self).message(), REQUEST)

    def send(self, answer: tuple[Any, ...]) -> None:
        """Send an answer."""
        if self._refused:
            answer = ("unsupported", self._refused)
        rebound = self._rebound()
        if rebound:
            answer = (*answer, *ANSWER[len(answer) - 2 : -1], rebound)
        frames.send(self._channel, _ProgramSender(self).message(shortened(answer)))

    def step(self, error: BaseException | None) -> bool:
        """Answer one request; False where there is none any more."""
        requests = [self.receive()]
        if requests == [None]:
            return False
        self.answer([*requests.pop()], error)
        return True

    def answer(self, request: list[Any], error: BaseException | None) -> None:
        """Do what is asked for, and say what came of it. Nothing of the request is held on to."""
        name, arguments, released, watched, files, folder = request
        request.clear()
        self.objects.forget(released)
        if error is not None:
            self.send(("ended", ""))
            return
        if folder:
            # Without a mount namespace each process has a folder of another name.
            self._shares_folder = folder == self._files.folder
        if files and not self._shares_folder:
            reason = "the test makes files, and the program has none of them"
            self.send(("unsupported", reason))
            return
        self._files.apply(files)
        stdout = sys.stdout
        printed = io.StringIO() if watched else None
        if printed is not None:
            sys.stdout = printed
        try:
            value = self._operations[name](self, *arguments)
            answer: tuple[Any, ...] = ("value", value)
            if name == "call" and _is_apart(value):
                answer = ("apart", (value, value.__name__))
            elif type(value) in PLAIN and name == "call":
                answer = self._plain_result(value, arguments[1])
            del value
        except BaseException as caught:  # noqa: BLE001 - it is the answer
            kind, message, _, _ = describe_error(caught, self._filename)
            answer = ("raised", (caught, f"{kind}: {message}"))
        finally:
            if printed is not None and sys.stdout is printed:
                sys.stdout = stdout
        arguments = None
        flush_output()
        try:
            changed = self._files.changes() if self._shares_folder else ()
            shown = "" if printed is None else printed.getvalue()
            self.send((*answer, self._released(), shown, changed))
        except EncodeError as refused:
            self.send(("unsupported", str(refused)))

    def refuse_making(self, kind: type, *_: object, **__: object) -> NoReturn:
        """End the test: a class of the test's is the test's to make objects of."""
        self._refused = f"the program makes an object of the test's class {kind.__name__}"
        raise TypeError(self._refused)

    def refuse_looking(self, value: object) -> NoReturn:
        """End the test: what an object of the test's holds is not all here."""
        self._refused = f"the program looks into an object of the test's ({type(value).__name__})"
        raise AttributeError(self._refused)

    def _plain_result(self, value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the answer to a call, which tells where its result is an object told of before."""
        place = next((n for n, item in enumerate(arguments) if item is value), None)
        if place is not None:
            return "argument", place
        number = self._results.number(value)
        if number is not None:
            return "again", number
        self._results.add(value)
        return "value", value

    def _released(self) -> tuple[int, ...]:
        """Forget what the program does not hold any more: from now on it is the test's alone."""
        return tuple(self.objects.unheld(self._is_kept))

    def _is_kept(self, number: int, value: object, layout: str) -> bool:
        if self.objects.is_foreign(number):
            return False
        # Of the program's own, what the test has all of.
        kind = type(value)
        whole = kind in SHARED_KINDS or layout in (ATTRIBUTES, ARRAY)
        return layout not in LAYOUTS or not whole

    def call_back(self, number: int, operation: str, arguments: Any, keywords: Any) -> Any:
        """Have the test do something with an object of its own.

        Raises:
            BaseException: what that raises.
        """
        with self._lock:
            pairs = tuple(keywords.items())
            self.send(("callback", (number, operation, tuple(arguments), pairs)))
            while True:
                requests = [self.receive()]
                if requests == [None]:
                    os._exit(1)  # the test is over
                if requests[0][0] not in ("return", "raise"):
                    # The test goes on asking before it returns.
                    self.answer([*requests.pop()], None)
                    continue
                operation, content, *_, files, _ = requests[0]
                self._files.apply(files)
                if operation == "raise":
                    raise content[0]
                return content[0]

    def _global(
        self, name: str, assigned: tuple[str, ...] = (), builtins: tuple[str, ...] = ()
    ) -> Any:
        used = [one for one in assigned if one in self._source] and _used_by_functions(self._source)
        if both := used and sorted({*assigned} & used):
            self._refused = f"the test changes what the program means by {', '.join(both)}"
        elif both := sorted({*builtins} & self.module.__dict__.keys() - {name}):
            self._refused = f"the program changes what the test means by {', '.join(both)}"
        try:
            value = self._asked[name] = self.module.__dict__[name]
        except KeyError:
            raise NameError(f"name {name!r} is not defined", name=name) from None
        return value

    def _rebound(self) -> tuple[str, ...]:
        """Return the names that the program has bound to something else since they were asked."""
        names = self.module.__dict__
        rebound = [name for name, value in self._asked.items() if names.get(name) is not value]
        for name in rebound:
            del self._asked[name]
        return tuple(rebound)

    def _share(self, *names: str) -> tuple[str, ...]:
        """Take note of the classes of the setup code that the test has too; return those here."""
        known = self.module.__dict__
        self.setup_classes = tuple(name for name in names if isinstance(known.get(name), type))
        return self.setup_classes

    def _special(self, name: str, *arguments: Any) -> Any:
        return _SPECIALS[name](*arguments)

    def _await(self, name: str, value: Any, *arguments: Any) -> Any:
        """Wait for what is awaitable, in an event loop that lasts as long as the program."""
        if self._loop is None:
            asyncio = importlib.import_module("asyncio")
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        awaitable = value if name == "__await__" else getattr(type(value), name)(value, *arguments)
        return self._loop.run_until_complete(_wait(awaitable))

    _operations: Final[dict[str, Callable[..., Any]]] = {
        "name": _global,
        "share": _share,
        "call": lambda _, function, arguments, pairs: function(*arguments, **dict(pairs)),
        "type": lambda _, value: type(value),
        "getattr": lambda _, value, name: getattr(value, name),
        "setattr": lambda _, value, name, item: setattr(value, name, item),
        "delattr": lambda _, value, name: delattr(value, name),
        "special": _special,
        "await": _await,
        "items": lambda _, iterator, count: _items(iterator, count),
    }


def _used_by_functions(source: str) -> set[str]:
    """Return the global names that a program's functions refer to."""
    found: set[str] = set()
    symtable = importlib.import_module("symtable")
    waiting = list(symtable.symtable(encoded(source), "<program>", "exec").get_children())
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        if table.get_type() == "function":
            found.update(table.get_globals())
    return found


def _is_apart(value: Any) -> bool:
    """Return whether a value is the library's, and the test has one of its own in its place."""
    if type(value) in _NAMED_KINDS and value in _NAMES:
        return False
    if isinstance(value, type) and pure_named(value.__module__, value.__qualname__) is value:
        return False
    return is_shared(value) and pure_name(value) is None and value not in SHARED_KINDS


async def _wait(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _items(iterator: Any, count: int) -> tuple[Any, ...]:
    """Return the next items of an iterator, and whether it ended or what it raised."""
    items: list[Any] = []
    try:
        while len(items) < count:
            items.append(next(iterator))
    except BaseException as error:  # noqa: BLE001 - it comes after the items
        return tuple(items), error
    return tuple(items), None


def _by_class(name: str) -> Callable[..., Any]:
    return lambda value, *arguments: getattr(type(value), name)(value, *arguments)


_SPECIALS: Final[dict[str, Callable[..., Any]]] = {
    "__len__": len,
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__missing__": _by_class("__missing__"),
    "__enter__": _by_class("__enter__"),
    "__exit__": _by_class("__exit__"),
    "__aiter__": _by_class("__aiter__"),
    "__repr__": repr,
    "__str__": str,
    "__format__": format,
    "__bytes__": bytes,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__index__": operator.index,
    "__fspath__": os.fspath,
    "__dir__": dir,
    "__bool__": bool,
}


class _ProgramSender(Sender):
    def __init__(self, service: Service) -> None:
        super().__init__(service.objects)
        self._service = service

    def put_other(self, value: Any, kind: type, depth: int) -> None:
        if issubclass(kind, type):
            self._put_class(value)
            return
        if kind in _NAMED_KINDS and value in _NAMES:
            self.put_global(*_NAMES[value])
            return
        if (name := pure_name(value)) is not None:
            self.put_global(*name)
            return
        if self._setup_name(kind) is not None:
            self.put_mutable(value, ATTRIBUTES, kind)
            return
        layout = layout_of(kind)
        if layout in LAYOUTS:
            self.put_mutable(value, layout, kind)
        elif layout == EXCEPTION:
            self.put_fixed(value, layout, kind, exception_parts(value), depth)
        elif layout == FROZEN:
            self.put_fixed(value, layout, kind, (tuple(attributes(value).items()),), depth)
        elif layout == IMMUTABLE:
            self.put_fixed(value, layout, kind, (), depth)
            # As its base, whose writer is the next one in its resolution order.
            Encoder.put(self, value, depth + 1)
        elif issubclass(kind, (date, time, timedelta)):
            Encoder.put(self, value, depth)
        else:
            self.put_fixed(value, layout, kind, (), depth)

    def _put_class(self, kind: type) -> None:
        if kind in _SHARED_NAMES:
            self.put_global(*_SHARED_NAMES[kind])
        elif (name := self._setup_name(kind)) is not None:
            self.put_global("", name)
        else:
            number = self.objects.add(kind, OPAQUE, keep=True)
            self.describe(number, describe(kind))
            self.put_number(number)

    def _setup_name(self, kind: type) -> str | None:
        known = self._service.module.__dict__
        names = self._service.setup_classes
        return next((name for name in names if known.get(name) is kind), None)


class _ProgramReceiver(Receiver):
    def __init__(self, data: bytes, service: Service) -> None:
        super().__init__(data, service.objects)
        self._service = service

    def make_class(self, description: Any) -> type:  # noqa: ARG002 - there are none
        raise DecodeError("tests describe no classes")

    def make_fixed(self, layout: str, kind: Any, depth: int) -> Any:
        if layout == EXCEPTION:
            name, base = kind
            if name:
                base = type(name, (base,), {})
            return make_exception(base, *(self.get(depth + 1) for _ in range(6)))
        if layout == OPAQUE:
            return self._stub(*kind)
        plain = self.get(depth + 1)
        if layout == FROZEN:
            value = object.__new__(kind)
            fill(value, ATTRIBUTES, [part for pair in plain for part in pair])
            return value
        return type(plain).__new__(kind, plain)

    def keyed(self, items: Iterable[Any]) -> list[Any]:
        return list(items)  # of the test, which no program chose

    def find_global(self, module: str, name: str) -> Any:
        if not module:
            return self._service.module.__dict__[name]
        found = importlib.import_module(module)
        return functools.reduce(getattr, name.split("."), found) if name else found

    def _stub(self, form: str, name: str, specials: tuple[str, ...]) -> Any:
        """Return what stands for an object of the test's.

        Args:
            form: ``"function"``, ``"iterator"`` or ``"object"``.
            name: of the function, or of the object's class.
            specials: the special methods that its class brings.
        """
        service, stub = self._service, None

        def ask(operation: str, *arguments: Any, **keywords: Any) -> Any:
            number = service.objects.number(stub)
            return service.call_back(number or 0, operation, arguments, keywords)

        def call(*arguments: Any, **keywords: Any) -> Any:
            return ask("call", *arguments, **keywords)

        def special(operation: str) -> Callable[..., Any]:
            return lambda _, *arguments, **keywords: ask(operation, *arguments, **keywords)

        if form == "function":
            call.__name__ = call.__qualname__ = name
            stub = call
        else:
            members: dict[str, Any] = {special_: special(special_) for special_ in specials}
            if form == "iterator":
                members["__iter__"] = lambda self: self
            else:
                members["__getattr__"] = special("getattr")
                members["__setattr__"] = special("setattr")
                members["__dict__"] = property(service.refuse_looking)
            members["__new__"] = service.refuse_making
            stub = object.__new__(type(name, (), members))
        return stub
