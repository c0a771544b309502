from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.config import load_config
from egcfg.errors import ConfigError

ADDRESS = "https://u:SECRET@h/v1"


@pytest.mark.parametrize(
    "given",
    [
        {"flags": {"base_url": ADDRESS}},
        {"options": [f"backend.base_url={ADDRESS}"]},
        {"options": [f"backend.fireworks.base_url={ADDRESS}"]},
        {"environment": {"EGCFG_BASE_URL": ADDRESS}},
    ],
)
def test_no_source_takes_an_address_with_a_password(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(**{"environment": {}, **given})
    assert "SECRET" not in str(caught.value)


def test_a_file_takes_none_either(tmp_path: Path) -> None:
    file = tmp_path / "egcfg.toml"
    file.write_text(f'[backend.openai]\nbase_url = "{ADDRESS}"\n')
    with pytest.raises(ConfigError, match=r"backend\.openai\.base_url") as caught:
        load_config(file=file, environment={})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", ["model", "base_url", "tokenizer", "device", "dtype"])
def test_a_setting_and_the_backends_option_of_its_name_are_one(name: str) -> None:
    by_flag = load_config({name: "http://h"}, environment={}).config
    for text in (f"backend.{name}=http://h", f"backend.hf.{name}=http://h"):
        assert load_config(options=[text], environment={}).config == by_flag


def test_an_option_of_another_backend_is_no_setting() -> None:
    config = load_config(options=["backend.openai.model=x"], environment={}).config
    assert config.model is None
    assert [option.component for option in config.options] == ["openai"]


def test_of_the_two_the_stronger_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "egcfg.toml"
    file.write_text('[backend]\nmodel = "of-file"\n')
    effective = load_config({"model": "of-flag"}, file=file, environment={})
    assert (effective.config.model, effective.origins["model"]) == ("of-flag", "--model")
    assert effective.config.options == ()
    alone = load_config(file=file, environment={})
    assert (alone.config.model, alone.origins["model"]) == ("of-file", f"{file}: backend.model")
