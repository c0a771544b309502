"""Budgets on the command line: the clean end, its exit status, and the way to go on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.usage.budget import count_text

pytestmark = pytest.mark.usefixtures("problems")

SCRIPTED = ("--backend", "scripted", "--dataset", "mine.jsonl", "--model", "scripted", "-g", "1")
PRICES = "input=10,cached_input=1,output=1000"


def _served(endpoint: Any) -> tuple[str, ...]:
    """Return arguments of a run with a request for every token; four tokens a unit."""
    model = ("--backend", "openai", "--model", "m", "--base-url", f"{endpoint.address}/v1")
    return (*model, "--dataset", "mine.jsonl", "-p", "long_code", "-g", "0", "--max-tokens", "4")


def _spent(folder: Path) -> dict[str, float]:
    """Return what the folder's own record says was spent."""
    totals: dict[str, float] = {}
    for file in folder.rglob(".spent/*.json"):
        for name, number in json.loads(file.read_text()).items():
            totals[name] = totals.get(name, 0) + number
    return totals


def _results(folder: Path) -> list[Path]:
    return sorted(folder.rglob("task_id=*.json"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def test_a_run_ends_within_a_unit_and_goes_on_with_a_larger_budget(
    egcfg: Callable[..., Any], tmp_path: Path, endpoint: Any
) -> None:
    base = (*_served(endpoint), "-o", "backend.speculated_tokens=1", "--concurrency", "1")
    whole = egcfg(*base, "--results-dir", "whole")
    needed = len(endpoint.keys)
    assert whole.status == 0, whole.err
    assert _spent(tmp_path / "whole")["requests"] == needed
    endpoint.keys.clear()

    ended = egcfg(*base, "--max-requests", str(needed - 2))
    results = tmp_path / "results"

    assert ended.status == 3, ended.err
    assert len(endpoint.keys) == _spent(results)["requests"] == needed - 2
    assert len(_results(results)) == 1
    assert not list(results.rglob(".tmp-*"))
    limit = needed - 2
    assert ended.err.splitlines()[-1] == (
        f"1 of 2 units are done; the budget --max-requests {limit} is used up: {limit} spent; "
        "run again with a larger --max-requests to go on"
    )

    again = egcfg(*base, "--max-requests", str(limit))
    assert again.status == 3
    assert len(endpoint.keys) == limit, "a budget that is used up sends nothing"

    resumed = egcfg(*base, "--max-requests", str(10 * needed))
    assert resumed.status == 0, resumed.err
    assert len(_results(results)) == 2
    assert len(endpoint.keys) == _spent(results)["requests"] > needed
    assert re.search(r"spent on results/mine/m: \d+ of \d+ requests", resumed.err)
    assert f"in this run: {len(endpoint.keys) - limit} requests" in resumed.err
    assert resumed.out.split("task")[1] != ""
    texts = [
        {file.name: json.loads(file.read_text())["code"] for file in _results(tmp_path / folder)}
        for folder in ("whole", "results")
    ]
    assert texts[0] == texts[1]


def test_many_in_flight_go_beyond_a_budget_by_their_requests_at_most(
    egcfg: Callable[..., Any], tmp_path: Path, endpoint: Any
) -> None:
    tasks = [
        {"task_id": str(number), "description": "Square x.", "tests": ["assert f(3) == 9"]}
        for number in range(12)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    base = (*_served(endpoint), "-o", "backend.speculated_tokens=1")
    limit = 50
    ended = egcfg(*base, "--max-requests", str(limit))

    assert ended.status == 3, ended.err
    assert limit <= len(endpoint.keys) < limit + 12
    assert _spent(tmp_path)["requests"] == len(endpoint.keys), "all that were sent are counted"
    assert len(_results(tmp_path / "results")) < 12
    resumed = egcfg(*base)
    assert resumed.status == 0, resumed.err
    assert len(_results(tmp_path / "results")) == 12
    assert _spent(tmp_path)["requests"] == len(endpoint.keys)


def test_a_limit_on_the_cost_holds_at_the_prices_of_the_configuration(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "egcfg.toml").write_text("[prices]\ninput = 10\noutput = 1000\n")
    assert egcfg(*SCRIPTED, "--limit", "1").status == 0
    limit = f"{_spent(tmp_path)['output_tokens'] / 1000 + 0.001:.3f}"

    ended = egcfg(*SCRIPTED, "--max-cost", limit)

    assert ended.status == 3, ended.err
    assert f"the budget --max-cost {count_text(float(limit))} is used up: 0." in ended.err
    assert len(_results(tmp_path / "results")) == 1
    cost = re.search(r"cost (0\.\d+) of 0\.", ended.err)
    assert cost is not None
    assert float(cost[1]) == pytest.approx(_spent(tmp_path)["output_tokens"] / 1000, abs=1e-4)
    assert egcfg(*SCRIPTED, "--max-cost", "9").status == 0


def test_a_limit_on_the_cost_without_prices_says_how_to_give_them(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    none = egcfg(*SCRIPTED, "--max-cost", "1")
    assert (none.status, none.out) == (2, "")
    assert "--prices input=0.2,cached_input=0.1,output=0.6" in none.err
    (tmp_path / "egcfg.toml").write_text("[prices.other]\ninput = 1\noutput = 1\n")
    other = egcfg(*SCRIPTED, "--max-cost", "1")
    assert other.status == 2
    assert "none for the model 'scripted'; add the table [prices.\"scripted\"]" in other.err


def test_a_limit_on_requests_of_a_local_model_is_refused(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*SCRIPTED, "--max-requests", "5")
    assert ran.status == 2
    assert "limit its work by --max-tokens-total" in ran.err


def test_a_finished_run_is_complete_however_much_it_spent(egcfg: Callable[..., Any]) -> None:
    assert egcfg(*SCRIPTED).status == 0
    again = egcfg(*SCRIPTED, "--max-tokens-total", "1")
    assert again.status == 0, again.err
    assert "of 1 tokens" in again.err


def test_processes_share_one_budget(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    tasks = [
        {"task_id": str(number), "description": "Square x.", "tests": ["assert f(3) == 9"]}
        for number in range(40)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    limit = 400
    slow = ("-o", "backend.seconds_per_question=0.01", "--max-tokens-total", str(limit))
    slow += ("--concurrency", "1")
    workers = [start("run", *SCRIPTED, *slow) for _ in range(3)]
    ends = [(worker.communicate(), worker.returncode) for worker in workers]

    assert [status for _, status in ends] == [3, 3, 3], ends
    spent = _spent(tmp_path)["output_tokens"]
    # A question draws 3 candidates of two lines at most; each process may be in the middle of one.
    assert limit <= spent <= limit + 3 * 3 * 60
    files = _results(tmp_path / "results")
    assert 0 < len(files) < 40
    kept = sum(json.loads(file.read_text())["stats"]["output_tokens"] for file in files)
    assert kept <= spent
    assert not list(tmp_path.rglob(".tmp-*"))


def test_what_a_killed_process_spent_counts(
    start: Callable[..., subprocess.Popen[str]], egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    child = start(
        "run",
        *SCRIPTED,
        "-o",
        "backend.seconds_per_question=0.2",
        "--max-cost",
        "9",
        "--prices",
        PRICES,
    )
    while not _spent(tmp_path).get("output_tokens"):
        assert child.poll() is None, child.communicate()
    child.kill()
    child.communicate()
    spent = _spent(tmp_path)["output_tokens"]
    ran = egcfg(
        *SCRIPTED, "-o", "backend.seconds_per_question=0.2", "--max-tokens-total", str(int(spent))
    )
    assert ran.status == 3
    assert (
        f"0 of 2 units are done; the budget --max-tokens-total {int(spent)} is used up" in ran.err
    )


def test_the_cost_stands_beside_the_tokens(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    ran = egcfg(*SCRIPTED, "--prices", PRICES, "--concurrency", "1")
    assert re.search(r"\] task square, .*: passed \(\d+ tokens, [\d.]+ s, cost 0\.\d+\)", ran.err)
    table = ran.out.split("mine · scripted")[1].splitlines()
    assert table[1].split()[-1] == "cost"
    assert re.fullmatch(r"0\.\d+", table[3].split()[-1])
    assert "at a cost of 0." in ran.out
    monitored = egcfg("monitor", "results", "--prices", PRICES)
    assert table[3] in monitored.out
    spent = re.search(r"^spent on results/mine/scripted: (.*)$", ran.err, re.M)
    assert spent is not None
    assert f"spent in all, unfinished work included: {spent[1]}\n" in monitored.out
    unpriced = egcfg("monitor", "results").out
    assert "cost" not in unpriced
    assert "spent" not in unpriced
    (tmp_path / "egcfg.toml").write_text("[prices.scripted]\ninput = 10\noutput = 1000\n")
    (report,) = json.loads(egcfg("monitor", "results", "--format", "json").out)
    (row,) = report["rows"]
    assert row["price"] == pytest.approx(row["output_tokens"] / 1000)


def test_solve_ends_at_its_budget_with_the_best_code_so_far(egcfg: Callable[..., Any]) -> None:
    model = ("--backend", "scripted", "--model", "scripted", "--method", "egcfg")
    words = ("solve", "Double x.", "--test", "assert f(3) == 6")
    nothing = egcfg(*words, *model, "-g", "1", "--max-tokens-total", "1")
    assert (nothing.status, nothing.out) == (3, "")
    assert "the budget --max-tokens-total 1 is used up" in nothing.err
    best = egcfg(*words, *model, "-g", "0", "-g", "1", "--max-tokens-total", "1")
    assert best.status == 3
    assert best.out == "def f(x):\n    return x * x\n"
    assert "spent: " in best.err


def test_rounds_try_all_tasks_alike_and_go_on_with_a_larger_budget(
    egcfg: Callable[..., Any], tmp_path: Path, endpoint: Any
) -> None:
    tried = ("--method", "best_of_n", "-o", "method.n=3", "--schedule", "rounds")
    base = (*_served(endpoint), *tried, "--concurrency", "1")
    whole = egcfg(*base, "--results-dir", "whole")
    assert whole.status == 0, whole.err
    needed = int(_spent(tmp_path / "whole")["requests"])
    said = whole.err.splitlines()
    assert [line for line in said if line.startswith("round ")] == [
        *(f"round {number}: 2 units" for number in (1, 2, 3, 4)),
    ]

    ended = egcfg(*base, "--max-requests", str(needed - 1))
    assert ended.status == 3, ended.err
    results = [json.loads(path.read_bytes()) for path in _results(tmp_path / "results")]
    assert sorted(result.get("unfinished", False) for result in results) == [False, True]
    assert "1 units were cut short: their last answers count" in ended.err
    assert ended.err.splitlines()[-1].startswith("1 of 2 units are done; ")
    assert "cut short by the end of a budget" in ended.out

    resumed = egcfg(*base, "--max-requests", str(10 * needed))
    assert resumed.status == 0, resumed.err
    assert "1 of 2 units are done already" in resumed.err
    results = [json.loads(path.read_bytes()) for path in _results(tmp_path / "results")]
    assert not any("unfinished" in result for result in results)
