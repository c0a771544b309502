"""Where results are kept, one file per unit.

    <results_dir>/<dataset>/<model>/<config string>/task_id=395_gamma=1.0.json
    <results_dir>/<dataset>/<model>/method=<name>,<options>/task_id=395.json
    <results_dir>/<dataset>/<model>/<config string>/task_id=395_gamma=1.0.record.jsonl.gz
    <results_dir>/<dataset>/<model>/<config string>/.provenance.json
    <results_dir>/<dataset>/<model>/<config string>/.claims/
    <results_dir>/<dataset>/<model>/solved_tasks/395.json
    <results_dir>/<dataset>/<model>/.claims/    of whole tasks
    <results_dir>/<dataset>/<model>/.spent/     what was spent; see `egcfg.usage.ledger`
    <results_dir>/<dataset>/<model>/.plans/     which units runs were to do, one file per grid

In the names of data set and model ``/`` is written ``_``. In a task id every character other than
letters, digits, ``_``, ``.``, ``-`` and ``~`` is written as in a URL: ``HumanEval/0`` is
``task_id=HumanEval%2F0_gamma=1.0.json``, and reads back; older tools' ``HumanEval_0`` is the same
task. ``.provenance.json`` says what
determines the text and is in no name; a run that differs in it is refused as long as there are
results.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import os
import re
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
from attrs import frozen

from egcfg.errors import RunError
from egcfg.runs.config_string import decimal_text
from egcfg.runs.files import (
    create_exclusively,
    read_whole,
    remove_leftovers,
    write_atomically,
)
from egcfg.runs.result_file import MalformedResultError, dump_result, load_result
from egcfg.runs.results import Result

__all__ = [
    "CLAIMS_NAME",
    "PLANS_NAME",
    "SOLVED_NAME",
    "SPENT_NAME",
    "SUFFIX_OF_RECORDS",
    "FileState",
    "ResultFile",
    "ResultsFolder",
    "flat",
    "is_result_name",
    "parse_unit_name",
    "read_result_file",
    "usefulness",
]

logger = logging.getLogger(__name__)

# A task id's own "=" is written as in a URL, so what follows "_gamma=" can only be a number.
RESULT_NAME = re.compile(
    r"task_id=(?P<task>(?:(?!_gamma=).)+)(?:_gamma=(?P<gamma>-?[0-9]+(?:\.[0-9]+)?))?\.json"
)
UNDERSCORED_ID = re.compile(r"(?P<dataset>HumanEval|Mbpp)_(?P<number>[0-9]+)")
SUFFIX_OF_RECORDS = ".record.jsonl.gz"
"""Ends the name of what tells how a result came about; see `egcfg.records`."""
PROVENANCE_NAME = ".provenance.json"
CLAIMS_NAME = ".claims"
SOLVED_NAME = "solved_tasks"
SPENT_NAME = ".spent"
PLANS_NAME = ".plans"
LONGEST_NAME = 200  # bytes; common file systems take 255, claims and suffixes need some


class FileState(enum.StrEnum):
    """What a result file is good for."""

    DONE = "done"
    EMPTY = "empty"  # a reservation that a crashed tool left
    BROKEN = "broken"


@frozen(kw_only=True)
class ResultFile:
    """One result file, as found in a folder.

    Attributes:
        path: the file.
        dataset: name of the folder of the data set.
        model: name of the folder of the model.
        config: name of the configuration's folder, its config string.
        task_id: the task's id.
        gamma: guidance strength; None where a whole method is the unit.
        state: what the file is good for.
        result: its content where `state` is done.
        problem: what is wrong with a broken one.
    """

    path: Path
    dataset: str
    model: str
    config: str
    task_id: str
    gamma: float | None
    state: FileState
    result: Result | None = None
    problem: str | None = None


@frozen
class ResultsFolder:
    """The results of one model on one data set.

    Attributes:
        results_dir: the folder that holds all results.
        dataset: name of the data set.
        model: name of the model.
    """

    results_dir: Path
    dataset: str
    model: str

    @cached_property
    def path(self) -> Path:
        """The folder of this model's results."""
        return self.results_dir / _folder_name(self.dataset) / _folder_name(self.model)

    @property
    def spent_path(self) -> Path:
        """The folder of what was spent on this model's results; see `egcfg.usage.ledger`."""
        return self.path / SPENT_NAME

    def result_path(self, config: str, task_id: str, gamma: float | None) -> Path:
        """Return the file of one unit.

        Raises:
            RunError: the task id is too long for a file name.
        """
        return self.path / config / f"{unit_name(task_id, gamma)}.json"

    def record_path(self, config: str, task_id: str, gamma: float | None) -> Path:
        """Return the file that tells how one unit's result came about.

        Raises:
            RunError: the task id is too long for a file name.
        """
        return self.path / config / f"{unit_name(task_id, gamma)}{SUFFIX_OF_RECORDS}"

    def claim_path(self, config: str, task_id: str, gamma: float | None) -> Path:
        """Return the stem of one unit's claim files; see `egcfg.runs.claims`."""
        return self.path / config / CLAIMS_NAME / unit_name(task_id, gamma)

    def task_claim_path(self, task_id: str) -> Path:
        """Return the stem of the claim files of a task, in all configurations."""
        return self.path / CLAIMS_NAME / f"task_id={file_name(task_id)}"

    def read(self, config: str, task_id: str, gamma: float | None) -> ResultFile | None:
        """Return the result file of a unit, under any spelling of its gamma; None: there is none.

        Raises:
            RunError: the file cannot be opened.
        """
        # As text: a run looks for thousands of files.
        path = f"{self.path}/{config}/{unit_name(task_id, gamma)}.json"
        spellings = [path]
        underscored = task_id.replace("/", "_", 1)
        if underscored != task_id == task_name(underscored):
            spellings.append(f"{self.path}/{config}/{unit_name(underscored, gamma)}.json")
        if gamma is not None and gamma.is_integer():
            spellings += [each.removesuffix(".0.json") + ".json" for each in spellings]
        found = [Path(each) for each in spellings if os.path.exists(each)]
        records = [_load_file(each, task_id, gamma) for each in found]
        return min(records, key=usefulness) if records else None

    def note_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep which units a run is to do, for whoever watches; an equal plan is kept once.

        What killed runs have left half written goes.

        Args:
            plan: its ``rows``, pairs of a configuration's folder and gamma, and its ``tasks``.

        Raises:
            RunError: the file system refused.
        """
        remove_leftovers(self.path)
        data = orjson.dumps(dict(plan))
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.json"
        write_atomically(self.path / PLANS_NAME / name, data, durable=False)

    def write(
        self,
        config: str,
        task_id: str,
        gamma: float | None,
        result: Result,
        *,
        folders: int | None = None,
    ) -> ResultFile:
        """Write the result of a unit; the first one to pass is kept as its task's solution.

        Of the folders above, `folders` are made; see `egcfg.runs.files.write_atomically`.

        Raises:
            RunError: the file system refused.
        """
        path = self.result_path(config, task_id, gamma)
        write_atomically(path, dump_result(result), folders=folders)
        if result.passed and self.solved(task_id) is None:
            write_atomically(self._solved_path(task_id), dump_result(result), folders=folders)
        return _result_file(path, task_id, gamma, FileState.DONE, result=result)

    def solved(self, task_id: str) -> Result | None:
        """Return the result that solved a task, in whatever configuration; None: none did."""
        path = self._solved_path(task_id)
        try:
            result = load_result(read_whole(path))
        except FileNotFoundError:
            return None
        except (OSError, MalformedResultError) as error:
            logger.warning("ignoring %s: %s", path, error)
            return None
        return result if result.passed else None

    def has_results(self, config: str) -> bool:
        """Whether a configuration's folder holds any result file that is not empty.

        Raises:
            RunError: the folder cannot be read.
        """
        folder = self.path / config
        try:
            with os.scandir(folder) as entries:
                return any(
                    RESULT_NAME.fullmatch(entry.name) and entry.stat().st_size > 0
                    for entry in entries
                )
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(folder, error) from error

    def write_with_provenance(
        self,
        config: str,
        task_id: str,
        gamma: float | None,
        result: Result,
        provenance: Mapping[str, Any],
        *,
        folders: int | None = None,
    ) -> ResultFile:
        """Do as `write` in a folder that says what its results were made with.

        Raises:
            RunError: the folder's results were made with other settings, those of a process that
                came first among them; or the file system refused. Nothing was added.
        """
        self.fix_provenance(config, provenance, folders=folders)
        record = self.write(config, task_id, gamma, result, folders=folders)
        try:
            # A process with other settings may have found no result a moment ago, and written its
            # own provenance. It looks for results after it took the old one away, this one looks
            # for its provenance after it wrote a result: of the two, one sees the other and gives
            # way.
            self.fix_provenance(config, provenance, folders=folders)
        except RunError:
            record.path.unlink(missing_ok=True)
            raise
        return record

    def fix_provenance(
        self, config: str, provenance: Mapping[str, Any], *, folders: int | None = None
    ) -> None:
        """Hold the provenance of a configuration's folder fixed from its first result on.

        The provenance that a run without a result left is replaced.

        Raises:
            RunError: the folder's results were made with other settings; the message lists them.
        """
        path = self.path / config / PROVENANCE_NAME
        # A trip through JSON makes both sides comparable: tuples are lists, enums text.
        wanted = orjson.loads(orjson.dumps(dict(provenance)))
        fixed = False
        while not fixed:
            try:
                kept = orjson.loads(read_whole(path))
            except FileNotFoundError:
                data = orjson.dumps(wanted, option=orjson.OPT_INDENT_2)
                fixed = create_exclusively(path, data, folders=folders)
                continue
            except (OSError, orjson.JSONDecodeError) as error:
                if not self._drop_provenance(config):
                    raise RunError(
                        f"cannot read {path}: {error}; delete it to vouch for the results beside "
                        "it, or choose another --results-dir"
                    ) from error
                continue
            fixed = kept == wanted
            if not fixed and not self._drop_provenance(config):
                raise RunError(
                    f"{path.parent} holds results of other settings ({_difference(kept, wanted)}); "
                    "run with those settings, or choose another --results-dir"
                )

    def _drop_provenance(self, config: str) -> bool:
        """Take away the provenance of a folder without results; return whether that was so."""
        if self.has_results(config):
            return False
        path = self.path / config / PROVENANCE_NAME
        # No name of a file that is being written: old as it is, another run would remove it.
        aside = path.with_name(f".dropped-{uuid.uuid4().hex}")
        try:
            path.rename(aside)
            if self.has_results(config):
                # Written meanwhile, so this provenance is its own.
                create_exclusively(path, aside.read_bytes())
                return False
            return True
        except FileNotFoundError:
            return True  # another process did the same
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            aside.unlink(missing_ok=True)

    def _solved_path(self, task_id: str) -> Path:
        return self.path / SOLVED_NAME / f"{file_name(task_id)}.json"


def read_result_file(path: Path) -> ResultFile:
    """Read one result file; whatever is in it, it is no error.

    Raises:
        RunError: the file cannot be opened, or its name is not one of a result file.
    """
    return _load_file(path, *parse_unit_name(path.name))


def _load_file(path: Path, task_id: str, gamma: float | None) -> ResultFile:
    try:
        data = read_whole(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    state, result, problem = FileState.EMPTY, None, None
    if data.strip():
        try:
            state, result = FileState.DONE, load_result(data)
        except MalformedResultError as error:
            state, problem = FileState.BROKEN, str(error)
    return _result_file(path, task_id, gamma, state, result=result, problem=problem)


def _result_file(
    path: Path, task_id: str, gamma: float | None, state: FileState, **content: Any
) -> ResultFile:
    """Return the record of a file, with what the names of its folders say."""
    # As text: a table is made of thousands of files.
    config, model, dataset = ["", "", "", *os.path.abspath(path).split("/")[1:-1]][:-4:-1]
    return ResultFile(
        path=path,
        dataset=dataset,
        model=model,
        config=config,
        task_id=task_id,
        gamma=gamma,
        state=state,
        **content,
    )


def unit_name(task_id: str, gamma: float | None) -> str:
    """Return the name of a unit within its configuration.

    Raises:
        RunError: the task id is too long for a file name.
    """
    name = f"task_id={file_name(task_id)}"
    return name if gamma is None else f"{name}_gamma={decimal_text(gamma)}"


def is_result_name(name: str) -> bool:
    """Whether a file of that name is a result."""
    return RESULT_NAME.fullmatch(name) is not None


def parse_unit_name(name: str) -> tuple[str, float | None]:
    """Return the task id and gamma (None: it has none) that a result file's name says.

    Raises:
        RunError: it is no result file's name.
    """
    match = RESULT_NAME.fullmatch(name)
    if match is None:
        raise RunError(f"{name!r} is not named as a result file: task_id=....json")
    gamma = None if match["gamma"] is None else float(match["gamma"])
    return task_name(unquote(match["task"], errors="surrogatepass")), gamma


def task_name(task_id: str) -> str:
    """Return a task id as its data set has it: ``HumanEval/0``, also for ``HumanEval_0``."""
    match = UNDERSCORED_ID.fullmatch(task_id)
    return task_id if match is None else f"{match['dataset']}/{match['number']}"


def file_name(task_id: str) -> str:
    """Return a task id as a file name that reads back; see the module's docstring.

    Raises:
        RunError: it is too long.
    """
    name = quote(task_id, safe="", errors="surrogatepass")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME:
        raise RunError(f"the task id {task_id[:40]!r}... is too long for a file name; shorten it")
    return name


def _folder_name(name: str) -> str:
    safe = name.replace("/", "_").replace("\0", "_")
    return f"_{safe}" if safe in ("", ".", "..") else safe


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot read {path}: {error.strerror}; check its rights")


def usefulness(record: ResultFile) -> int:
    """Return how much a record tells, the less the better, where a unit has several files."""
    if record.state is FileState.DONE:
        return 1 if record.result is not None and record.result.global_cached else 0
    return 2 if record.state is FileState.BROKEN else 3


def _difference(kept: Any, wanted: Any) -> str:
    """Return what differs, setting by setting: ``seed: 0 there, 1 now``."""
    old, new = flat(kept), flat(wanted)
    return "; ".join(
        f"{name}: {old.get(name, 'not set')} there, {new.get(name, 'not set')} now"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return JSON values as text by dotted names: ``{"decoding": {"seed": 0}}`` is
    ``{"decoding.seed": "0"}``."""
    if not isinstance(value, dict) or not value:
        return {prefix: orjson.dumps(value).decode()}
    return {
        name: text
        for key, item in value.items()
        for name, text in flat(item, f"{prefix}.{key}" if prefix else key).items()
    }
