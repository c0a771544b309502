"""No test is skipped silently: a skip for a reason that is not listed fails, as .ci/run has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KNOWN = ROOT / ".ci" / "known_skips.txt"
TESTS = """
import pytest

@pytest.fixture
def absent():
    pytest.skip("never heard of")

def test_passes(): ...

@pytest.mark.skip(reason="listed")
def test_known(): ...

@pytest.mark.skipif(True, reason="not listed")
def test_marked(): ...

def test_by_fixture(absent): ...

def test_by_itself(): pytest.skip("now and then")

@pytest.mark.xfail(reason="not listed", strict=True)
def test_expected_to_fail(): raise ValueError
"""
WHOLE = "import pytest\npytest.importorskip('no_such_package')\ndef test_within(): ..."


def run_tests(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder with the hooks of this one."""
    (folder / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options, "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [(), ("--numprocesses", "1")], ids=["one process", "worker"])
def test_a_skip_for_an_unknown_reason_fails(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    (tmp_path / "known.txt").write_text(
        "# comment\ntest_some.py: listed\ntest_other.py: not listed"
    )
    listed = ("--known-skips", "known.txt", "--continue-on-collection-errors")
    ran = run_tests(tmp_path, *listed, *workers)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED
    assert "known.txt has no line\ntest_some.py: not listed" in ran.stdout
    assert "known.txt has no line\ntest_some.py: never heard of" in ran.stdout
    assert "known.txt has no line\ntest_some.py: now and then" in ran.stdout
    assert "known.txt has no line\ntest_whole.py: could not import 'no_such_package'" in ran.stdout
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 3 errors in" in ran.stdout


def test_without_a_list_tests_are_skipped_as_ever(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    ran = run_tests(tmp_path)
    assert ran.returncode == pytest.ExitCode.OK
    assert "1 passed, 4 skipped, 1 xfailed in" in ran.stdout


def test_each_line_of_the_list_is_of_a_test_that_there_is() -> None:
    lines = [line for line in KNOWN.read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert lines == list(dict.fromkeys(lines))
    for line in lines:
        file, _, reason = line.partition(": ")
        # A test of a conformance suite is skipped by the suite.
        sources = [ROOT / file, *(ROOT / "src/egcfg/testing").glob("*_suite.py")]
        assert any(f'"{reason}"' in source.read_text("utf-8") for source in sources), line
