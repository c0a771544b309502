"""The metric code_eval: what `evaluate` answers, judged in the sandbox."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import egcfg
from egcfg.errors import MissingExtraError, SandboxError, UsageError
from egcfg.evaluation import code_eval

ADD = "def add(a, b): return a + b"
TIMES = "def add(a, b): return a * b"
CHECK = "def check(candidate):\n    assert candidate(2, 3) == 5\n\ncheck(add)"


def test_pass_at_k_and_verdicts_come_in_the_form_of_code_eval() -> None:
    found, results = egcfg.CodeEval().compute(
        references=["assert add(2, 3) == 5", CHECK],
        predictions=[[TIMES, ADD], [ADD, "def add(a, b):\n    while True: pass"]],
        k=[1, 2, 3],
        timeout=1.0,
        num_workers=4,
    )
    assert found == {"pass@1": 0.5, "pass@2": 1.0}
    assert results == {
        0: [
            (
                0,
                {
                    "task_id": 0,
                    "passed": False,
                    "result": "failed: the assertion does not hold",
                    "completion_id": 0,
                },
            ),
            (1, {"task_id": 0, "passed": True, "result": "passed", "completion_id": 1}),
        ],
        1: [
            (0, {"task_id": 1, "passed": True, "result": "passed", "completion_id": 0}),
            (1, {"task_id": 1, "passed": False, "result": "timed out", "completion_id": 1}),
        ],
    }


@pytest.mark.parametrize(
    ("reference", "program", "passes"),
    [
        (
            "import math\nassert math.isclose(area(1), math.pi)",
            "area = lambda r: 3.14159265358979",
            True,
        ),
        (
            "s = Stack()\ns.push(1)\nassert s.pop() == 1",
            "class Stack(list):\n    push = list.append",
            True,
        ),
        ("for n in range(4):\n    assert double(n) == 2 * n", "def double(n): return n + n", True),
        ("for n in range(4):\n    assert double(n) == 2 * n", "def double(n): return n * n", False),
        # A program that would tell code_eval that it has passed.
        ("assert add(2, 3) == 5", "import os, sys\ndef add(a, b): os._exit(0)", False),
        (
            "assert add(2, 3) == 5",
            "class E:\n    __eq__ = lambda *_: True\nadd = lambda *_: E()",
            False,
        ),
        ("assert 1 == 1", "x = 1", False),
        ("assert add(2, 3) == 5", f"```python\n{ADD}\n```", False),
    ],
)
def test_a_reference_is_any_code_that_uses_the_prediction(
    reference: str, program: str, passes: bool
) -> None:
    found, _ = egcfg.CodeEval().compute(references=[reference], predictions=[[program]], k=1)
    assert found == {"pass@1": float(passes)}


def test_references_that_share_the_process_have_a_scorer() -> None:
    reference = (
        "import random\nrandom.seed(0)\nfirst = draw()\nrandom.seed(0)\nassert draw() == first"
    )
    program = "import random\ndef draw(): return random.random()"
    call: dict[str, Any] = {"references": [reference], "predictions": [[program]], "k": [1]}
    found, results = egcfg.CodeEval().compute(**call)
    assert found == {"pass@1": 0.0}
    assert "choose the scorer 'inprocess'" in results[0][0][1]["result"]
    assert egcfg.CodeEval(scorer="inprocess").compute(**call)[0] == {"pass@1": 1.0}


def test_bad_input_is_an_error() -> None:
    metric = egcfg.CodeEval()
    with pytest.raises(UsageError, match="1 lists of predictions and 2 references"):
        metric.compute(predictions=[[ADD]], references=["assert add(1, 1) == 2"] * 2)
    with pytest.raises(UsageError, match="syntax error in the test"):
        metric.compute(predictions=[[ADD]], references=["assert add(1"])


def test_no_verdict_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = egcfg.Reward(status=egcfg.TestStatus.SANDBOX_ERROR, share=0.0, error="no room")
    monkeypatch.setattr(code_eval, "judge_blocking", lambda *_: [failed])
    with pytest.raises(SandboxError, match="prediction 0 of task 0: no room"):
        egcfg.CodeEval().compute(predictions=[[ADD]], references=["assert add(1, 1) == 2"])


def test_it_takes_the_place_of_what_evaluate_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = ModuleType("evaluate")
    evaluate.load = lambda path, *args, **options: (path, args, options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "evaluate", evaluate)
    first, second = egcfg.CodeEval(), egcfg.CodeEval(scorer="inprocess")
    first.install()
    assert evaluate.load("code_eval") is first
    second.install()
    assert evaluate.load("code_eval") is second
    assert evaluate.load("bleu", "x", seed=0) == ("bleu", ("x",), {"seed": 0})
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(MissingExtraError, match="pip install evaluate"):
        first.install()
