from __future__ import annotations

import pytest

from egcfg.interfaces.problem import Problem
from egcfg.testing.examples import HIDDEN, PROBLEMS


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS.keys())
def problem(request: pytest.FixtureRequest) -> Problem:
    value: Problem = request.param
    return value


@pytest.fixture
def double() -> Problem:
    return PROBLEMS["asserts"]


@pytest.fixture
def humaneval() -> Problem:
    return PROBLEMS["given_code"]


@pytest.fixture
def signature_only() -> Problem:
    return PROBLEMS["given_signature"]


@pytest.fixture
def program() -> Problem:
    return PROBLEMS["stdio"]


@pytest.fixture
def hidden_sentinel() -> str:
    return HIDDEN
