"""Finds components through entry points of the group ``egcfg``, and makes instances of them.

Each entry point is loaded on its own, so that a broken plugin is listed as broken and disturbs
nothing until something of it is selected. Built-ins come through the same door; only their names
are protected.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy
from attrs import define, field, frozen

from egcfg.errors import (
    EgcfgError,
    MissingExtraError,
    PluginError,
    UnknownNameError,
    closest,
    did_you_mean,
    summarize,
)
from egcfg.plugins import hookspecs
from egcfg.plugins.hookspecs import Component, Kind
from egcfg.plugins.options import make_options

__all__ = [
    "PluginReport",
    "Registry",
    "component_class",
    "create",
    "load_registry",
    "options_class",
    "registry",
    "title_of",
]

log = logging.getLogger(__name__)

GROUP = "egcfg"
OWN_DISTRIBUTION = "egcfg"
HOOKS = tuple(name for name, each in vars(hookspecs).items() if hasattr(each, "egcfg_spec"))
INTERFACES = {
    Kind.BACKEND: "egcfg.interfaces.backend:Backend",
    Kind.TRACER: "egcfg.interfaces.tracer:Tracer",
    Kind.PROMPT: "egcfg.interfaces.prompt:PromptBuilder",
    Kind.SCORER: "egcfg.interfaces.scorer:Scorer",
    Kind.DATASET: "egcfg.interfaces.dataset:Dataset",
    Kind.GUIDANCE: "egcfg.interfaces.guidance:GuidanceRule",
    Kind.METHOD: "egcfg.interfaces.method:Method",
}


@frozen(kw_only=True)
class PluginReport:
    """One entry point and what came of it.

    Attributes:
        name: the entry point's name.
        distribution: the installed package that declares it.
        version: that package's version.
        components: what it registered, empty if it is broken.
        error: why it is broken; None if it works.
        hooks: calls what it implements; None if it is broken.
        observes: whether it implements a hook of observers.
    """

    name: str
    distribution: str
    version: str
    components: tuple[Component, ...] = ()
    error: BaseException | None = field(default=None, eq=False)
    hooks: pluggy.HookRelay | None = field(default=None, eq=False, repr=False)
    observes: bool = False

    @property
    def title(self) -> str:
        """How it is named in messages, with its distribution."""
        return f"the plugin {self.name!r} of {self.distribution} {self.version}"

    @property
    def builtin(self) -> bool:
        """Whether it is part of egcfg itself."""
        return self.distribution == OWN_DISTRIBUTION


@define
class Registry:
    """Every component that is installed, and every plugin that failed to bring one."""

    reports: tuple[PluginReport, ...]

    def components(self, kind: Kind) -> dict[str, Component]:
        """Return the components of one kind by name."""
        return {
            component.name: component
            for report in self.reports
            for component in report.components
            if component.kind is kind
        }

    def get(self, kind: Kind, name: str) -> Component:
        """Return one component.

        Raises:
            UnknownNameError: no component of this kind has that name, or one like it.
            PluginError: nor has any, but a plugin is broken, which cannot say what it would have
                brought; or a broken one carries that very name.
        """
        components = self.components(kind)
        if name in components:
            return components[name]
        self.refuse_broken(name, components, f"no {kind} named {name!r} is here")
        raise UnknownNameError(kind.value, name, components)

    def refuse_broken(self, name: str, known: Collection[str], unknown: str) -> None:
        """See that no broken plugin might have brought what is not there.

        Args:
            name: what is not there.
            known: the names that are.
            unknown: says that it is not there.

        Raises:
            PluginError: one might: it carries that very name, or `name` is like no known one.
        """
        broken = [report for report in self.reports if report.error is not None]
        named = [r for r in broken if name in (r.name, r.distribution)]
        causes = "; ".join(map(_broken_plugin, named or broken))
        if not named and broken and closest(name, known) is not None:
            log.warning("%s", causes)
        elif broken:
            each = "it" if len(named or broken) == 1 else "them"
            raise PluginError(
                f"{'' if named else f'{unknown}, and '}{causes}; fix or uninstall {each} "
                "(`egcfg plugins` lists every plugin)"
            ) from (named or broken)[0].error


def load_registry(points: Iterable[EntryPoint]) -> Registry:
    """Load each entry point on its own.

    Raises:
        PluginError: a plugin is broken and the environment has ``EGCFG_STRICT_PLUGINS=1``.
    """
    strict = os.environ.get("EGCFG_STRICT_PLUGINS") == "1"
    # Built-ins first, so that it is always the other one that clashes with a built-in's name.
    ordered = sorted(points, key=lambda p: (_distribution(p)[0] != OWN_DISTRIBUTION, p.name))
    taken: dict[tuple[Kind, str], PluginReport] = {}
    reports = []
    for point in ordered:
        report = _load_one(point, taken)
        if strict and report.error is not None:
            raise PluginError(
                f"{_broken_plugin(report)}; fix or uninstall it, or unset EGCFG_STRICT_PLUGINS"
            ) from report.error
        taken.update({(c.kind, c.name): report for c in report.components})
        reports.append(report)
    return Registry(tuple(reports))


@cache
def registry() -> Registry:
    """Return the registry of this process; loaded once."""
    return load_registry(entry_points(group=GROUP))


def component_class(kind: Kind, name: str) -> type[Any]:
    """Import and return the class behind a component.

    Raises:
        UnknownNameError: nothing is registered under that name.
        MissingExtraError: an optional dependency of it is not installed.
        PluginError: its plugin or the class itself is broken.
    """
    component = registry().get(kind, name)
    cls: type[Any] = _imported(component, component.target)
    interface = _interface(kind)
    _check_subclass(component, component.target, cls, interface)
    own_options = getattr(cls, "Options", object)
    _check_options(component, component.target, own_options)
    if component.options is not None and options_class(kind, name) is not own_options:
        raise _broken(
            component,
            TypeError(f"its Options is another class than {component.options}"),
            component.target,
        )
    return cls


def options_class(kind: Kind, name: str) -> type[Any]:
    """Import and return the options class of a component, without the component where it can be.

    Raises:
        UsageError: as `component_class`.
    """
    component = registry().get(kind, name)
    if component.options is None:
        own: type[Any] = component_class(kind, name).Options
        return own
    separate: type[Any] = _imported(component, component.options)
    _check_options(component, component.options, separate)
    return separate


def create(kind: Kind, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Make an instance of a component from plain option values.

    Raises:
        ConfigError: an option is unknown or has a value of the wrong type.
        PluginError: its options or its constructor are broken.
        UsageError: as `component_class`.
        EgcfgError: what the component itself refuses.
    """
    cls = component_class(kind, name)
    try:
        return cls(make_options(cls.Options, options or {}, f"{kind}.{name}"))
    except EgcfgError:
        raise
    except Exception as error:
        component = registry().get(kind, name)
        raise _broken(component, error, component.target) from error


def title_of(kind: Kind, instance: object) -> str:
    """Return how a component and its distribution are named in messages, such as
    ``the tracer 'full' of egcfg 1.0``; by its class where it is not registered."""
    cls = type(instance)
    target = f"{cls.__module__}:{cls.__qualname__}"
    for report in registry().reports:
        for component in report.components:
            if component.kind is kind and component.target == target:
                return f"the {kind} {component.name!r} of {report.distribution} {report.version}"
    return f"the {kind} {cls.__module__}.{cls.__qualname__}"


def _load_one(point: EntryPoint, taken: Mapping[tuple[Kind, str], PluginReport]) -> PluginReport:
    distribution, version = _distribution(point)
    components: tuple[Component, ...] = ()
    broken: BaseException | None = None
    observes = False
    # A manager of its own per plugin: nothing that one registers can break another.
    manager = pluggy.PluginManager("egcfg")
    manager.add_hookspecs(hookspecs)
    try:
        plugin = point.load()
        manager.register(plugin, name=point.name)
        observes = bool(_implemented_hooks(manager, plugin) - {"egcfg_components"})
        found = manager.hook.egcfg_components()
        components = tuple(component for part in found for component in part)
        if not components and not observes:
            raise LookupError(f"it registers nothing: {_what_to_implement(plugin)}")
        own: set[tuple[Kind, str]] = set()
        for component in components:
            _check(component, taken, own)
            own.add((component.kind, component.name))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - isolation is the purpose
        components, broken, observes = (), error, False
    return PluginReport(
        name=point.name,
        distribution=distribution,
        version=version,
        components=components,
        error=broken,
        hooks=manager.hook if broken is None else None,
        observes=observes,
    )


def _implemented_hooks(manager: pluggy.PluginManager, plugin: object) -> set[str]:
    """Return the names of the hooks that a plugin implements.

    Raises:
        LookupError: egcfg knows no hook of one of these names.
    """
    callers = manager.get_hookcallers(plugin) or []
    for caller in callers:
        if not caller.has_spec():
            hint = did_you_mean(caller.name, HOOKS)
            raise LookupError(f"unknown hook {caller.name!r}{hint}")
    return {caller.name for caller in callers}


def _what_to_implement(plugin: object) -> str:
    unmarked = sorted(name for name in HOOKS if callable(getattr(plugin, name, None)))
    if unmarked:
        return f"mark {', '.join(unmarked)} with @egcfg.hookimpl, or return a component"
    return "implement the hook egcfg_components"


def _check(
    component: object,
    taken: Mapping[tuple[Kind, str], PluginReport],
    own: Collection[tuple[Kind, str]],
) -> None:
    if not isinstance(component, Component):
        raise TypeError(f"egcfg_components gave {type(component).__name__}, not Component")
    if not isinstance(component.kind, Kind):
        raise TypeError(f"the kind of {component.name!r} must be a Kind, not {component.kind!r}")
    for part in ("target", "options"):
        target = getattr(component, part)
        if target is not None and not re.fullmatch(r"[\w.]+:\w+", target):
            raise ValueError(
                f"the {part} of the {component.kind} {component.name!r} must be 'module:Class', "
                f"not {target!r}"
            )
    if (component.kind, component.name) in own:
        raise ValueError(f"it registers the {component.kind} {component.name!r} twice")
    owner = taken.get((component.kind, component.name))
    if owner is not None:
        raise ValueError(
            f"the {component.kind} {component.name!r} is taken by {owner.distribution}; "
            "choose another name"
        )


def _broken_plugin(report: PluginReport) -> str:
    cause = summarize(report.error) if report.error is not None else "no cause"
    return f"{report.title} is broken: {cause}"


def _imported(component: Component, target: str) -> Any:
    """Import what one of a component's targets names.

    Raises:
        MissingExtraError: an optional dependency of it is not installed.
        PluginError: it cannot be imported for another reason.
    """
    module_name, _, class_name = target.partition(":")
    try:
        with _collecting_nothing():
            return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if component.extra and missing and missing != module_name.partition(".")[0]:
            raise MissingExtraError(
                f"the {component.kind} {component.name!r} needs the package {missing!r}; "
                f"run: pip install '{component.extra}'"
            ) from error
        raise _broken(component, error, target) from error
    except Exception as error:
        raise _broken(component, error, target) from error


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Look for no garbage: what a framework's import makes stays, and is a million objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check_subclass(component: Component, target: str, cls: Any, interface: type[Any]) -> None:
    """See that an imported class implements its interface."""
    if not (inspect.isclass(cls) and issubclass(cls, interface)):
        wrong = TypeError(f"it is no subclass of {interface.__qualname__}")
        raise _broken(component, wrong, target)
    if inspect.isabstract(cls):
        lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise _broken(component, TypeError(f"it does not implement {lacking}"), target)


def _check_options(component: Component, target: str, options: Any) -> None:
    """See that an options class is one of attrs whose annotations can be read."""
    if not (inspect.isclass(options) and attrs.has(options)):
        raise _broken(component, TypeError("its Options is no attrs class"), target)
    try:
        attrs.resolve_types(options)
    except Exception as error:  # an annotation may be any expression
        raise _broken(component, error, target) from error


def _broken(component: Component, error: BaseException, target: str) -> PluginError:
    owner = next(r for r in registry().reports if component in r.components)
    problem = PluginError(
        f"the {component.kind} {component.name!r} of {owner.distribution} {owner.version} "
        f"is broken ({target}): {summarize(error)}"
    )
    problem.__cause__ = error
    return problem


def _interface(kind: Kind) -> type[Any]:
    module_name, _, class_name = INTERFACES[kind].partition(":")
    interface: type[Any] = getattr(importlib.import_module(module_name), class_name)
    return interface


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return ("unknown", "")
    return (point.dist.name, point.dist.version)
