"""MBPP: from a file, or from the Hugging Face hub through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen, validators

from egcfg.datasets.hub import hub_records
from egcfg.datasets.records import Record, read_records
from egcfg.datasets.shapes.table import problems_from_records
from egcfg.errors import DataError, UnknownNameError
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
            strict: whether one record that cannot be used refuses the file.
            visible: how many asserts are visible, while all score; None: all, as published.
        """

        path: Path | None = None
        split: str = "test"
        strict: bool = False
        visible: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __init__(self, options: Options) -> None:
        if options.split not in SPLITS:
            raise UnknownNameError("split of mbpp", options.split, SPLITS)
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the split's tasks in the order of their ids."""
        options = self.options
        records = mbpp_records(options.path, SPLITS[options.split])
        return problems_from_records(records, strict=options.strict, visible=options.visible)


def mbpp_records(path: Path | None, task_ids: Iterable[int]) -> list[Record | DataError]:
    """Return the records with these task ids, in their order, and what is wrong with lines.

    Raises:
        DataError: the file is not MBPP's, lacks all of them, or the hub cannot be reached.
        MissingExtraError: there is no file, and the package ``datasets`` is not installed.
    """
    records = read_records(path) if path else hub_records(HUB_ID, "full")
    by_id: dict[str, Record] = {}
    faults = [record for record in records if isinstance(record, DataError)]
    for record in records:
        if isinstance(record, DataError):
            continue
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
    return [*found, *faults]
