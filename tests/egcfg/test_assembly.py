from __future__ import annotations

import pytest

from egcfg.assembly import check_names, model_label
from egcfg.config import RunConfig, load_config
from egcfg.errors import UnknownNameError


def test_a_misspelt_guidance_rule_is_found_before_anything_is_opened() -> None:
    check_names(RunConfig())
    with pytest.raises(UnknownNameError, match="no guidance rule named 'nope'"):
        check_names(RunConfig(rule="nope"))


@pytest.mark.parametrize(
    "given", [{"flags": {"model": "org/m"}}, {"options": ["backend.model=org/m"]}]
)
def test_results_are_named_after_the_model_however_it_was_given(given: dict[str, object]) -> None:
    assert model_label(load_config(environment={}, **given).config) == "org/m"  # type: ignore[arg-type]
