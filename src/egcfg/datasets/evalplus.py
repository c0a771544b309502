"""HumanEval+ and MBPP+ (Liu et al. 2023): from EvalPlus' release files, or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.datasets.hub import hub_records
from egcfg.datasets.records import read_records
from egcfg.datasets.shapes.table import problems_from_records
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["HumanEvalPlusDataset", "MbppPlusDataset"]


class _EvalPlusDataset(Dataset):
    """A data set of EvalPlus.

    Attributes:
        hub_id: where the hub has it.
    """

    hub_id: ClassVar[str]

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            path: a release file of EvalPlus; None: from the hub, or its local cache.
            strict: whether one record that cannot be used refuses the file.
            visible: how many tests are visible, while all score; None: HumanEval+: the docstring's
                examples, MBPP+: the base asserts.
        """

        path: Path | None = None
        strict: bool = False
        visible: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the tasks in published order."""
        options = self.options
        records = read_records(options.path) if options.path else hub_records(self.hub_id)
        return problems_from_records(records, strict=options.strict, visible=options.visible)


class HumanEvalPlusDataset(_EvalPlusDataset):
    """HumanEval with some 80 times its tests."""

    hub_id = "evalplus/humanevalplus"


class MbppPlusDataset(_EvalPlusDataset):
    """378 tasks of MBPP, corrected, with some 35 times their tests."""

    hub_id = "evalplus/mbppplus"
