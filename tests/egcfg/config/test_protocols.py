from __future__ import annotations

from pathlib import Path

import pytest

from egcfg.config import load_config
from egcfg.config.protocols import PROTOCOLS
from egcfg.config.render import to_toml
from egcfg.datasets.selection import dataset_label, open_dataset
from egcfg.errors import ConfigError, UnknownNameError
from egcfg.plugins.hookspecs import Kind


def load(*, environment=None, file=None, options=(), **flags):
    return load_config(flags, options, file=file, environment=environment or {})


def visible(effective) -> object:
    given = effective.config.options_for(Kind.DATASET, effective.config.dataset)
    return given["visible"].value if "visible" in given else None


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_a_data_set_and_its_visible_tests(name: str) -> None:
    effective = load(protocol=name)
    protocol = PROTOCOLS[name]
    assert effective.config.dataset == protocol.dataset
    assert visible(effective) == protocol.visible
    assert effective.origins["dataset"] == f"--protocol: {name}"
    assert dataset_label(effective.config) == name
    open_dataset(protocol.dataset, None, {"visible": protocol.visible})  # it has such an option


def test_one_of_mbpps_asserts_is_seen_of_the_three_that_score(tmp_path: Path) -> None:
    from egcfg.datasets.selection import open_problems

    path = tmp_path / "mbpp.jsonl"
    path.write_text(
        '{"task_id": 11, "text": "Double it.", "code": "", "test_setup_code": "", '
        '"test_list": ["assert f(1) == 2", "assert f(2) == 4", "assert f(3) == 6"], '
        '"challenge_test_list": []}\n'
    )
    for name, seen in (("mbpp-1", 1), ("mbpp-published", 3)):
        [problem] = open_problems(load(protocol=name, data=str(path)).config)
        assert (len(problem.visible_tests), len(problem.scoring_tests)) == (seen, 3)


def test_an_unknown_one_has_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mbpp-1'"):
        load(protocol="mbpp1")


def test_it_stands_against_another_data_set() -> None:
    with pytest.raises(ConfigError, match=r"is of the data set 'mbpp', not 'humaneval'"):
        load(protocol="mbpp-1", dataset="humaneval")
    assert load(protocol="mbpp-1", dataset="mbpp").config.dataset == "mbpp"


@pytest.mark.parametrize("option", ["dataset.visible=2", "dataset.mbpp.visible=2"])
def test_it_stands_against_another_number_of_visible_tests(option: str) -> None:
    with pytest.raises(ConfigError, match="says already which tests are visible"):
        load(protocol="mbpp-1", options=[option])
    with pytest.raises(ConfigError, match="says already which tests are visible"):
        load(protocol="mbpp-published", options=[option])
    assert visible(load(protocol="mbpp-1", options=["dataset.visible=1"])) == "1"


def test_it_stands_against_another_choice_of_the_tests_that_are_executed() -> None:
    with pytest.raises(ConfigError, match=r"--decoder-tests: the protocol 'mbpp-1' says already"):
        load(protocol="mbpp-1", decoder_tests="none")
    assert load(protocol="mbpp-1", decoder_tests="visible").config.protocol == "mbpp-1"


def test_the_stronger_source_says_what_is_solved() -> None:
    chosen = load(environment={"EGCFG_DATASET": "humaneval"}, protocol="mbpp-1")
    assert chosen.config.dataset == "mbpp"
    chosen = load(environment={"EGCFG_PROTOCOL": "mbpp-1"}, dataset="humaneval")
    assert (chosen.config.dataset, chosen.config.protocol) == ("humaneval", None)
    assert visible(chosen) is None


def test_a_configuration_file_made_of_it_says_the_same(tmp_path: Path) -> None:
    effective = load(protocol="mbpp-1")
    file = tmp_path / "egcfg.toml"
    file.write_text(to_toml(effective))
    again = load(file=file)
    assert again.config == effective.config
