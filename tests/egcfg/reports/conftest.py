"""Records of results, without files."""

from __future__ import annotations

from pathlib import Path

import pytest

from egcfg.interfaces.usage import Usage
from egcfg.runs.results import Result, ResultStats
from egcfg.runs.store import FileState, ResultFile


@pytest.fixture
def make_record():
    def make(
        task="1",
        gamma=1.0,
        passed=True,
        *,
        config="ns2t0.75d2_ln",
        model="org_tiny",
        cached=False,
        state=FileState.DONE,
        stats=True,
        usage=None,
    ):
        cost = ResultStats(
            input_tokens=1000,
            output_tokens=100,
            seconds=2.5,
            usage={"guided": usage or Usage(forward_passes=30, forward_tokens=400)},
        )
        result = Result(passed=passed, global_cached=cached, stats=cost if stats else None)
        return ResultFile(
            path=Path(f"/results/mbpp/{model}/{config}/task_id={task}_gamma={gamma}.json"),
            dataset="mbpp",
            model=model,
            config=config,
            task_id=task,
            gamma=gamma,
            state=state,
            result=result if state is FileState.DONE else None,
            problem="not JSON" if state is FileState.BROKEN else None,
        )

    return make


@pytest.fixture
def mixed(make_record):
    """Two configurations and a baseline; one row is incomplete, skipped or unreadable in part."""
    records = [make_record(str(task), 0.0, task < 12) for task in range(10, 15)]
    records += [make_record(str(task), 1.0, task < 14) for task in range(10, 15)]
    records += [
        make_record(str(task), 3.0, task != 10, config="ns2t1.2d2_ln") for task in (9, 10, 11)
    ]
    records += [
        make_record("12", 3.0, config="ns2t1.2d2_lci_ln", cached=True),
        make_record("13", 3.0, config="ns2t1.2d2_lci_ln", passed=False, stats=False),
        make_record("14", 3.0, config="ns2t1.2d2_lci_ln", state=FileState.EMPTY),
        make_record("15", 3.0, config="ns2t1.2d2_lci_ln", state=FileState.BROKEN),
    ]
    return records
