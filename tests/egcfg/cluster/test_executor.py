"""What needs no Ray: that it is missing, and what passes between processes."""

from __future__ import annotations

import asyncio
import pickle
import sys

import pytest

from egcfg import errors
from egcfg.cluster.actor import versions
from egcfg.cluster.executor import RayExecutor
from egcfg.config import RunConfig
from egcfg.errors import MissingExtraError
from egcfg.usage.budget import Meter


def test_without_ray_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[ray\]'"):
        asyncio.run(RayExecutor(RunConfig(), Meter(), {}).open())


def test_versions_tell_the_code_from_that_of_another_commit() -> None:
    found = versions()
    assert found["Python"] == sys.version.split()[0]
    assert found["egcfg"].endswith(")")
    assert found == versions()


@pytest.mark.parametrize(
    "error",
    [
        errors.ContextOverflowError(9, 8),
        errors.UnknownNameError("tracer", "ful", ["full"]),
        errors.BudgetError("the budget is used up", "--max-cost"),
        errors.SandboxError("no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was_raised(error: errors.EgcfgError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.__dict__) == (str(error), error.__dict__)
