"""Problems from a file: your own, or any data set's whose shape is known."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from egcfg.datasets.shapes.table import read_problems
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["FileDataset"]


class FileDataset(Dataset):
    """The problems of a file; `egcfg.datasets.shapes.table` tells which records it may hold."""

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            path: the file: JSON lines, plain or gzipped, or Parquet.
            strict: whether one record that cannot be used refuses the file.
            visible: how many tests are visible, while all score; None: as the file says.
        """

        path: Path
        strict: bool = False
        visible: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the problems in the file's order."""
        options = self.options
        return read_problems(options.path, strict=options.strict, visible=options.visible)
