"""The seam to problems: a source of `Problem` values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from egcfg.interfaces.problem import Problem

__all__ = ["Dataset"]


class Dataset(ABC):
    """A named, ordered set of problems. Subclasses take one argument, their options."""

    Options: ClassVar[type]
    """The attrs class of this data set's options."""

    @abstractmethod
    def problems(self) -> list[Problem]:
        """Return every problem, in the data set's order; their task ids are unique.

        Raises:
            DataError: the data cannot be read; the message names file, line and field.
            MissingExtraError: a package that holds the data is not installed.
        """
