"""Runs the suite of a component without pytest: what ``egcfg plugins check`` does."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Any
from unittest import SkipTest

from attrs import frozen

from egcfg.errors import summarize
from egcfg.interfaces.backend import LogprobBackend
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.backend_suite import LogprobBackendSuite
from egcfg.testing.dataset_suite import DatasetSuite
from egcfg.testing.guidance_suite import GuidanceSuite
from egcfg.testing.method_suite import MethodSuite
from egcfg.testing.prompt_suite import PromptSuite
from egcfg.testing.scorer_suite import ScorerSuite
from egcfg.testing.suite import Suite
from egcfg.testing.text_suite import TextBackendSuite
from egcfg.testing.tracer_suite import TracerSuite

__all__ = ["CheckResult", "Verdict", "check_component", "run_suite", "suite_of"]

SUITES: dict[Kind, type[Suite]] = {
    Kind.BACKEND: TextBackendSuite,
    Kind.TRACER: TracerSuite,
    Kind.PROMPT: PromptSuite,
    Kind.SCORER: ScorerSuite,
    Kind.DATASET: DatasetSuite,
    Kind.GUIDANCE: GuidanceSuite,
    Kind.METHOD: MethodSuite,
}


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class CheckResult:
    """One check of a component.

    Attributes:
        name: the check's, without ``test_``.
        rule: what a component must do.
        verdict: how it ended.
        detail: what to mend, or why it was skipped; empty where it is ok.
    """

    name: str
    rule: str
    verdict: Verdict
    detail: str = ""


def suite_of(kind: Kind, cls: type[Any]) -> type[Suite]:
    """Return the suite for a component of that class."""
    return LogprobBackendSuite if issubclass(cls, LogprobBackend) else SUITES[kind]


def check_component(kind: Kind, make: Callable[[], Any], cls: type[Any]) -> Iterator[CheckResult]:
    """Make a component and yield the result of each check of it.

    Args:
        kind: its kind.
        make: makes it.
        cls: its class.
    """
    suite = suite_of(kind, cls)
    made: Any = type(suite.__name__, (suite,), {"make": classmethod(lambda _: make())})
    return run_suite(made)


def run_suite(suite: type[Suite]) -> Iterator[CheckResult]:
    """Make the checks of a suite, in their order, as pytest would."""
    beginning = _checked("setup_class", "It can be made and opened.", suite.setup_class)
    if beginning.verdict is not Verdict.OK:
        yield beginning
        return
    for name, function in _checks(suite):
        check = suite()

        def made(check: Suite = check, function: Callable[..., None] = function) -> None:
            check.setup_method(function)
            function(check)

        rule = (inspect.getdoc(function) or name).partition("\n")[0]
        yield _checked(name.removeprefix("test_"), rule, made)
    end = _checked("teardown_class", "It can be closed.", suite.teardown_class)
    if end.verdict is not Verdict.OK:
        yield end


def _checks(suite: type[Suite]) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield the checks in the order in which they are written, those of a base class first."""
    names = dict.fromkeys(name for cls in reversed(suite.__mro__) for name in vars(cls))
    for name in names:
        if name.startswith("test_"):
            yield name, getattr(suite, name)


def _checked(name: str, rule: str, check: Callable[[], None]) -> CheckResult:
    try:
        check()
    except SkipTest as skip:
        return CheckResult(name, rule, Verdict.SKIPPED, str(skip))
    except AssertionError as error:
        return CheckResult(name, rule, Verdict.FAILED, str(error) or "an assertion failed")
    except Exception as error:  # noqa: BLE001 - a component may raise anything
        return CheckResult(name, rule, Verdict.FAILED, summarize(error))
    return CheckResult(name, rule, Verdict.OK)
