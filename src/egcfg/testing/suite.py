"""What the conformance suites share: a component, an event loop to ask it on, and named checks.

A suite is a class of pytest tests that needs no pytest: its checks are the methods that begin with
``test_``, and each says in the first line of its docstring what a component must do. One that does
not raises an `AssertionError` that says what to mend; one that cannot be made here is skipped with
its reason (`unittest.SkipTest`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar
from unittest import SkipTest

from egcfg.interfaces.backend import Capabilities
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, title_of
from egcfg.sandbox import Sandbox
from egcfg.usage.model import Model

__all__ = ["BackendSuite", "SandboxedSuite", "Suite", "require"]

T = TypeVar("T")


def require(holds: object, mend: str) -> None:
    """Fail a check unless something holds; `mend` says what is wrong and what to do."""
    __tracebackhide__ = True  # pytest then shows the check
    if not holds:
        raise AssertionError(mend)


class Suite:
    """Checks of one component.

    A subclass sets `name`, or overrides `make`. The component is made once for all checks.

    Attributes:
        component: what is checked.
        opened: the same, called as egcfg calls it: what it raises becomes a `PluginError`.
    """

    kind: ClassVar[Kind]
    """The interface that is checked."""

    name: ClassVar[str] = ""
    """What the component is registered as."""

    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Its options."""

    skips: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Checks that are not to be made, each with the reason."""

    component: ClassVar[Any]
    opened: ClassVar[OpenComponent]
    _loop: ClassVar[asyncio.Runner]

    def __init_subclass__(cls) -> None:
        for check, reason in cls.skips.items():
            if not callable(getattr(cls, check, None)):
                raise TypeError(f"{cls.__name__} skips {check}, which is no check of it")
            if len(str(reason).split()) < 3:
                raise TypeError(f"{cls.__name__} skips {check}: say in a few words why")

    @classmethod
    def make(cls) -> Any:
        """Return the component; override it to check one that is not registered."""
        return create(cls.kind, cls.name, cls.options)

    @classmethod
    def setup_class(cls) -> None:
        """Make the component; called by pytest before the checks."""
        cls.component = cls.make()
        cls._loop = asyncio.Runner()
        cls.opened = OpenComponent(cls.kind, cls.component, title_of(cls.kind, cls.component))

    @classmethod
    def teardown_class(cls) -> None:
        """End what `setup_class` began; called by pytest after the checks."""
        cls.opened.close()
        cls._loop.close()

    def setup_method(self, method: Callable[..., None]) -> None:
        """Skip a check that is not to be made; called by pytest before each."""
        if method.__name__ in self.skips:
            raise SkipTest(self.skips[method.__name__])

    @classmethod
    def run(cls, awaitable: Awaitable[T]) -> T:
        """Await something on the suite's own event loop, and return what it gives."""

        async def awaited() -> T:
            return await awaitable

        return cls._loop.run(awaited())

    @classmethod
    def call(cls, method: str, *arguments: Any) -> Any:
        """Call a method of the component as egcfg does, whether it is a coroutine or not."""
        return cls.run(cls.opened.call(method, *arguments))


class SandboxedSuite(Suite):
    """Checks of a component that runs programs."""

    sandbox: ClassVar[Sandbox] = Sandbox()
    """Where: one for all suites of a process, and as long as that lasts."""


class BackendSuite(Suite):
    """Checks of an open backend; answers of the wrong form are refused as in a run.

    Attributes:
        model: asks the backend, and checks the form of its answers.
    """

    kind = Kind.BACKEND
    model: ClassVar[Model]

    @classmethod
    def setup_class(cls) -> None:
        """Open the backend."""
        super().setup_class()
        usage = cls.call("open")
        require(isinstance(usage, Usage), f"open gave {type(usage).__name__}: return a Usage")
        cls.model = Model(cls.opened, "conformance")

    @classmethod
    def teardown_class(cls) -> None:
        """Close the backend, twice: closing again does nothing."""
        cls.call("close")
        cls.call("close")
        super().teardown_class()

    @property
    def capabilities(self) -> Capabilities:
        """What the open backend says of itself."""
        return self.opened.read("capabilities", Capabilities)
