"""Settings from every source: precedence, types, refusals, and the three ways to show them."""

from __future__ import annotations

import json
import logging
import math
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.cli.terminal import printable_json
from egcfg.config import Executor, Order, RunConfig, SandboxMode, Schedule, load_config
from egcfg.config.load import (
    ConfigSource,
    EffectiveConfig,
    from_environment,
    from_file,
    from_flags,
    merge,
)
from egcfg.config.render import to_json, to_text, to_toml
from egcfg.config.schema import SIGNAL_AXES, OptionValue, settings
from egcfg.config.secrets import looks_secret
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ConfigError
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.config_string import SignalConfig, signal_configs
from egcfg.runs.legacy import read_session, read_signals


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "egcfg.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- the table ----------------------------------------------------------------------------------


def test_every_field_of_the_configuration_is_a_row_of_the_table() -> None:
    assert {f.name for f in attrs.fields(RunConfig)} - {"options"} == settings().keys()


def test_names_of_flags_and_variables_follow_from_the_setting() -> None:
    setting = settings()["top_p"]

    assert (setting.flag, setting.variable) == ("--top-p", "EGCFG_TOP_P")


def test_short_flags_are_unique() -> None:
    short = [setting.short for setting in settings().values() if setting.short]

    assert len(short) == len(set(short))


def test_defaults_are_those_of_decoding() -> None:
    config, decoding = RunConfig(), DecodingSettings()

    for name in settings().keys() & {f.name for f in attrs.fields(DecodingSettings)} - {"gamma"}:
        value = getattr(config, name)
        assert (value[0] if isinstance(value, tuple) else value) == getattr(decoding, name), name


# --- precedence ---------------------------------------------------------------------------------


def test_flags_win_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    file = _file(tmp_path, 'seed = 1\nlimit = 1\nmodel = "of-file"\ntracer = "minimal"\n')
    environment = {"EGCFG_LIMIT": "2", "EGCFG_MODEL": "of-environment"}

    effective = load_config({"model": "of-flag"}, file=file, environment=environment)

    config = effective.config
    assert (config.model, config.limit, config.seed) == ("of-flag", 2, 1)
    assert effective.origins["model"] == "--model"
    assert effective.origins["limit"] == "environment: EGCFG_LIMIT"
    assert effective.origins["seed"] == f"{file}: seed"
    assert effective.origins["backend"] == "default"


def test_the_file_of_the_working_directory_is_read_without_being_named(tmp_path: Path) -> None:
    _file(tmp_path, "seed = 5\n")

    assert load_config(environment={}).config.seed == 5


def test_files_of_parent_folders_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file(tmp_path, "seed = 5\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")

    assert load_config(environment={}).config.seed == 0


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("seed = 6\n")

    assert load_config(environment={"EGCFG_CONFIG": str(other)}).config.seed == 6


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read"):
        load_config(file=tmp_path / "nowhere.toml", environment={})


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("gamma", ("0", "1.5"), (0.0, 1.5)),
        ("gamma", 3, (3.0,)),
        ("gamma", ["1", "1.0", 1], (1.0,)),
        ("horizon", ["inf", 2], (None, 2)),
        ("horizon", math.inf, (None,)),
        ("unit", "token", (GuidanceUnit.TOKEN,)),
        ("task", [395, "HumanEval/0"], ("395", "HumanEval/0")),
        ("task", [], ()),
        ("partial", "yes", True),
        ("partial", False, False),
        ("limit", "7", 7),
        ("results_dir", "out", Path("out")),
        ("sandbox", "strict", SandboxMode.STRICT),
        ("schedule", "rounds", Schedule.ROUNDS),
        ("executor", "ray", Executor.RAY),
        ("order", "cheap_first", Order.CHEAP_FIRST),
        ("signal", "ns2t0.75d2_ln", ("ns2t0.75d2_ln",)),
    ],
)
def test_values_get_their_declared_type(name: str, raw: Any, expected: Any) -> None:
    assert getattr(load_config({name: raw}, environment={}).config, name) == expected


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("gamma", "abc", "--gamma: 'abc' is not a number"),
        ("gamma", "nan", "--gamma: 'nan' is not a number"),
        ("gamma", [], "--gamma: needs at least one value"),
        ("temperature", True, "--temperature: True is not a number"),
        ("horizon", "far", "--horizon: 'far' is neither a whole number nor inf"),
        ("horizon", "0", "--horizon: must be >= 1: 0; for no limit, write inf"),
        (
            "candidates",
            "0",
            "must be >= 1: 0; for decoding without any, set --gamma 0",
        ),
        ("seed", "1.5", "--seed: '1.5' is not a whole number"),
        ("seed", 3.0, "--seed: 3.0 is not a whole number"),
        ("limit", "0", "--limit: must be at least 1, not 0"),
        ("start", "-1", "--start: must be at least 0, not -1"),
        ("top_p", "2", "--top-p: must be <= 1: 2.0"),
        ("unit", "lin", "--unit: 'lin' is not possible; did you mean 'line'?"),
        ("sandbox", "off", "--sandbox: 'off' is not possible; choose from: auto, strict"),
        (
            "sandbox_packages",
            "numpy,,scipy",
            "--sandbox-packages: must be none, or names of packages such as numpy,scipy",
        ),
        ("sandbox_packages", "none,scipy", "--sandbox-packages: must be none, or names"),
        ("partial", "perhaps", "--partial: 'perhaps' is neither true nor false"),
        ("model", "", "--model: the text is empty"),
        ("model", ["a"], "--model: ['a'] is not text"),
        ("signal", "ns2", "position 4: expected 't' and a temperature"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(name: str, raw: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({name: raw}, environment={})

    assert message in str(caught.value)


def test_variables_hold_several_values_between_commas() -> None:
    config = load_config(environment={"EGCFG_GAMMA": "0, 1,3", "EGCFG_TASK": "a,b"}).config

    assert config.gamma == (0.0, 1.0, 3.0)
    assert config.task == ("a", "b")


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'x'\n", "egcfg.toml: no setting named 'modle'; did you mean 'model'?"),
        ("[bakend]\ndtype = 'x'\n", "no setting named 'bakend'; did you mean 'backend'?"),
        ("model = \n", "egcfg.toml: is not TOML"),
        ("gamma = ['abc']\n", "egcfg.toml: gamma: 'abc' is not a number"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file=_file(tmp_path, text), environment={})

    assert message in str(caught.value)


def test_an_unknown_variable_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="named EGCFG_MODLE; did you mean 'EGCFG_MODEL'"):
        from_environment({"EGCFG_MODLE": "x"})


def test_other_programs_variables_are_left_alone() -> None:
    source = from_environment({"PATH": "/bin", "EGCFG_DEBUG": "1", "EGCFG_STRICT_PLUGINS": "1"})

    assert source.values == {}


# --- options of components ----------------------------------------------------------------------


def test_a_table_of_a_kind_holds_options_of_the_selected_and_of_named_components(
    tmp_path: Path,
) -> None:
    file = _file(
        tmp_path,
        '[backend]\nname = "openai"\ntop_k = 5\n[backend.hf]\nweights = "int8"\n'
        "[tracer.full]\nlayout = 'paper'\n",
    )

    config = load_config(file=file, environment={}).config

    assert config.backend == "openai"
    openai = {n: o.value for n, o in config.options_for(Kind.BACKEND, "openai").items()}
    hf = {n: o.value for n, o in config.options_for(Kind.BACKEND, "hf").items()}
    assert openai == {"top_k": 5}
    assert hf == {"top_k": 5, "weights": "int8"}
    assert [o.value for o in config.options_for(Kind.TRACER, "full").values()] == ["paper"]
    assert config.options_for(Kind.TRACER, "minimal") == {}


def test_an_option_of_a_flag_wins_over_the_files(tmp_path: Path) -> None:
    file = _file(tmp_path, "[backend.hf]\nweights = 'packed'\n")

    config = load_config(options=["backend.weights=int8"], file=file, environment={}).config

    option = config.options_for(Kind.BACKEND, "hf")["weights"]
    assert (option.value, option.origin) == ("int8", "-o backend.weights")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dtype=x", "-o: an option has the form KIND.NAME=VALUE"),
        ("backend.dtype", "-o: an option has the form"),
        ("backend..dtype=x", "-o: an option has the form"),
        ("a.b.c.d=x", "-o: an option has the form"),
        ("bakend.dtype=x", "-o: no kind named 'bakend'; did you mean 'backend'?"),
    ],
)
def test_an_option_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_flags({}, [text])

    assert message in str(caught.value)


def test_a_refused_option_does_not_repeat_its_value() -> None:
    with pytest.raises(ConfigError) as caught:
        from_flags({}, ["backend-api-key=sk-1234567"])

    assert "sk-1234567" not in str(caught.value)


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apikey", "API_KEY", "api-key", "api_keys", "openai_api_key", "access_key"),
        *("hf_token", "token", "auth_token", "password", "client_secret", "key"),
        *("authorization", "Authorization", "auth", "basic_auth", "credentials"),
    ],
)
def test_names_of_secrets_are_recognised(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *settings(),
        *("max_tokens", "tokenizer", "keyboard", "top_k", "author", "signal_tokens"),
        *("eos_token", "pad_token", "bos_token", "sort_key", "cache_key", "keys", "tokens"),
    ],
)
def test_names_of_other_things_are_no_secrets(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("api_key = 'sk-1234567'\n", "FIREWORKS_API_KEY or OPENAI_API_KEY"),
        ("[backend]\napi_key = 'sk-1234567'\n", "FIREWORKS_API_KEY or OPENAI_API_KEY"),
        ("[backend.openai]\napi_key = 'sk-1234567'\n", "variable OPENAI_API_KEY instead"),
    ],
)
def test_a_key_in_a_file_is_refused_and_never_shown(
    tmp_path: Path, text: str, variable: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_file(_file(tmp_path, text))

    assert variable in str(caught.value)
    assert "sk-1234567" not in str(caught.value)


def test_a_key_in_a_flag_is_refused_and_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        from_flags({}, ["backend.fireworks.api_key=sk-1234567"])

    assert "variable FIREWORKS_API_KEY instead" in str(caught.value)
    assert "sk-1234567" not in str(caught.value)


# --- config strings and the original tool's files -----------------------------------------------


def test_a_config_string_replaces_what_weaker_sources_say(tmp_path: Path) -> None:
    file = _file(tmp_path, "temperature = 0.9\nseed = 3\n")

    effective = load_config({"signal": ("ns2t0.75d2_ln",)}, file=file, environment={})

    assert effective.config.signal == ("ns2t0.75d2_ln",)
    assert effective.config.temperature == RunConfig().temperature
    assert effective.origins["temperature"] == "default"
    assert effective.config.seed == 3


@pytest.mark.parametrize("axis", sorted(SIGNAL_AXES))
def test_a_config_string_beside_its_own_axes_is_refused(axis: str) -> None:
    value = {"prompt": "chat", "unit": "token", "partial": True}.get(axis, "1")

    with pytest.raises(ConfigError, match="stands against --signal"):
        load_config({"signal": ("ns2t0.75d2_ln",), axis: value}, environment={})


@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_flag_replaces_its_part_of_weaker_config_strings(tmp_path: Path, source: str) -> None:
    strings = ("ns2t0.75d2_ln", "ns3t0.9dinf_lci_ln")
    file = _file(tmp_path, f"signal = {list(strings)}\n" if source == "file" else "")
    environment = {"EGCFG_SIGNAL": ",".join(strings)} if source == "environment" else {}
    where = f"{file}: signal" if source == "file" else "environment: EGCFG_SIGNAL"

    effective = load_config({"temperature": ("0.9",)}, file=file, environment=environment)

    assert effective.config.signal == ("ns2t0.9d2_ln", "ns3t0.9dinf_lci_ln")
    assert effective.origins["signal"] == f"{where}, --temperature"
    assert [c.temperature for c in signal_configs(effective.config)] == [0.9, 0.9]
    again = load_config(file=_file(tmp_path, to_toml(effective)), environment={})
    assert again.config == effective.config


@pytest.mark.parametrize("axis", sorted(SIGNAL_AXES))
def test_every_part_of_a_config_string_can_be_replaced(tmp_path: Path, axis: str) -> None:
    file = _file(tmp_path, "signal = 'ns2t0.75d2_ln'\n")
    value = {"prompt": "long_code", "unit": "token", "partial": True}.get(axis, 7)

    config = load_config({axis: value}, file=file, environment={}).config

    (weaker,) = map(SignalConfig.parse, ("ns2t0.75d2_ln",))
    (found,) = signal_configs(config)
    assert found == attrs.evolve(weaker, **{axis: value})


def test_several_values_of_a_flag_make_a_grid_of_weaker_config_strings(tmp_path: Path) -> None:
    file = _file(tmp_path, "signal = ['ns2t0.75d2_ln', 'ns2t0.8d2_ln']\n")

    config = load_config(
        {"temperature": ("0.5", "1"), "candidates": "1"}, file=file, environment={}
    ).config

    assert config.signal == ("ns1t0.5d2_ln", "ns1t1.0d2_ln")


def test_a_prompt_that_no_config_string_can_hold_names_its_flag(tmp_path: Path) -> None:
    file = _file(tmp_path, "signal = 'ns2t0.75d2_ln'\n")

    with pytest.raises(ConfigError, match=r"^--prompt: "):
        load_config({"prompt": "No!"}, file=file, environment={})


def test_session_files_stand_between_file_and_environment(tmp_path: Path) -> None:
    file = _file(tmp_path, "seed = 1\nbackend = 'hf'\n")
    session = tmp_path / "session_config.inference_endpoint.json"
    session.write_text(
        json.dumps(
            {
                "model_name": "m",
                "gammas": [0, 0.5, 1, 3],
                "deployment_type": "inference_endpoint",
                "inference_endpoint_url": "http://localhost:8000/v1/completions",
                "inference_endpoint_api_key": "sk-1234567",
                "dataset": "mbpp",
                "minimal_trace": True,
                "random_seed": 2,
                "retries_count": 3,
                "top_probs": 5,
                "start_idx": 0,
                "end_idx": 10,
                "use_global_cache": True,
            }
        )
    )
    signals = tmp_path / "dynamic_signals_params.json"
    signals.write_text(json.dumps({"t": [0.7, 0.75], "s": [2], "d": [3], "k": [1]}))

    effective = load_config(
        file=file,
        session=[read_session(session), read_signals(signals)],
        environment={"EGCFG_MODEL": "of-environment"},
    )

    config = effective.config
    assert (config.backend, config.base_url) == ("openai", "http://localhost:8000/v1")
    assert (config.gamma, config.seed, config.model) == ((0, 0.5, 1, 3), 2, "of-environment")
    assert (config.start, config.end, config.stop_when_solved) == (0, 10, True)
    assert config.tracer == "minimal"
    assert config.signal == ("ns2t0.7d3_ln", "ns2t0.75d3_ln")
    assert effective.origins["seed"] == f"{session}: random_seed"
    options = {n: o.value for n, o in config.options_for(Kind.BACKEND, "openai").items()}
    assert options == {"max_attempts": 4, "top_k": 5}
    assert "sk-1234567" not in to_json(effective) + to_text(effective)


@pytest.mark.parametrize(
    ("deployment", "level"), [({}, "WARNING"), ({"deployment_type": "local"}, "INFO")]
)
def test_what_a_session_says_to_no_endpoint_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, deployment: dict[str, str], level: str
) -> None:
    caplog.set_level(logging.INFO)
    session = tmp_path / "session_config.json"
    session.write_text(json.dumps({"retries_count": 3, "top_probs": 5, **deployment}))

    assert read_session(session).options == ()

    told = {(r.levelname, key) for r in caplog.records for key in TOLD if repr(key) in r.message}
    assert told == {(level, key) for key in TOLD}


TOLD = ("retries_count", "top_probs")


# --- showing ------------------------------------------------------------------------------------


def _example() -> EffectiveConfig:
    return load_config(
        {"gamma": ("0", "3"), "horizon": ("inf", "2"), "model": 'with "quotes"', "tracer": "full"},
        ["backend.weights=int8", "tracer.full.layout=paper"],
        environment={},
    )


def test_text_shows_every_setting_with_its_value_and_source() -> None:
    lines = {line.partition(" ")[0]: line for line in to_text(_example()).splitlines()}

    assert lines.keys() == settings().keys() | {"backend.weights", "tracer.full.layout"}
    assert "[0.0, 3.0]" in lines["gamma"]
    assert lines["gamma"].endswith("# --gamma")
    assert lines["seed"].endswith("# default")
    assert lines["backend.weights"].endswith("# -o backend.weights")


def test_what_config_strings_replace_is_shown_as_not_used() -> None:
    effective = load_config({"signal": ("ns2t0.75d2_ln",)}, environment={})

    lines = {line.partition(" ")[0]: line for line in to_text(effective).splitlines()}
    sources = {
        name: entry["source"] for name, entry in json.loads(to_json(effective))["settings"].items()
    }

    for axis in SIGNAL_AXES:
        assert lines[axis].endswith("# not used: part of signal")
        assert sources[axis] == "not used: part of signal"
    assert sources["signal"] == "--signal"
    assert sources["gamma"] == "default"


def test_json_shows_values_with_their_sources() -> None:
    document = json.loads(to_json(_example()))

    assert document["settings"]["gamma"] == {"value": [0.0, 3.0], "source": "--gamma"}
    assert document["settings"]["horizon"]["value"] == ["inf", 2]
    assert document["options"][1] == {
        "kind": "tracer",
        "component": "full",
        "name": "layout",
        "value": "paper",
        "source": "-o tracer.full.layout",
    }


def test_toml_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    example = _example()

    again = load_config(file=_file(tmp_path, to_toml(example)), environment={})

    assert again.config == example.config


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NUMBERS = st.floats(min_value=0, max_value=1e6)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model": TEXTS,
        "dataset": TEXTS,
        "task": st.lists(TEXTS, max_size=3),
        "gamma": st.lists(NUMBERS, min_size=1, max_size=3),
        "horizon": st.lists(st.none() | st.integers(1, 99), min_size=1, max_size=3),
        "partial": st.booleans(),
        "limit": st.integers(1, 10**9),
        "unit": st.lists(st.sampled_from(GuidanceUnit), min_size=1, max_size=3),
    },
)


SHOWN = {"model": TEXTS, "task": st.lists(TEXTS, max_size=2)}


@given(values=st.fixed_dictionaries({}, optional=SHOWN), component=TEXTS, name=TEXTS, value=TEXTS)
def test_what_is_shown_reads_back_and_holds_nothing_that_drives_a_terminal(
    values: dict[str, Any], component: str, name: str, value: str
) -> None:
    option = OptionValue(kind=Kind.TRACER, component=component, name=name, value=value)
    effective = merge([from_flags(values), ConfigSource(options=(option,))])

    as_toml, as_json = to_toml(effective), printable_json(to_json(effective))

    for shown in (as_toml, as_json):
        assert all(char == "\n" or char.isprintable() for char in shown)
    for read, document in (
        (lambda key: tomllib.loads(as_toml).get(key), tomllib.loads(as_toml)["tracer"][component]),
        (lambda key: json.loads(as_json)["settings"][key]["value"], {name: value}),
    ):
        assert document[name] == value
        assert read("model") == effective.config.model
        assert read("task") == list(effective.config.task)
    assert [o["value"] for o in json.loads(as_json)["options"]] == [value]


def test_bytes_that_are_no_text_are_spelt_out_in_toml() -> None:
    effective = load_config({"model": "m\udcff"}, environment={})

    assert tomllib.loads(to_toml(effective))["model"] == r"m\udcff"
    assert json.loads(to_json(effective))["settings"]["model"]["value"] == "m\udcff"


@given(values=CONFIGS)
def test_any_configuration_survives_a_trip_through_toml(values: dict[str, Any]) -> None:
    effective = merge([from_flags(values)])
    document = tomllib.loads(to_toml(effective))

    again = merge([from_flags(document)])

    assert again.config == effective.config
