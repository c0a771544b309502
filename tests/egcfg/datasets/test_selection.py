from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from egcfg.config import RunConfig
from egcfg.datasets.file import FileDataset
from egcfg.datasets.mbpp import MbppDataset
from egcfg.datasets.quickstart import QuickstartDataset
from egcfg.datasets.selection import dataset_label, open_dataset, select
from egcfg.errors import ConfigError, UnknownNameError, UsageError
from egcfg.interfaces.problem import AssertTest, Problem

Write = Callable[..., Path]


def problems(*task_ids: str) -> list[Problem]:
    test = AssertTest("assert f(1)")
    return [
        Problem(task_id=i, description="", entry_point="f", visible_tests=[test]) for i in task_ids
    ]


class TestOpening:
    def test_a_name_opens_a_registered_data_set(self) -> None:
        assert isinstance(open_dataset("quickstart"), QuickstartDataset)

    @pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz"])
    def test_a_file_opens_as_ones_own_problems(self, name: str) -> None:
        dataset = open_dataset(name)
        assert isinstance(dataset, FileDataset)
        assert dataset.options.path == Path(name)

    def test_data_and_options_reach_the_data_set(self) -> None:
        dataset = open_dataset("mbpp", Path("m.jsonl"), {"split": "all"})
        assert isinstance(dataset, MbppDataset)
        assert dataset.options == MbppDataset.Options(path=Path("m.jsonl"), split="all")

    def test_a_path_from_a_flag_is_text(self, write: Write) -> None:
        line = {"task_id": 1, "description": "x", "tests": ["assert f(1)"]}
        assert len(open_dataset("file", None, {"path": str(write(line))}).problems()) == 1

    def test_an_unknown_name_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'humaneval'"):
            open_dataset("human_eval")

    def test_data_for_a_data_set_that_reads_no_file(self) -> None:
        with pytest.raises(UsageError, match="'quickstart' reads no file; leave out --data"):
            open_dataset("quickstart", Path("m.jsonl"))

    def test_two_files(self) -> None:
        with pytest.raises(UsageError, match="two files were given"):
            open_dataset("a.jsonl", Path("b.jsonl"))

    def test_an_unknown_option(self) -> None:
        with pytest.raises(ConfigError, match="no option 'spilt'; did you mean 'split'"):
            open_dataset("mbpp", None, {"spilt": "all"})

    @pytest.mark.parametrize(
        ("name", "label"),
        [("mbpp", "mbpp"), ("dir/own.jsonl", "own"), ("own.v2.jsonl.gz", "own.v2")],
    )
    def test_results_name_a_file_without_folder_and_ending(self, name: str, label: str) -> None:
        assert dataset_label(RunConfig(dataset=name)) == label


class TestSelecting:
    all = problems("HumanEval/0", "HumanEval/1", "HumanEval/10", "7")

    def ids(self, **how: object) -> list[str]:
        return [p.task_id for p in select(self.all, **how)]  # type: ignore[arg-type]

    def test_everything_without_a_wish(self) -> None:
        assert self.ids() == ["HumanEval/0", "HumanEval/1", "HumanEval/10", "7"]

    def test_ids_whole_or_by_their_end_in_the_data_sets_order(self) -> None:
        assert self.ids(task_ids=["10", "HumanEval/0", "7"]) == [
            "HumanEval/0",
            "HumanEval/10",
            "7",
        ]

    def test_a_whole_id_wins_over_an_end(self) -> None:
        chosen = select(problems("a/1", "1"), ["1"])
        assert [p.task_id for p in chosen] == ["1"]

    def test_an_end_that_fits_two_tasks_is_refused(self) -> None:
        with pytest.raises(UnknownNameError, match="'1'"):
            select(problems("a/1", "b/1"), ["1"])

    def test_range_then_limit(self) -> None:
        assert self.ids(start=1, end=3) == ["HumanEval/1", "HumanEval/10"]
        assert self.ids(start=1, limit=1) == ["HumanEval/1"]

    def test_an_unknown_id_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'HumanEval/10'"):
            select(self.all, ["HumanEvol/10"])

    @pytest.mark.parametrize("how", [{"limit": 0}, {"start": 9}, {"end": 0}])
    def test_nothing_left_is_told(self, how: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="none of the 4 problems is left"):
            self.ids(**how)
