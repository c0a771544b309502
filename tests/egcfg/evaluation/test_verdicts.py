"""The file of verdicts: whole lines, whatever stops the process; and no line of anything else."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from attrs import evolve

from egcfg.errors import RunError, UsageError
from egcfg.evaluation.judging import Isolation, JudgedSample
from egcfg.evaluation.samples import Sample
from egcfg.evaluation.verdicts import VerdictFile
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.sandbox import LAYERS, Level
from egcfg.scorers.stdio import StdioOptions

PROBLEM = Problem(
    task_id="sum", description="", entry_point="f", visible_tests=[AssertTest("assert f(1) == 1")]
)
SAMPLES = [Sample(problem=PROBLEM, program=f"x = {n}", line=n + 1) for n in range(5)]
OPTIONS = StdioOptions()
ISOLATION = Isolation(level=Level.FULL, layers=dict.fromkeys(LAYERS, "active"))


PACKAGES = ("numpy", "scipy")


def verdict(sample: Sample, status: str = "passed", error: str | None = None) -> JudgedSample:
    result = TestResult(
        name="assert f(1) == 1",
        status=TestStatus(status),
        seconds=0.5,
        error=error,
        packages=("numpy==2.0.0",),
    )
    return JudgedSample(
        sample=sample, score=Score(results=[result], general_error=error), isolation=ISOLATION
    )


def opened(
    path: Path,
    samples: Sequence[Sample] = SAMPLES,
    options: object = OPTIONS,
    packages: Sequence[str] = PACKAGES,
) -> VerdictFile:
    return VerdictFile(path, samples, {"asserts": options}, packages)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a file with the verdicts on lines 3 and 1."""
    path = tmp_path / "out.jsonl"
    with opened(path) as file:
        file.add(verdict(SAMPLES[2], "failed", "why"))
        file.add(verdict(SAMPLES[0]))
    return path


def rows(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_row_says_what_was_found_and_under_which_isolation(begun: Path) -> None:
    row = rows(begun)[0]

    assert row.pop("fingerprint")
    assert row == {
        "task_id": "sum",
        "line": 3,
        "passed": False,
        "status": "failed",
        "extracted": False,
        "empty": False,
        "general_error": "why",
        "tests": [
            {
                "name": "assert f(1) == 1",
                "status": "failed",
                "seconds": 0.5,
                "error": "why",
                "packages": ["numpy==2.0.0"],
            }
        ],
        "packages": ["numpy==2.0.0"],
        "forgeable": False,
        "isolation": {"level": "full", "layers": dict.fromkeys(LAYERS, "active")},
    }


def test_what_was_judged_is_not_judged_again_and_comes_into_order(begun: Path) -> None:
    with opened(begun) as file:
        assert [sample.line for sample in file.waiting] == [2, 4, 5]
        for sample in reversed(file.waiting):
            file.add(verdict(sample))
        done = file.finish()

    assert done == [verdict(s) if s.line != 3 else verdict(s, "failed", "why") for s in SAMPLES]
    assert [row["line"] for row in rows(begun)] == [1, 2, 3, 4, 5]
    assert [path.name for path in begun.parent.iterdir()] == ["out.jsonl"]
    with opened(begun) as file:
        assert file.waiting == []
        assert file.finish() == done


def test_samples_may_be_added_to_their_file(begun: Path) -> None:
    with opened(begun, SAMPLES[:3]) as file:
        assert [sample.line for sample in file.waiting] == [2]
    with opened(begun, [*SAMPLES, evolve(SAMPLES[0], line=6)]) as file:
        assert [sample.line for sample in file.waiting] == [2, 4, 5, 6]


def test_a_sample_on_which_the_sandbox_failed_is_not_judged_again(begun: Path) -> None:
    with opened(begun) as file:
        file.add(verdict(SAMPLES[1], "sandbox_error", "why"))
    with opened(begun) as file:
        assert [sample.line for sample in file.waiting] == [4, 5]


def test_a_line_that_was_cut_off_anywhere_is_judged_again(begun: Path) -> None:
    whole = begun.read_bytes()
    first = whole.index(b"\n") + 1
    for end in (*range(first, first + 14), len(whole) - 1):
        begun.write_bytes(whole[:end])
        with opened(begun) as file:
            assert [sample.line for sample in file.waiting] == [1, 2, 4, 5], end
            file.add(verdict(SAMPLES[0]))
        assert begun.read_bytes() == whole


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        ([evolve(SAMPLES[0], program="x = 9"), *SAMPLES[1:]], OPTIONS),
        (SAMPLES[1:], OPTIONS),
        ([evolve(s, problem=evolve(PROBLEM, time_limit=3)) for s in SAMPLES], OPTIONS),
        ([evolve(s, problem=evolve(PROBLEM, setup_code="import os")) for s in SAMPLES], OPTIONS),
        (
            [
                evolve(s, problem=evolve(PROBLEM, hidden_tests=[AssertTest("assert f(2) == 2")]))
                for s in SAMPLES
            ],
            OPTIONS,
        ),
        (
            [evolve(s, problem=evolve(PROBLEM, hidden_tests=[StdioTest("", "")])) for s in SAMPLES],
            OPTIONS,
        ),
        (SAMPLES, StdioOptions(cpu_seconds=1.5)),
        (SAMPLES, StdioOptions(ignore_case=True)),
    ],
)
def test_verdicts_of_other_samples_or_settings_are_refused_and_kept(
    begun: Path, samples: Sequence[Sample], options: object
) -> None:
    before = begun.read_bytes()

    with pytest.raises(UsageError, match=r"line [12], is about another sample, or was judged with"):
        opened(begun, samples, options)
    assert begun.read_bytes() == before


def test_verdicts_with_other_packages_are_refused_and_kept(begun: Path) -> None:
    before = begun.read_bytes()

    for packages in ((), PACKAGES[:1], (*PACKAGES, "sympy")):
        with pytest.raises(UsageError, match="other settings or packages; name another file"):
            opened(begun, packages=packages)
    assert begun.read_bytes() == before


def test_a_checker_counts_by_what_is_in_its_file(tmp_path: Path) -> None:
    checker, path = tmp_path / "checker.py", tmp_path / "checked.jsonl"
    checker.write_text("def check(i, o, e): return True\n")
    with opened(path, options=StdioOptions(checker=checker)) as file:
        file.add(verdict(SAMPLES[0]))
    moved = checker.rename(tmp_path / "moved.py")
    opened(path, options=StdioOptions(checker=moved)).close()
    moved.write_text("def check(i, o, e): return False\n")
    with pytest.raises(UsageError, match="other settings"):
        opened(path, options=StdioOptions(checker=moved))


@pytest.mark.parametrize(
    "content",
    [
        b"notes",
        b"notes\n",
        b"\n",
        b"[1]\n",
        b"{}\n",
        b'{"task_id":"sum","completion":""}\n',
        b"\xff",
    ],
)
def test_what_is_no_file_of_verdicts_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)

    with pytest.raises(UsageError, match="line 1, holds no verdict; name another file"):
        opened(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_as_good_as_none_and_none_is_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "made" / "out.jsonl"
    with opened(path) as file:
        assert file.waiting == SAMPLES
    assert not path.exists()


def test_one_process_writes_it_at_a_time(begun: Path) -> None:
    with opened(begun), pytest.raises(UsageError, match="another process writes"):
        opened(begun)
    opened(begun).close()


def test_a_link_leads_to_the_file(begun: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(begun)
    with opened(link) as file:
        for sample in file.waiting:
            file.add(verdict(sample))
        file.finish()

    assert link.is_symlink()
    assert len(rows(begun)) == 5


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_costs_the_line_that_does_not_fit(begun: Path) -> None:
    before = begun.read_bytes()
    with opened(begun) as file:
        with (
            largest_file(len(before) + 100),
            pytest.raises(RunError, match=r"out\.jsonl: File too large; make room, then run "),
        ):
            file.add(verdict(SAMPLES[1]))
        assert begun.read_bytes() == before
        file.add(verdict(SAMPLES[1]))
    assert [row["line"] for row in rows(begun)] == [3, 1, 2]


def test_a_disk_that_is_full_at_the_end_costs_the_order_alone(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(begun) as file:
        for sample in file.waiting:
            file.add(verdict(sample))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            file.finish()

    assert sorted(str(row["line"]) for row in rows(begun)) == ["1", "2", "3", "4", "5"]
    assert [path.name for path in begun.parent.iterdir()] == ["out.jsonl"]


def test_text_that_json_cannot_hold_is_spelt_out(tmp_path: Path) -> None:
    with opened(tmp_path / "out.jsonl") as file:
        file.add(verdict(SAMPLES[0], "error", "\ud800"))
        assert rows(file.path)[0]["general_error"] == "\\ud800"
