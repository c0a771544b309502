from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.config import RunConfig, load_config
from egcfg.errors import ConfigError
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.fingerprint import component_pins


def config(*options: str, file: Path | None = None, **flags: Any) -> RunConfig:
    return load_config({"backend": "openai", **flags}, options, file=file, environment={}).config


def backend_pins(chosen: RunConfig) -> dict[str, Any]:
    pins: dict[str, Any] = component_pins(chosen, "chat")["backend"]
    return pins


def test_a_default_is_pinned_as_if_it_had_been_given() -> None:
    assert backend_pins(config())["top_k"] == 20
    assert backend_pins(config("backend.top_k=20")) == backend_pins(config())
    assert backend_pins(config("backend.top_k=10")) != backend_pins(config())


def test_of_values_only_the_meaning_is_pinned(tmp_path: Path) -> None:
    file = tmp_path / "egcfg.toml"
    file.write_text("[prompt.deepseek_instruct]\nprefill = false\n")
    spellings = [
        config(file=file),
        config("prompt.deepseek_instruct.prefill=no"),
        config("prompt.deepseek_instruct.prefill=false"),
    ]
    pins = [component_pins(spelt, "deepseek_instruct")["prompt"] for spelt in spellings]
    assert pins[0]["prefill"] is False
    assert pins[0] == pins[1] == pins[2]


def test_a_deadline_is_not_pinned_nor_an_address() -> None:
    one = config("backend.timeout_s=5", base_url="http://h:1/v1", model="m")
    other = config("backend.base_url=http://h:2/v1", model="m")
    assert backend_pins(one) == backend_pins(other)
    assert "h:1" not in str(component_pins(one, "chat"))


def test_a_wrong_option_is_told_where_the_pins_are_made() -> None:
    for wrong in ("backend.top_k=0", "backend.topk=5"):
        with pytest.raises(ConfigError, match="top_k"):
            component_pins(config(wrong), "chat")


def test_the_two_ways_to_name_a_model_pin_the_same(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    by_option = config(f"backend.model={model}")
    assert backend_pins(by_option) == backend_pins(config(model=str(model)))
    assert backend_pins(by_option)["model"].startswith("sha256:")
    assert backend_pins(config(model="org/m"))["model"] == "org/m"


def test_checkpoints_of_one_name_are_pinned_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name / "ck-100" for name in ("a", "b")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes([number]) * 8)
    first, second = (backend_pins(config(model=str(folder))) for folder in folders)
    assert first != second


def test_a_scorer_is_pinned_where_it_was_chosen() -> None:
    assert Kind.SCORER.value not in component_pins(config(), "chat")
    assert component_pins(config(scorer="asserts"), "chat")["scorer"]["name"] == "asserts"
