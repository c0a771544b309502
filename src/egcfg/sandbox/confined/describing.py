"""What the program's process tells of a class: by the builtin types' own methods only.

A description is a tuple of plain values and classes, in this order:

- ``name``, ``qualname``, ``module``;
- ``bases``: classes;
- ``layout``: what of an instance is plain (see `kinds`);
- ``specials``: (name, how) of the special methods: ``"own"`` where the program's code would run,
  ``"native"`` where the library's would, ``"none"`` where it is switched off;
- ``names``: other attributes that the class brings;
- ``makes``: whether making an instance may run code of the class;
- ``native``: whether it is a class of the library;
- ``meta``: special methods of the class's own class;
- ``form``: for a named tuple ``("namedtuple", fields, defaults)``, for a dataclass
  ``("dataclass", parameters, fields, whether it has slots only)``, else None;
- ``abstract``: names of methods that the class has yet to define.
"""

from __future__ import annotations

import abc
import sys
import types
from typing import Any, Final

from .bounds import DecodeError
from .kinds import (
    ATTRIBUTES,
    CONTAINERS,
    EXCEPTION,
    FROZEN,
    IMMUTABLE,
    OPAQUE,
    SHARED_KINDS,
    is_plain,
)

__all__ = ["ASKED", "REFUSED", "describe", "is_special", "layout_of", "read_description"]

_PARTS: Final = (
    *("name", "qualname", "module", "bases", "layout", "specials"),
    *("names", "makes", "native", "meta", "form", "abstract"),
)
_ANSWERED = """
__call__ __len__ __iter__ __next__ __reversed__ __getitem__ __setitem__ __delitem__ __missing__
__enter__ __exit__ __await__ __aiter__ __anext__ __aenter__ __aexit__ __repr__ __str__ __format__
__bytes__ __int__ __float__ __complex__ __index__ __fspath__ __dir__
"""
ASKED: Final = frozenset(_ANSWERED.split())
"""Special methods that the program may answer: what they give is plain, or a handle again."""
_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
_DECIDING = """
__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __contains__ __bool__ __hash__ __neg__ __pos__ __abs__
__invert__ __round__ __trunc__ __floor__ __ceil__
"""
REFUSED: Final = frozenset(_DECIDING.split()) | {
    f"__{side}{name}__" for name in _ARITHMETIC for side in ("", "r", "i")
}
"""Special methods that decide, which is not for the program to do."""

# What generated code is compiled as.
_GENERATED: Final = "<string>"
_TUPLES: Final = frozenset(("_make", "_replace", "_asdict", "_fields", "_field_defaults"))
_PARAMETERS: Final = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")


def _dict(kind: type) -> Any:
    return type.__dict__["__dict__"].__get__(kind)


def _mro(kind: type) -> tuple[type, ...]:
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return found


def is_native(kind: type) -> bool:
    """Return whether a class is the interpreter's or the standard library's."""
    # The heap type flag and the immutable type flag: classes made by C code.
    if not kind.__flags__ & 1 << 9 or kind.__flags__ & 1 << 8:
        return True
    module, name = _dict(kind).get("__module__"), type.__dict__["__qualname__"].__get__(kind)
    if type(module) is not str or module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found is kind


def _generated(value: Any) -> bool:
    """Return whether a method was written by dataclasses or namedtuple."""
    while type(value) is types.FunctionType and "__wrapped__" in value.__dict__:
        value = value.__dict__["__wrapped__"]
    if type(value) is staticmethod:
        value = value.__func__
    return type(value) is types.FunctionType and value.__code__.co_filename == _GENERATED


def _is_namedtuple(kind: type) -> bool:
    known = _dict(kind)
    return kind.__bases__ == (tuple,) and known.keys() >= _TUPLES and _generated(known["__new__"])


def layout_of(kind: type) -> str:
    """Return what is plain of a class's instances."""
    for base in _mro(kind):
        if base in CONTAINERS:
            return CONTAINERS[base]
        if base is BaseException:
            return EXCEPTION
        if base in SHARED_KINDS and base is not object and base.__basicsize__ and _is_value(base):
            return IMMUTABLE
    form = _dataclass(kind)
    if form is None:
        return OPAQUE
    return FROZEN if form[1][_PARAMETERS.index("frozen")] else ATTRIBUTES


def _is_value(base: type) -> bool:
    values = (int, float, complex, str, bytes, tuple, frozenset)
    return base in values or base.__name__ in ("Fraction", "Decimal")


def _dataclass(kind: type) -> tuple[Any, ...] | None:
    """Return the form of a dataclass that nothing but generated code makes and compares."""
    known = _dict(kind)
    if "__dataclass_fields__" not in known or type(kind) not in (type, abc.ABCMeta):
        return None
    parameters = known["__dataclass_params__"]
    told = tuple(bool(getattr(parameters, name)) for name in _PARAMETERS)
    if not told[0] or known.get("__abstractmethods__"):
        return None
    for base in _mro(kind)[:-1]:
        if is_native(base):
            continue
        if "__dataclass_fields__" not in _dict(base):
            return None
        for name in ("__new__", "__post_init__", "__getattribute__", "__getattr__"):
            if name in _dict(base):
                return None
        for name in ("__init__", "__setattr__", "__delattr__", "__eq__", "__hash__"):
            method = _dict(base).get(name)
            if method is not None and not _generated(method):
                return None
    fields = []
    for field in known["__dataclass_fields__"].values():
        if field._field_type.name == "_FIELD_CLASSVAR":
            continue
        default = _field_default(field)
        if default is None or field._field_type.name != "_FIELD":
            return None
        flags = (field.init, field.repr, field.compare, field.kw_only, field.hash)
        fields.append((field.name, *flags, *default))
    return ("dataclass", told, tuple(fields), not kind.__dictoffset__)


def _field_default(field: Any) -> tuple[str, Any] | None:
    missing = type(field).__init__.__globals__["MISSING"]
    if field.default is not missing:
        return ("default", field.default) if is_plain(field.default) else None
    if field.default_factory is not missing:
        if field.default_factory in (list, dict, set):
            return "factory", field.default_factory
        return None
    return "none", None


def _specials(kind: type, layout: str, form: Any) -> tuple[tuple[str, str], ...]:
    """Return what special methods a class brings; with a plain form, what its bases bring too."""
    looked = (kind,) if layout == OPAQUE else _mro(kind)
    found = []
    for name in sorted(ASKED | REFUSED):
        owner = next((base for base in looked if name in _dict(base)), object)
        if owner in SHARED_KINDS or _is_namedtuple(owner):
            continue
        value = _dict(owner)[name]
        if form is not None and _generated(value):
            continue
        if value is None:
            found.append((name, "none"))
        else:
            found.append((name, "native" if is_native(owner) else "own"))
    return tuple(found)


def _names(kind: type, form: Any) -> tuple[str, ...]:
    known = _dict(kind)
    if is_native(kind):
        return ()
    skipped = (
        set()
        if form is None
        else {_field_name(field) for field in form[2 if form[0] == "dataclass" else 1]}
    )
    if _is_namedtuple(kind):
        skipped |= _TUPLES
    return tuple(
        name
        for name, value in known.items()
        if type(name) is str
        and name not in skipped
        and not is_special(name)
        and type(value) is not types.MemberDescriptorType
    )


def _field_name(field: Any) -> str:
    name: str = field if type(field) is str else field[0]
    return name


def _makes(kind: type) -> bool:
    """Return whether making an instance may run code of the class."""
    if type(kind) not in (type, abc.ABCMeta) or _dict(kind).get("__abstractmethods__"):
        return True
    for base in _mro(kind):
        if base in SHARED_KINDS or _is_namedtuple(base):
            continue
        for name in ("__init__", "__new__", "__init_subclass__"):
            method = _dict(base).get(name)
            if method is not None and not _generated(method) and name != "__init_subclass__":
                return True
    return False


def describe(kind: type) -> tuple[Any, ...]:
    """Return the description of a class that is not shared by name."""
    layout = layout_of(kind)
    form: Any = None
    if layout in (ATTRIBUTES, FROZEN):
        form = _dataclass(kind)
    elif _is_namedtuple(kind):
        known = _dict(kind)
        defaults = tuple(known["_field_defaults"].values())
        form = ("namedtuple", known["_fields"], defaults if is_plain(defaults) else ())
    native = is_native(kind)
    module = type.__dict__["__module__"].__get__(kind)
    abstract = _dict(kind).get("__abstractmethods__")
    return (
        str(type.__dict__["__name__"].__get__(kind))[:200],
        str(type.__dict__["__qualname__"].__get__(kind))[:200],
        module if type(module) is str else "builtins",
        type.__dict__["__bases__"].__get__(kind),
        layout,
        _specials(kind, layout, form),
        _names(kind, form),
        _makes(kind) or layout == OPAQUE,
        native,
        _of_class(kind),
        form,
        tuple(abstract) if type(abstract) is frozenset else (),
    )


_CHECKS: Final = frozenset(("__instancecheck__", "__subclasscheck__"))


def _of_class(kind: type) -> tuple[str, ...]:
    """Return the special methods of a class's own class that are of the program."""
    meta = type(kind)
    if not is_native(meta):
        return tuple(name for name in sorted(ASKED | REFUSED | _CHECKS) if name in _dict(meta))
    hooked = any("__subclasshook__" in _dict(base) for base in _mro(kind) if not is_native(base))
    return tuple(sorted(_CHECKS)) if hooked or _has_registered(kind) else ()


def _has_registered(kind: type) -> bool:
    """Return whether a class counts others as its subclasses that are not derived from it."""
    if type(kind) is not abc.ABCMeta:
        return False
    registered = abc._get_dump(kind)[0]  # type: ignore[attr-defined]
    return bool(registered) or any(map(_has_registered, kind.__subclasses__()))


def read_description(description: Any) -> dict[str, Any]:
    """Return a description's parts by their names, on the other side.

    Raises:
        DecodeError: it is none.
    """
    match description:
        case (
            str(),
            str(),
            str(),
            tuple(bases),
            str(layout),
            tuple(specials),
            tuple(names),
            bool(),
            bool(),
            tuple(),
            form,
            tuple(abstract),
        ):
            pass
        case _:
            raise DecodeError("a description expected")
    known = ASKED | REFUSED
    if not all(
        type(item) is tuple and len(item) == 2 and item[0] in known for item in specials
    ) or not all(type(name) is str and not is_special(name) for name in names):
        raise DecodeError("special methods expected")
    if not all(type(name) is str for name in abstract):
        raise DecodeError("names of methods expected")
    if not all(isinstance(base, type) for base in bases):
        raise DecodeError("classes expected")
    layouts = (OPAQUE, EXCEPTION, IMMUTABLE, ATTRIBUTES, FROZEN, *CONTAINERS.values())
    if layout not in layouts or (layout in (ATTRIBUTES, FROZEN)) != (
        form is not None and form[0] == "dataclass"
    ):
        raise DecodeError("a layout expected")
    return dict(zip(_PARTS, description, strict=True))


def is_special(name: str) -> bool:
    """Return whether a name is one that has a meaning for the language."""
    return name.startswith("__") and name.endswith("__")
