"""MBPP: from a file, or from the Hugging Face hub through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from egcfg.datasets.jsonlines import Record, read_records
from egcfg.datasets.shapes import problems_from_records
from egcfg.errors import DataError, MissingExtraError, UnknownNameError
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["SPLITS", "MbppDataset", "mbpp_records"]

HUB_ID = "google-research-datasets/mbpp"
SPLITS: Mapping[str, range] = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
    "all": range(1, 975),
}
"""The published splits, as task ids. The hub has the same."""


class MbppDataset(Dataset):
    """The tasks of MBPP (Austin et al. 2021); all their tests are visible, and score."""

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            path: ``mbpp.jsonl``, plain or gzipped; None: from the hub, or its local cache.
            split: prompt (1-10), test (11-510), validation (511-600), train (601-974) or all.
        """

        path: Path | None = None
        split: str = "test"

    def __init__(self, options: Options) -> None:
        if options.split not in SPLITS:
            raise UnknownNameError("split of mbpp", options.split, SPLITS)
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the split's tasks in the order of their ids."""
        return problems_from_records(mbpp_records(self.options.path, SPLITS[self.options.split]))


def mbpp_records(path: Path | None, task_ids: Iterable[int]) -> list[Record]:
    """Return the records with these task ids, in their order.

    Raises:
        DataError: the file is not MBPP's, lacks all of them, or the hub cannot be reached.
        MissingExtraError: there is no file, and the package ``datasets`` is not installed.
    """
    records = read_records(path) if path else _from_hub()
    by_id: dict[str, Record] = {}
    for record in records:
        record.items("test_list")
        task_id = record.name("task_id")
        first = by_id.setdefault(task_id, record)
        if first is not record:
            raise record.error("task_id", f"{task_id!r} is taken by line {first.line}; remove one")
    found = [by_id[str(number)] for number in task_ids if str(number) in by_id]
    if not found:
        raise DataError(
            f"{path or HUB_ID} holds no task of this split; choose another: -o dataset.split=all"
        )
    return found


def _from_hub() -> list[Record]:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "to load MBPP from the hub, run: pip install 'egcfg[datasets]'; "
            "or give a file: --data mbpp.jsonl"
        ) from error
    try:
        splits: Mapping[str, Iterable[dict[str, Any]]] = datasets.load_dataset(HUB_ID, "full")
        rows = [row for split in splits.values() for row in split]
    except Exception as error:
        # The hub's client raises what its layers raise: HTTP, file, cache and format errors.
        raise DataError(
            f"cannot load {HUB_ID} from the hub ({type(error).__name__}: {error}); "
            "check the connection, or give a file: --data mbpp.jsonl"
        ) from error
    return [Record(HUB_ID, number, row) for number, row in enumerate(rows, start=1)]
