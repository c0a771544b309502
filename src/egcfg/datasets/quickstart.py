"""A dozen easy problems, so that even a tiny model has something to solve."""

from __future__ import annotations

from importlib.resources import as_file, files

from attrs import frozen

from egcfg.datasets.shapes.table import read_problems
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["QuickstartDataset"]


class QuickstartDataset(Dataset):
    """The built-in problems; each has visible and hidden asserts."""

    @frozen
    class Options:
        """There is nothing to choose."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the problems, the easiest first."""
        with as_file(files("egcfg.datasets") / "quickstart.jsonl") as path:
            return read_problems(path)
