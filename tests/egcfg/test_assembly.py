from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from egcfg.assembly import (
    check_names,
    check_scorers,
    model_label,
    offline_model,
    open_problems,
)
from egcfg.config import RunConfig, load_config
from egcfg.errors import UnknownNameError, UsageError
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.embedded import EMBEDDED_DISTRIBUTION, embedded_model
from egcfg_backends_hf.options import HFOptions


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


def test_what_is_known_of_a_model_on_disk_is_what_the_opened_model_says(tiny_llama: Path) -> None:
    offline = offline_model(RunConfig(model=str(tiny_llama)))
    assert offline is not None
    tokenizer = offline.tokenizer()
    assert tokenizer is not None
    with HFBackend(HFOptions(model=str(tiny_llama), device="cpu")) as backend:
        assert offline.model_name == backend.model_name
        for text in ("def f(x):\n    return x\n", "", "naïve ☃"):
            assert tokenizer.count_tokens(text) == backend.count_tokens(text)


def test_a_scorer_that_does_not_fit_the_tests_is_told_before_anything_is_opened() -> None:
    config = RunConfig(dataset="quickstart", limit=1, scorer="check")
    with pytest.raises(UsageError, match="'check' takes a check function, not AssertTest; choose"):
        check_scorers(config, open_problems(config))
