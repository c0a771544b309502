"""``--dry-run``: what a run would ask, without asking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HIDDEN = {
    "task_id": "third",
    "description": "Third of x.",
    "tests": ["assert f(3) == 1"],
    "hidden_tests": ["assert f(987654) == 329218"],
}


@pytest.fixture(autouse=True)
def hidden(problems: Path) -> None:
    with problems.open("a") as file:
        file.write(json.dumps(HIDDEN) + "\n")


def test_a_dry_run_asks_no_server_and_writes_nothing(
    egcfg: Callable[..., Any], tmp_path: Path, endpoint: Any
) -> None:
    model = ("--backend", "openai", "--model", "m", "--base-url", f"{endpoint.address}/v1")
    base = (*model, "--dataset", "mine.jsonl", "-p", "chat", "-p", "long_code")
    # No key is set: nothing that would need one is made.
    ran = egcfg(*base, "--dry-run", "--prices", "input=100,output=100", "--max-requests", "9")

    assert ran.status == 0, ran.err
    assert endpoint.keys == []
    assert not (tmp_path / "results").exists()
    titles = re.findall(r"^=== (.*)$", ran.out, re.M)
    assert [title.partition(" (")[0] for title in titles] == [
        f"task {task}, prompt {prompt}: {branch}"
        for task in ("square", "double")
        for prompt in ("chat", "long_code")
        for branch in ("unconditional", "conditional")
    ]
    assert ran.out.count("[... the signal: candidates and what happened when they ran") == 4
    assert "Square x." in ran.out
    assert "987654" not in ran.out
    assert "chats are shown without the model's template" in ran.out
    assert "an estimate, by the lengths of prompts" in ran.out
    assert "12 units, 0 of them done; the other 12 may take about" in ran.out
    (told,) = re.findall(
        r"^  (\d+) rounds .*, (\d+) tokens in, (\d+) tokens out, cost (\S+) ", ran.out, re.M
    )
    rounds, sent, generated = map(int, told[:3])
    assert 0 < rounds < generated < sent
    assert float(told[3]) == pytest.approx((sent + generated) / 10_000, rel=0.01)
    assert "0 of 9 requests" in ran.out


def test_a_prompt_is_shown_whole_with_about_its_tokens(egcfg: Callable[..., Any]) -> None:
    base = ("--dataset", "mine.jsonl", "--backend", "scripted", "--model", "m")
    ran = egcfg(*base, "-p", "long_code", "-g", "0", "--dry-run")

    assert ran.status == 0, ran.err
    assert "template" not in ran.out
    assert "for the cost give prices: --prices" in ran.out
    shown = re.findall(
        r"^=== [^\n]*: unconditional \(about (\d+) tokens\)\n(.*?)\n\n(?====|an estimate)",
        ran.out,
        re.M | re.S,
    )
    assert len(shown) == 2
    for tokens, text in shown:
        assert text.endswith("```python")
        assert int(tokens) == pytest.approx(len(text) / 3.5, abs=2)


def test_what_is_done_is_not_expected_again(egcfg: Callable[..., Any]) -> None:
    base = ("--backend", "scripted", "--model", "scripted", "--dataset", "mine.jsonl", "-p", "chat")
    assert egcfg(*base, "--task", "square").status == 0
    ran = egcfg(*base, "--dry-run")
    assert "6 units, 2 of them done; the other 4 may take about" in ran.out
    assert re.search(r"spent on results/mine/scripted so far: \d+ tokens", ran.out)


def test_a_dry_run_refuses_what_the_run_would_refuse(egcfg: Callable[..., Any]) -> None:
    base = ("--backend", "scripted", "--dataset", "mine.jsonl", "--dry-run")
    unnamed = egcfg(*base)
    assert (unnamed.status, unnamed.out) == (2, "")
    assert "name the model with --model" in unnamed.err
    wrong = egcfg(*base, "--model", "m", "--scorer", "check")
    assert wrong.status == 2
    assert "choose the scorer that fits the tests" in wrong.err


def test_of_a_method_that_decides_for_itself_nothing_is_estimated(
    egcfg: Callable[..., Any],
) -> None:
    base = ("--backend", "scripted", "--model", "m", "--dataset", "mine.jsonl", "-p", "chat")
    ran = egcfg(*base, "--dry-run", "--method", "best_of_n")

    assert ran.status == 0, ran.err
    assert "3 units, 0 of them done; the other 3 are left to the method 'best_of_n'" in ran.out
    assert "nothing is estimated" in ran.out
    assert "--tokens-per-task N" in ran.out
    assert "may take about" not in ran.out
    assert ": conditional" not in ran.out  # it reads no signal

    prices = ("--prices", "input=1,output=2")
    bounded = egcfg(*base, *prices, "--dry-run", "--method", "egcfg_grid", *TOKENS)
    assert "allows 1500000 tokens in all, cost 3 at most" in bounded.out
    assert ": conditional" in bounded.out


TOKENS = ("--tokens-per-task", "500000")
