"""What stands for the program's classes and objects in the judge's process.

For each class that the program tells of the judge makes one of its own, a *mirror*, with the same
name, bases and special methods. An object that has no plain form is a *handle*: an instance of a
mirror that holds nothing. Whatever is asked of it is asked of the program: attributes, calls,
items, iteration, its text. What decides is never asked: equality, order, membership, truth, hash
and arithmetic work on plain forms only (the builtin value beneath an object, a named tuple, a
dataclass), by the builtin's or by generated code that never came from the program. Where a method
of the program's own would decide, the test is unsupported.
"""

from __future__ import annotations

import abc
import builtins
import collections
import dataclasses
import types
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ClassVar, NoReturn, Protocol

from .bounds import DecodeError
from .describing import ASKED, REFUSED, is_special, read_description
from .kinds import (
    ATTRIBUTES,
    EXCEPTION,
    FROZEN,
    OPAQUE,
    SHARED_KINDS,
    pure_named,
    shared_named,
)

__all__ = ["Kind", "Mirror", "Program", "is_instance", "is_subclass", "make_mirror", "own_class"]


class Program(Protocol):
    """The program as mirrors reach it."""

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Have the program do something, and return what comes of it."""

    def refuse(self, reason: str) -> NoReturn:
        """End the test: it cannot be judged."""


_AWAITED = ("__await__", "__anext__", "__aenter__", "__aexit__")
_DECIDING = REFUSED | {"__instancecheck__", "__subclasscheck__", "__dataclass_fields__"}
_DESCRIPTIVE = """
__name__ __qualname__ __doc__ __module__ __dict__ __annotations__ __defaults__ __kwdefaults__
__wrapped__ __self__ __func__ __code__ __closure__ __members__ __match_args__ __slots__ __init__
__new__ __mro__ __bases__ __notes__ __cause__ __context__ __version__ __all__ __file__ __origin__
__args__ __class_getitem__ __isabstractmethod__ __type_params__ __static_attributes__
__firstlineno__
"""
_TOLD = frozenset(_DESCRIPTIVE.split())
# What everything has, and what a test could reach all of the program by.
_UNTOLD = (frozenset(dir(object)) | {"__globals__", "__builtins__"}) - _TOLD - ASKED
_HARMLESS = frozenset(
    (
        *(types.FunctionType, types.MethodType, types.ModuleType, types.MappingProxyType),
        *(map, filter, zip, enumerate, reversed),
    )
)
# Classes of the library in which something is, if iteration comes by it.
_SEARCHED = frozenset((("builtins", "mappingproxy"), ("array", "array")))
_WAITING = ("__iter__", "__next__", "send", "throw", "close")


class Mirror(type):
    """The class of mirrors. Making an instance is asked of the program, unless it is plain."""

    program: ClassVar[Program]
    described: ClassVar[dict[type, dict[str, Any]]] = {}
    unfinished: ClassVar[type | None] = None  # one that dataclasses is at work on

    def __new__(mcs, *_: Any, **__: Any) -> Any:
        """Refuse to derive a class of a test's from one of the program's."""
        Mirror.program.refuse("the test derives a class from one of the program's")

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        """Make an instance."""
        if Mirror.described[cls]["makes"]:
            return Mirror.program.ask("call", cls, arguments, tuple(keywords.items()))
        return type.__call__(cls, *arguments, **keywords)

    @property  # type: ignore[misc]
    def __dict__(cls) -> Any:  # type: ignore[override]
        if cls is Mirror.unfinished:
            return type.__dict__["__dict__"].__get__(cls)
        return Mirror.program.ask("getattr", cls, "__dict__")

    def __getattr__(cls, name: str) -> Any:
        if cls is Mirror.unfinished:
            raise AttributeError(name)
        return _ask_attribute(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        Mirror.program.ask("setattr", cls, name, value)

    def __instancecheck__(cls, value: Any) -> bool:
        cls._undecided("__instancecheck__")
        real = real_class(cls)
        return type.__instancecheck__(cls, value) if real is cls else is_instance(value, real)

    def __subclasscheck__(cls, kind: type) -> bool:
        cls._undecided("__subclasscheck__")
        real = real_class(cls)
        return type.__subclasscheck__(cls, kind) if real is cls else is_subclass(kind, real)

    def __eq__(cls, other: object) -> bool:
        cls._undecided("__eq__")
        return cls is other or (isinstance(other, type) and real_class(cls) is other)

    def __hash__(cls) -> int:
        return type.__hash__(cls)

    def __bool__(cls) -> bool:
        cls._undecided("__bool__")
        return True

    def __iter__(cls) -> Any:
        return Mirror.program.ask("special", "__iter__", cls)

    def __contains__(cls, value: object) -> bool:
        cls._undecided("__contains__")
        return any(value is item or value == item for item in cls)

    def __len__(cls) -> int:
        length: int = Mirror.program.ask("special", "__len__", cls)
        return length

    def __getitem__(cls, key: Any) -> Any:
        return Mirror.program.ask("special", "__getitem__", cls, key)

    def _undecided(cls, name: str) -> None:
        if name in Mirror.described[cls]["meta"]:
            Mirror.program.refuse(f"{name} of the class of {cls.__qualname__} would decide")


class _AbstractMirror(Mirror, abc.ABCMeta):
    """The class of mirrors of a fraction's subclasses, for fractions have such a class."""


def make_mirror(description: Any) -> type:
    """Return a mirror by a description, as `describing` has it.

    Raises:
        DecodeError: no such class can be.
    """
    told = read_description(description)
    name, qualname, module = told["name"], told["qualname"], told["module"]
    real = shared_named(module, qualname) if told["native"] else None
    # A test that catches an exception of the library means the class that it has itself.
    if real is not None and issubclass(real, BaseException):
        return real
    members = _members(told)
    if told["form"] is not None and told["form"][0] == "dataclass":
        made = _make_dataclass(told, members)
    else:
        bases = told["bases"]
        if told["form"] is not None:
            bases = (_named_tuple(name, *told["form"][1:]),)
        elif told["layout"] == OPAQUE and any(base in SHARED_KINDS for base in bases):
            bases = tuple(base for base in bases if base not in SHARED_KINDS)
        abstract = any(isinstance(base, abc.ABCMeta) for base in bases)
        made = type.__new__(_AbstractMirror if abstract else Mirror, name, bases, members)
    Mirror.described[made] = told
    type.__setattr__(made, "__module__", module)
    type.__setattr__(made, "__qualname__", qualname)
    if told["abstract"]:
        type.__setattr__(made, "__abstractmethods__", frozenset(told["abstract"]))
    return made


# --- what mirrors bring -------------------------------------------------------------------------


def _members(told: dict[str, Any]) -> dict[str, Any]:
    layout, specials = told["layout"], dict(told["specials"])
    members: dict[str, Any] = {}
    for name, how in specials.items():
        members[name] = None if how == "none" else _special(name, told["qualname"])
    if "__len__" in specials and "__bool__" not in specials:
        members["__bool__"] = _special("__bool__", told["qualname"])
    if members.get("__bool__") and told["native"]:
        members["__bool__"] = lambda self: Mirror.program.ask("special", "__bool__", self)
    if (told["module"], told["qualname"]) in _SEARCHED:
        members["__contains__"] = _search
    if layout == OPAQUE:
        # Without an equality of its own an object is equal to itself alone, whatever its hash.
        if "__eq__" not in specials:
            members.pop("__hash__", None)
        elif "__hash__" not in specials:
            members["__hash__"] = None
        if told["native"] and told["qualname"] == "coroutine":
            members |= {name: _coroutine_method(name) for name in ("send", "throw", "close")}
        members |= {"__slots__": (), **_HANDLE}
        if told["native"] and told["qualname"] == "function":
            members |= {"__get__": _bind, "__copy__": _same, "__deepcopy__": _same}
        return members
    for name in told["names"]:
        members[name] = _Asked(name)
    members["__getattr__"] = _ask_attribute
    members["__getattribute__"] = object.__getattribute__
    if layout not in (ATTRIBUTES, FROZEN):
        base = _plain_base(told["bases"])
        for name in ("__setattr__", "__delattr__", *ASKED, *REFUSED):
            if name not in members and name in dir(base) and told["form"] is None:
                members[name] = getattr(base, name)
        if layout != EXCEPTION:
            members["__setattr__"], members["__delattr__"] = _set_attribute, _delete_attribute
    return members


def _search(self: Any, value: object) -> bool:
    if not Mirror.described[type(self)]["native"]:  # which may iterate over anything
        Mirror.program.refuse(f"__contains__ of {type(self).__qualname__} would decide")
    return any(value is item or value == item for item in self)


def _plain_base(bases: tuple[type, ...]) -> type:
    for base in bases:
        for kind in base.__mro__:
            if kind in SHARED_KINDS and kind is not object:
                return kind
    return object


def _special(name: str, owner: str) -> Callable[..., Any]:
    if name in REFUSED:

        def refuse(*_: Any) -> NoReturn:
            Mirror.program.refuse(f"{name} of {owner} would decide")

        return refuse
    if name == "__call__":
        return lambda self, *arguments, **keywords: Mirror.program.ask(
            "call", self, arguments, tuple(keywords.items())
        )
    if name in _AWAITED and name != "__aexit__":
        return lambda self, *arguments: _Waiting(name, self, *arguments)
    if name == "__exit__":
        return _exit
    if name == "__aexit__":
        return _leave
    return lambda self, *arguments: Mirror.program.ask("special", name, self, *arguments)


def _exit(self: Any, kind: Any, error: Any, _: object) -> bool:
    if isinstance(error, AssertionError):
        _see_swallowed(Mirror.program.ask("special", "__exit__", self, kind, kind(), None))
        return False
    return bool(Mirror.program.ask("special", "__exit__", self, kind, error, None))


async def _leave(self: Any, kind: Any, error: Any, _: object) -> bool:
    if isinstance(error, AssertionError):
        _see_swallowed(await _Waiting("__aexit__", self, kind, kind(), None))
        return False
    return bool(await _Waiting("__aexit__", self, kind, error, None))


def _see_swallowed(swallowed: object) -> None:
    """End the test where a failed assertion of it, told without what it says, would be ignored."""
    if swallowed:
        Mirror.program.refuse("the program would ignore a failed assertion of the test")


class _Waiting:
    """Something awaitable of the program's: the program waits for it, in its own event loop."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self._question = ("await", name, *arguments)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        raise StopIteration(Mirror.program.ask(*self._question))


def _coroutine_method(name: str) -> Callable[..., Any]:
    """Return a method by which an event loop of the test's drives a coroutine of the program's."""

    def method(self: Any, *arguments: Any) -> Any:
        if name == "send":
            raise StopIteration(Mirror.program.ask("await", "__await__", self))
        function = Mirror.program.ask("getattr", self, name)
        return Mirror.program.ask("call", function, arguments, ())

    return method


class _Asked:
    """An attribute that a class of the program's brings."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, value: Any, owner: type) -> Any:
        return Mirror.program.ask("getattr", owner if value is None else value, self.name)


def _ask_attribute(self: Any, name: str) -> Any:
    """Ask for an attribute, if it is one that the interpreter and libraries do not act upon."""
    if name in _DECIDING or (name == "__signature__" and not _is_function(type(self))):
        Mirror.program.refuse(f"{name} of the program would decide")
    if name in _UNTOLD:
        raise AttributeError(f"{name} of the program is not told", name=name)
    value = Mirror.program.ask("getattr", self, name)
    if is_special(name) and name not in _TOLD and name not in ASKED:
        Mirror.program.refuse(f"{name} of the program would decide")
    return value


def _is_function(kind: type) -> bool:
    return real_class(kind) in (types.FunctionType, types.MethodType)


def _same(self: Any, _: object = None) -> Any:
    """Return a function's copy, which is the function."""
    return self


def _bind(self: Any, instance: Any, _: object = None) -> Any:
    """Do what a function does that a class of the test's holds."""
    return self if instance is None else types.MethodType(self, instance)


def _set_attribute(self: Any, name: str, value: Any) -> None:
    if isinstance(self, Fraction) and name in Fraction.__slots__:  # as its __new__ does, here
        object.__setattr__(self, name, value)
        return
    Mirror.program.ask("setattr", self, name, value)


def _delete_attribute(self: Any, name: str) -> None:
    Mirror.program.ask("delattr", self, name)


def _attribute_of_handle(self: Any, name: str) -> Any:
    if name == "__class__":
        return _told_class(type(self))
    if name in _KEPT or (type(self).__qualname__ == "coroutine" and name in _WAITING):
        return object.__getattribute__(self, name)
    return _ask_attribute(self, name)


def _refuse_copy(self: Any, _: object = None) -> NoReturn:
    Mirror.program.refuse(f"the test copies an object of the program's ({type(self).__qualname__})")


# Asked of an object, not of its class.
_KEPT = frozenset(("__reduce_ex__", "__deepcopy__"))
_HANDLE = {
    **dict.fromkeys(("__reduce_ex__", "__copy__", "__deepcopy__"), _refuse_copy),
    "__getattribute__": _attribute_of_handle,
    "__setattr__": _set_attribute,
    "__delattr__": _delete_attribute,
    "__repr__": lambda self: Mirror.program.ask("special", "__repr__", self),
    "__str__": lambda self: Mirror.program.ask("special", "__str__", self),
    "__format__": lambda self, how: Mirror.program.ask("special", "__format__", self, how),
}


# --- forms that are made anew from what the library generates ------------------------------------


def _named_tuple(name: str, fields: Any, defaults: Any) -> type:
    made: type = collections.namedtuple(name, fields, defaults=defaults)  # type: ignore[misc]
    return made


def _make_dataclass(told: dict[str, Any], members: dict[str, Any]) -> type:
    _, parameters, fields, slotted = told["form"]
    annotations: dict[str, Any] = {}
    for field in fields:
        name, init, shown, compare, keyword_only, hashed, kind, default = field
        if type(name) is not str or is_special(name) or not name.isidentifier():
            raise DecodeError("a field's name expected")
        annotations[name] = Any
        settings: dict[str, Any] = {}
        if kind == "default":
            settings["default"] = default
        elif kind == "factory":
            settings["default_factory"] = default
        members[name] = dataclasses.field(
            init=bool(init),
            repr=bool(shown),
            compare=bool(compare),
            kw_only=bool(keyword_only),
            hash=None if hashed is None else bool(hashed),
            **settings,
        )
    bases: Any = tuple(base for base in told["bases"] if dataclasses.is_dataclass(base))
    members["__annotations__"] = annotations
    # Else dataclasses would write one, with a signature that it would ask the program for.
    members["__doc__"] = told["qualname"]
    made: Any = type.__new__(Mirror, told["name"], bases, members)
    Mirror.described[made] = told
    names = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
    chosen = dict(zip(names, map(bool, parameters), strict=True))
    # dataclasses sets the methods that it generates on the class; that is not for the program.
    settle = Mirror.__setattr__
    try:
        type.__setattr__(Mirror, "__setattr__", type.__setattr__)
        Mirror.unfinished = made
        dataclasses.dataclass(**chosen)(made)
    finally:
        type.__setattr__(Mirror, "__setattr__", settle)
        Mirror.unfinished = None
    if slotted:
        made = _with_slots(made, tuple(annotations))
        Mirror.described[made] = told
    type.__setattr__(made, "__doc__", _Asked("__doc__"))
    mirror: type = made
    return mirror


def _with_slots(kind: type, fields: tuple[str, ...]) -> type:
    """Return a class anew whose instances have slots for its fields, and nothing else."""
    own, *bases = map(type.__dict__["__dict__"].__get__, kind.__mro__)
    members = {**own, "__slots__": [name for name in fields if not any(name in b for b in bases)]}
    for name in (*fields, "__dict__", "__weakref__"):
        members.pop(name, None)
    return type.__new__(Mirror, kind.__name__, kind.__bases__, members)


# --- the builtins of a test that look at classes --------------------------------------------------


def real_class(kind: type) -> type:
    """Return the library's class that a mirror is of, where it is loaded here; else the mirror."""
    told = Mirror.described.get(kind)
    if told is None or not told["native"]:
        return kind
    return shared_named(told["module"], told["qualname"]) or kind


def own_class(kind: type) -> type:
    """Return the class that a test has itself, where that goes by nothing but its arguments."""
    real = real_class(kind)
    return real if real is not kind and pure_named(real.__module__, real.__qualname__) else kind


def _told_class(kind: type) -> type:
    """Return the class of an object as a test is told: none that does things when it is called."""
    real = real_class(kind)
    # The flag of classes that cannot be called.
    return real if real.__flags__ & 1 << 7 or real in _HARMLESS else kind


def is_instance(value: object, classes: Any) -> bool:
    """Do what ``isinstance`` does, for handles of the library's objects too."""
    return isinstance(value, classes) or is_subclass_of_real(type(value), classes)


def is_subclass(kind: Any, classes: Any) -> bool:
    """Do what ``issubclass`` does, for mirrors of the library's classes too."""
    return issubclass(kind, classes) or is_subclass_of_real(kind, classes)


def is_subclass_of_real(kind: type, classes: Any) -> bool:
    """Return whether a mirror has a base that is of the library, and one of `classes`."""
    bases = [real_class(base) for base in type.__dict__["__mro__"].__get__(kind)]
    real = [base for base in bases if not isinstance(base, Mirror) and base is not object]
    return isinstance(kind, Mirror) and any(issubclass(base, classes) for base in real)


class _KindType(type):
    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if cls is not Kind or len(arguments) != 1 or keywords:
            return type.__call__(cls if cls is not Kind else type, *arguments, **keywords)
        kind = _told_class(builtins.type(arguments[0]))
        if kind is Mirror:  # the class of a class of the program's, which may be its own, too
            kind = Mirror.program.ask("type", arguments[0])
        return Kind if real_class(kind) is builtins.type else kind

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, type) if cls is Kind else type.__instancecheck__(cls, value)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, type) if cls is Kind else type.__subclasscheck__(cls, kind)


class Kind(type, metaclass=_KindType):
    """What a test knows as ``type``: of a handle of the library's it tells the library's class."""
