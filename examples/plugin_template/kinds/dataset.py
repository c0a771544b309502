"""A data set in a CSV file with the columns description, function and test."""

import csv
from pathlib import Path

from attrs import field, frozen

from egcfg import AssertTest, Dataset, Problem
from egcfg.errors import DataError


@frozen(kw_only=True)
class Options:
    """Options of the data set.

    Attributes:
        path: the file; `--data FILE` sets it.
    """

    path: Path | None = field(default=None)


class CsvDataset(Dataset):
    """A problem a line, its one test seen and scored."""

    Options = Options

    def __init__(self, options):
        self.options = options

    def problems(self):
        """Return the problems in the file's order."""
        if self.options.path is None:
            raise DataError("which file? pass --data FILE")
        try:
            with self.options.path.open(newline="", encoding="utf-8") as file:
                return [self._problem(*each) for each in enumerate(csv.DictReader(file), start=2)]
        except OSError as error:
            raise DataError(f"{self.options.path}: {error.strerror}; check the path") from error

    def _problem(self, line, row):
        for column in ("description", "function", "test"):
            if not row.get(column):
                raise DataError(f"{self.options.path}, line {line}: {column} is empty")
        return Problem(
            task_id=str(line - 1),
            description=row["description"],
            entry_point=row["function"],
            visible_tests=[AssertTest(row["test"])],
        )
