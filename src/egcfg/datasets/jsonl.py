"""Your own problems: a JSON-lines file, plain or gzipped."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from egcfg.datasets.shapes import read_problems
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["JsonlDataset"]


class JsonlDataset(Dataset):
    """The problems of a file; `egcfg.datasets.shapes` tells which records it may hold."""

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            path: the file.
        """

        path: Path

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the problems in the file's order."""
        return read_problems(self.options.path)
