from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from egcfg.config import RunConfig, load_config
from egcfg.config.components import (
    check_names,
    check_scorers,
    component_options,
    configured_sandbox,
    model_label,
    open_component,
)
from egcfg.config.schema import OptionValue, settings
from egcfg.datasets.selection import open_problems
from egcfg.errors import UnknownNameError, UsageError
from egcfg.plugins.hookspecs import Kind
from egcfg.prompts import worked_examples
from egcfg.prompts.worked_examples import OWN_EXAMPLES
from egcfg.runs.fingerprint import component_provenance
from egcfg.sandbox import DEFAULT_PACKAGES
from egcfg_backends_hf.loading.source import EMBEDDED_DISTRIBUTION, embedded_model

PROMPT = "deepseek_instruct"


def row(number: int) -> dict[str, Any]:
    return {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def f(x):\n    return x + {number}",
        "test_list": [f"assert f(1) == {1 + number}"],
        "test_setup_code": "",
        "challenge_test_list": [],
    }


def write(path: Path, *numbers: int) -> Path:
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in numbers))
    return path


@pytest.fixture
def mbpp_file(tmp_path: Path) -> Path:
    """Tasks 2 to 4, which are examples, and 11 to 12, which are problems; in MBPP's own shape."""
    return write(tmp_path / "mbpp.jsonl", 2, 3, 4, 11, 12)


def config(data: Path | None, **values: object) -> RunConfig:
    return evolve(RunConfig(dataset="mbpp", data=data, prompt=(PROMPT,)), **values)


def option(kind: Kind, name: str, value: object) -> OptionValue:
    return OptionValue(kind=kind, component="", name=name, value=value, origin="-o")


def examples_told(chosen: RunConfig) -> str:
    return str(component_provenance(chosen, PROMPT)["prompt"]["examples"])


def test_a_run_on_mbpp_takes_its_worked_examples_from_mbpp(mbpp_file: Path) -> None:
    for chosen in (
        config(mbpp_file),
        config(None, options=(option(Kind.DATASET, "path", str(mbpp_file)),)),
    ):
        assert component_options(chosen, Kind.PROMPT, PROMPT) == {"examples_path": mbpp_file}
        assert examples_told(chosen) == "MBPP 2, 3, 4"
        shown = open_component(chosen, Kind.PROMPT, PROMPT).examples
        assert [e.description for e in shown] == [row(n)["text"] for n in (2, 3, 4)]


def test_from_the_hub_they_are_the_hubs(monkeypatch: pytest.MonkeyPatch, mbpp_file: Path) -> None:
    read = worked_examples.mbpp_records
    asked = []

    def mbpp_records(path: Path | None, task_ids: tuple[int, ...]) -> Any:
        asked.append(path)
        return read(mbpp_file, task_ids)

    monkeypatch.setattr(worked_examples, "mbpp_records", mbpp_records)
    shown = open_component(config(None), Kind.PROMPT, PROMPT).examples
    assert asked == [None]
    assert [e.description for e in shown] == [row(n)["text"] for n in (2, 3, 4)]
    assert examples_told(config(None)) == "MBPP 2, 3, 4"


@pytest.mark.parametrize("numbers", [(11, 12), (2, 3, 11)])
def test_of_a_part_of_mbpp_without_them_they_are_our_own_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, numbers: tuple[int, ...]
) -> None:
    caplog.set_level("INFO")
    chosen = config(write(tmp_path / "part.jsonl", *numbers))
    assert open_component(chosen, Kind.PROMPT, PROMPT).examples == OWN_EXAMPLES
    assert examples_told(chosen) == "own"
    assert len(caplog.messages) == 1
    assert "part.jsonl lacks tasks 2, 3 and 4" in caplog.messages[0]


def test_prompts_without_examples_and_other_data_sets_take_none(mbpp_file: Path) -> None:
    assert component_options(config(mbpp_file), Kind.PROMPT, "chat") == {}
    other = config(mbpp_file, dataset="file")
    assert component_options(other, Kind.PROMPT, PROMPT) == {}
    assert examples_told(other) == "own"


def test_a_file_of_examples_given_by_hand_wins(mbpp_file: Path) -> None:
    chosen = config(mbpp_file, options=(option(Kind.PROMPT, "examples_path", "other.jsonl"),))
    assert component_options(chosen, Kind.PROMPT, PROMPT) == {"examples_path": "other.jsonl"}
    assert examples_told(chosen) == "other.jsonl 2, 3, 4"


def test_a_misspelt_guidance_rule_is_found_before_anything_is_opened() -> None:
    check_names(RunConfig())
    with pytest.raises(UnknownNameError, match="no guidance rule named 'nope'"):
        check_names(RunConfig(rule="nope"))


@pytest.mark.parametrize(
    "given", [{"flags": {"model": "org/m"}}, {"options": ["backend.model=org/m"]}]
)
def test_results_are_named_after_the_model_however_it_was_given(given: dict[str, object]) -> None:
    assert model_label(load_config(environment={}, **given).config) == "org/m"  # type: ignore[arg-type]


def test_the_default_model_has_a_name_that_needs_no_opening() -> None:
    try:
        metadata.version(EMBEDDED_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{EMBEDDED_DISTRIBUTION} is not installed")
    assert model_label(RunConfig()) == embedded_model().stem
    # An endpoint has no default model; that is its own to say.
    assert model_label(RunConfig(backend="openai")) is None


def test_a_scorer_that_does_not_fit_the_tests_is_told_before_anything_is_opened() -> None:
    config = RunConfig(dataset="quickstart", limit=1, scorer="check")
    with pytest.raises(UsageError, match="'check' takes a check function, not AssertTest; choose"):
        check_scorers(config, open_problems(config))


@pytest.mark.parametrize(
    ("given", "packages"),
    [(None, None), ("none", ()), ("numpy, sympy", ("numpy", "sympy"))],
)
def test_the_sandbox_has_the_packages_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: str | None, packages: tuple[str, ...] | None
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        "egcfg.config.components.Sandbox", lambda **options: asked.append(options["packages"])
    )
    configured_sandbox(RunConfig(sandbox_packages=given))
    assert asked == [packages]


def test_the_default_packages_are_those_that_the_help_names() -> None:
    assert (
        f"[{', '.join(DEFAULT_PACKAGES)}, where installed]" in settings()["sandbox_packages"].help
    )
