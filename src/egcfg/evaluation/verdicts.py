"""The file of verdicts that ``egcfg score --out`` keeps: one JSON object per sample.

Each line is appended as soon as its sample is judged, and says by a fingerprint what was judged and
how. So what a stopped process left is gone on with: samples that have a verdict are not judged
again, not even those on which the sandbox failed: it would fail again. Once all are judged, the
lines are in the samples' order; until then in the order in which they came.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import orjson

from egcfg.errors import RunError, UsageError
from egcfg.evaluation.judging import Isolation, JudgedSample
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.runs.files import write_atomically
from egcfg.sandbox import Level

__all__ = ["VerdictFile"]

LINE_START = b'{"task_id":'
SCORE_FIELDS = [field.name for field in attrs.fields(Score) if field.name != "results"]


class VerdictFile:
    """A file of verdicts, locked while it is open; a context manager.

    Attributes:
        path: the file.
        verdicts: what it holds of the samples, by their line.
    """

    def __init__(
        self,
        path: Path,
        samples: Sequence[Sample],
        options: Mapping[str, Any],
        packages: Sequence[str],
    ) -> None:
        """Open or create the file, and read the verdicts that it holds.

        What a stopped process wrote of a line is cut off.

        Args:
            path: the file.
            samples: what is to be judged.
            options: the options of the scorer of each name, attrs objects.
            packages: names of those that programs may import.

        Raises:
            UsageError: it cannot be written, another process writes it, or it holds something else
                than verdicts of these samples by these options and with these packages.
            RunError: the file system refused.
        """
        self.path = Path(os.path.realpath(path))
        self._shown = path
        self._samples = {sample.line: sample for sample in samples}
        self._fingerprints = _fingerprints(samples, options, packages)
        self.verdicts: dict[int, JudgedSample] = {}
        self._lines: list[int] = []  # of the samples, as they stand in the file
        self._size = 0
        self._handle = self._open()
        try:
            self._read()
        except BaseException:
            os.close(self._handle)
            raise

    @property
    def waiting(self) -> list[Sample]:
        """The samples that are still to be judged."""
        return [sample for line, sample in self._samples.items() if line not in self.verdicts]

    def add(self, judged: JudgedSample) -> None:
        """Append a verdict.

        Raises:
            RunError: the file system refused; the file holds what it held before.
        """
        line = self._line(judged)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise RunError(
                f"cannot write {self._shown}: {error.strerror or error}; make room, then run the "
                "same command again: the verdicts so far are kept"
            ) from error
        self._size += len(line)
        self._lines.append(judged.sample.line)
        self.verdicts[judged.sample.line] = judged

    def finish(self) -> list[JudgedSample]:
        """Bring the lines into the samples' order, and return all verdicts.

        Raises:
            RunError: the file system refused; the file holds the same lines in another order.
        """
        in_order = [self.verdicts[line] for line in self._samples]
        if self._lines != list(self._samples):
            write_atomically(self.path, b"".join(map(self._line, in_order)))
        return in_order

    def close(self) -> None:
        """Close the file; one that holds nothing is removed."""
        if not self._size:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> int:
        """Open and lock the file."""
        if self._shown.suffix == ".gz":
            raise UsageError(
                f"--out: {self._shown} would be no gzip: verdicts are added one by one, as they "
                "come; leave out .gz, and compress the file at the end"
            )
        if self.path.exists() and not self.path.is_file():
            raise self._refused("it is no regular file")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from error
        try:
            # The lines are brought into order by another file that takes this one's place.
            if not os.access(self.path.parent, os.W_OK):
                raise self._refused(f"no files can be made in {self.path.parent}")
            with contextlib.suppress(OSError):  # some network file systems have no locks
                self._lock(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"--out: another process writes {self._shown}; wait for it or name another file"
            ) from error

    def _refused(self, reason: str) -> UsageError:
        return UsageError(
            f"--out: cannot write {self._shown}: {reason}; name a file in a folder of yours"
        )

    def _read(self) -> None:
        """Take over the verdicts in the file, and cut off a line that was not finished."""
        with open(self._handle, "rb", closefd=False) as file:
            *lines, rest = file.read().split(b"\n")
        if rest and not (rest.startswith(LINE_START) or LINE_START.startswith(rest)):
            lines.append(rest)  # which is none that a stopped process began
        for number, line in enumerate(lines, start=1):
            judged = self._judged(number, line)
            self.verdicts[judged.sample.line] = judged
            self._lines.append(judged.sample.line)
            self._size += len(line) + 1
        os.ftruncate(self._handle, self._size)

    def _judged(self, number: int, line: bytes) -> JudgedSample:
        """Return the verdict of a line of the file."""
        try:
            row = orjson.loads(line)
            sample, fingerprint = self._samples.get(row["line"]), row["fingerprint"]
            score = Score(
                results=[_result(test) for test in row["tests"]],
                **{name: row[name] for name in SCORE_FIELDS},
            )
            isolation = Isolation(
                level=Level(row["isolation"]["level"]), layers=row["isolation"]["layers"]
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"--out: {self._shown}, line {number}, holds no verdict; name another file"
            ) from error
        if sample is None or fingerprint != self._fingerprints[sample.line]:
            raise UsageError(
                f"--out: {self._shown}, line {number}, is about another sample, or was judged with "
                "other settings or packages; name another file, or delete this one to judge all "
                "again"
            )
        return JudgedSample(sample=sample, score=score, isolation=isolation)

    def _line(self, judged: JudgedSample) -> bytes:
        """Return a verdict as a line of the file."""
        sample = judged.sample
        score = attrs.asdict(judged.score, value_serializer=_storable)
        row = {
            "task_id": sample.problem.task_id,
            "line": sample.line,
            "passed": judged.score.passed,
            "status": judged.status.value,
            "extracted": sample.extracted,
            "empty": sample.empty,
            **{name: score[name] for name in SCORE_FIELDS},
            "tests": score["results"],
            "packages": list(judged.score.packages),
            "isolation": judged.isolation.as_json(),
            "fingerprint": self._fingerprints[sample.line],
        }
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _result(test: dict[str, Any]) -> TestResult:
    """Return a test's result as it was when it was written."""
    status, packages = TestStatus(test["status"]), tuple(test["packages"])
    return TestResult(**{**test, "status": status, "packages": packages})


def _fingerprints(
    samples: Iterable[Sample], options: Mapping[str, Any], packages: Sequence[str]
) -> dict[int, str]:
    """Return by line what identifies a sample, its tests and how it is judged."""
    by_problem: dict[int, str] = {}
    found = {}
    for sample in samples:
        problem = sample.problem
        if id(problem) not in by_problem:
            by_problem[id(problem)] = _digest(
                [_settings(problem, options[problem.scorer]), list(packages)]
            )
        found[sample.line] = _digest([by_problem[id(problem)], sample.program])
    return found


def _settings(problem: Problem, options: Any) -> list[Any]:
    """Return what a verdict on a program of `problem` depends on, besides the program."""
    tests = [[type(test).__name__, _plain(test)] for test in problem.scoring_tests]
    kept = attrs.asdict(
        problem,
        recurse=False,
        filter=lambda attribute, _: not attribute.name.endswith("_tests"),
    )
    return [kept, tests, _plain(options)]


def _plain(value: Any) -> Any:
    return attrs.asdict(value) if attrs.has(type(value)) else repr(value)


def _digest(value: Any) -> str:
    text = json.dumps(value, default=_content)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _content(value: Any) -> str:
    """Return what identifies a value that JSON does not know; of a file, what is in it."""
    if isinstance(value, Path):
        with contextlib.suppress(OSError):
            return hashlib.sha256(value.read_bytes()).hexdigest()
    return repr(value)


def _storable(_score: object, _field: object, value: Any) -> Any:
    """Return a value of a score as JSON can hold it: without lone surrogates, times in short."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, str) and not isinstance(value, TestStatus):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
