"""Fixtures for the tests of plugins; pytest finds them wherever egcfg is installed.

pytest loads this module in every environment in which egcfg is installed, whatever is tested there:
it imports nothing of egcfg, adds no option and no hook, and its fixtures begin with ``egcfg_``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from egcfg.interfaces.problem import Problem
    from egcfg.interfaces.solution import Solution
    from egcfg.sandbox import Sandbox
    from egcfg.testing.answering import AnsweringBackend

__all__ = ["egcfg_answering", "egcfg_create", "egcfg_problem", "egcfg_sandbox", "egcfg_solve"]


@pytest.fixture
def egcfg_create() -> Callable[..., Any]:
    """Return what makes a registered component: ``egcfg_create("tracer", "mine", depth=2)``."""

    def create(kind: str, name: str, **options: Any) -> Any:
        from egcfg.plugins.hookspecs import Kind
        from egcfg.plugins.registry import create

        return create(Kind(kind), name, options)

    return create


@pytest.fixture
def egcfg_problem() -> Problem:
    """Return a problem with visible tests: ``f`` doubles a number."""
    from attrs import evolve

    from egcfg.testing.examples import PROBLEMS

    return evolve(PROBLEMS["asserts"], hidden_tests=[])


@pytest.fixture
def egcfg_answering() -> Callable[..., AnsweringBackend]:
    """Return what makes a model that gives these answers, the last one for ever."""

    def answering(*answers: str) -> AnsweringBackend:
        from egcfg.testing.answering import AnsweringBackend

        return AnsweringBackend(AnsweringBackend.Options(answers))

    return answering


@pytest.fixture(scope="session")
def egcfg_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox for all tests; it starts when it is first used."""
    from egcfg.sandbox import Sandbox

    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def egcfg_solve(egcfg_sandbox: Sandbox) -> Callable[..., Solution]:
    """Return `egcfg.solve` in the tests' sandbox: ``egcfg_solve(problem, method="mine")``."""

    def solve(problem: Problem, **arguments: Any) -> Solution:
        from egcfg.blocking import solve

        return solve(problem, sandbox=egcfg_sandbox, **arguments)

    return solve
