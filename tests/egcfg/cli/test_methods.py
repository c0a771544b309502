"""Every built-in method from the command line, and what each does where something is lacking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.interfaces.method import Need
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import component_class, registry

SQUARE = "def f(x):\n    return x * x\n"
RIGHT = ("solve", "Square a number", "--test", "assert f(3) == 9", "-p", "chat", "-g", "0")
METHODS = [
    component.name
    for report in registry().reports
    for component in report.components
    if report.builtin and component.kind is Kind.METHOD
]
NEED_LOGPROBS = [m for m in METHODS if Need.LOGPROBS in component_class(Kind.METHOD, m).needs]


def backend(method: str) -> tuple[str, str]:
    """Return the least that a method can work with."""
    return "--backend", "scripted" if method in NEED_LOGPROBS else "textual"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_solves_a_problem(egcfg: Callable[..., Any], method: str) -> None:
    ran = egcfg(*RIGHT, "--method", method, *backend(method))

    assert (ran.status, ran.out) == (0, SQUARE), ran.err


@pytest.mark.parametrize("method", METHODS)
def test_without_visible_tests_a_method_has_an_answer(
    egcfg: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    blind = {"task_id": "s", "description": "Square x.", "hidden_tests": ["assert f(3) == 9"]}
    (tmp_path / "blind.jsonl").write_text(json.dumps(blind))
    chosen = ("--dataset", "blind.jsonl", "-p", "chat", "-g", "0", "--method", method)
    ran = egcfg("run", *chosen, *backend(method))

    assert ran.status == 0, ran.err
    [file] = tmp_path.rglob("task_id=s*.json")
    result = json.loads(file.read_text())
    assert result["passed"]
    assert result["code"] == SQUARE


@pytest.mark.parametrize("command", ["solve", "run"])
@pytest.mark.parametrize("method", NEED_LOGPROBS)
def test_a_method_that_needs_logprobs_is_refused_on_text_alone(
    egcfg: Callable[..., Any], problems: Path, command: str, method: str
) -> None:
    arguments = RIGHT if command == "solve" else ("run", "--dataset", str(problems))
    ran = egcfg(*arguments, "--method", method, "--backend", "textual")

    assert (ran.status, ran.out) == (2, "")
    assert f"tells no log-probabilities, which the method {method!r} of egcfg " in ran.err
    assert ran.err.endswith(
        "needs; use a --method that needs text alone, or choose another --backend\n"
    )
    assert ran.err.count("\n") == 1


def test_guidance_is_refused_on_text_alone(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*RIGHT[:-1], "1", "--method", "egcfg", "--backend", "textual")

    assert (ran.status, ran.out) == (2, "")
    assert "tells no log-probabilities, which guidance needs; use --gamma 0 or a --" in ran.err


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_for_one_question_ends_a_method_with_what_it_has(
    egcfg: Callable[..., Any], tmp_path: Path, problems: Path, method: str
) -> None:
    ran = egcfg(*RIGHT, "--method", method, *backend(method), "--tokens", "60")

    assert (ran.status, ran.out) in [(0, SQUARE), (3, "")], ran.err
    assert ("there is no answer: task solve has spent " in ran.err) == (ran.status == 3)

    chosen = ("--dataset", str(problems), "--task", "square", "--method", method, "-g", "0")
    ran = egcfg("run", *chosen, *backend(method), "-p", "chat", "--tokens-per-task", "60")

    assert ran.status == 0, ran.err
    [file] = tmp_path.rglob("task_id=square*.json")
    result = json.loads(file.read_text())
    assert result["passed"] or "there is no answer: " in result["general_error"]
