from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.signal_text import SignalText
from egcfg.interfaces.solution import SignalEntry
from egcfg.interfaces.tracer import Trace

LINES = st.lists(st.sampled_from(["L2 " + "a" * 50, "L3 b=2", "result 3"]), max_size=7)
RUNS = st.integers(1, 3).flatmap(
    lambda runs: st.lists(st.lists(LINES, min_size=runs, max_size=runs), min_size=1, max_size=4)
)
SHARED = re.compile(r"Run (\d+): as (candidate|run) (\d+) for (\d+) lines, then")
ALIKE = re.compile(r"Runs? (\d+)(?: to (\d+))?: as (candidate|run) (\d+)")


def entries(runs: Sequence[Sequence[Sequence[str]]]) -> list[SignalEntry]:
    return [
        SignalEntry(
            program=f"def f(x): return {number}",
            samples=1,
            traces=tuple(
                Trace(source="", call=f"f({run})", stdout="\n".join(lines))
                for run, lines in enumerate(of_entry)
            ),
        )
        for number, of_entry in enumerate(runs)
    ]


def whole(trace: Trace, max_chars: int) -> str:  # noqa: ARG001 - there is always room
    return f"{trace.call}\n{trace.stdout}".rstrip()


def cut(trace: Trace, max_chars: int) -> str:
    text = whole(trace, max_chars)
    return text if len(text) <= max_chars else f"{text[: max_chars - 3]}..."


def read_back(text: str) -> list[list[list[str]]]:
    """Return the lines of every run of every candidate, what is referred to put in its place."""
    found: list[list[list[str]]] = []

    def model(kind: str, number: str, run: int) -> list[str]:
        if kind == "run":
            return found[-1][int(number) - 1]
        return found[int(number) - 1][run - 1]

    for part in text.split("\nCandidate ")[1:]:
        found.append(runs := [])
        for line in part.split("```\n", 1)[1].splitlines():
            if match := SHARED.fullmatch(line):
                run, kind, number, count = match.groups()
                runs.append(model(kind, number, int(run))[: int(count) - 1])
            elif match := ALIKE.fullmatch(line):
                first, last, kind, number = match.groups()
                which = range(int(first), int(last or first) + 1)
                runs += [model(kind, number, run) for run in which]
            elif re.fullmatch(r"Run \d+", line):
                runs.append([])
            elif line:
                runs[-1].append(line)
    return found


@given(RUNS)
def test_everything_that_is_left_out_can_be_read_in_its_place(
    runs: list[list[list[str]]],
) -> None:
    assert read_back(SignalText(entries(runs), whole, 2000).text(len(runs), 2000)) == runs


@given(RUNS, st.integers(1, 4))
def test_the_text_of_the_first_candidates_does_not_hang_on_the_others(
    runs: list[list[list[str]]], shown: int
) -> None:
    shown = min(shown, len(runs))
    fewer = SignalText(entries(runs[:shown]), whole, 2000).text(shown, 2000)
    assert SignalText(entries(runs), whole, 2000).text(len(runs), 2000).startswith(fewer)
    assert SignalText(entries(runs), whole, 2000).text(shown, 2000) == fewer


def test_runs_that_are_alike_are_told_together() -> None:
    one, two, other = ["L2 a=1", "result 1"], ["L2 a=2", "result 2"], ["raised E"]
    text = SignalText(entries([[one, two, one], [one, two, other]]), whole, 2000).text(2, 2000)
    assert text.endswith("```\nRuns 1 to 2: as candidate 1\nRun 3\nraised E\n")
    assert "Run 2\nL2 a=2\nresult 2\nRun 3: as run 1\n" in text


def test_a_run_that_begins_as_an_earlier_one_tells_only_what_comes_then() -> None:
    start = ["L2 a=1", "L3 b=2", "L4 c=[1, 2, 3, 4, 5, 6, 7]"]
    text = SignalText(entries([[[*start, "result 1"]], [[*start, "result 2"]]]), whole, 2000)
    assert text.text(2, 2000).endswith("```\nRun 1: as candidate 1 for 4 lines, then\nresult 2\n")


def test_a_beginning_that_is_shorter_than_a_reference_to_it_is_told() -> None:
    text = SignalText(entries([[["L2 a=1", "result 1"], ["L2 a=1", "result 2"]]]), whole, 2000)
    assert text.text(1, 2000).endswith("Run 2\nL2 a=1\nresult 2\n")


def test_the_code_so_far_is_referred_to_by_its_name() -> None:
    so_far, candidate = entries([[["result 1"]], [["result 1"]]])
    so_far = evolve(so_far, program="p", samples=0)
    text = SignalText([so_far, candidate], whole, 2000).text(2, 2000)
    assert "\nThe code so far:\n```python\np\n```\nRun 1\nresult 1\n" in text
    assert text.endswith("Run 1: as the code so far\n")


def test_runs_that_look_alike_only_because_they_are_cut_are_not_called_alike() -> None:
    start = ["L2 a=1", "L3 b=2", "L4 c=3"]
    runs = [[[*start, "result " + "1" * 90]], [[*start, "result " + "1" * 80]]]
    text = SignalText(entries(runs), cut, 2000).text(2, 60)
    assert "as candidate 1\n" not in text
    assert text.count("result 11") == 2
