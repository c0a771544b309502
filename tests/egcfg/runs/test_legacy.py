import json
import logging
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.config.load import ConfigSource, load_config
from egcfg.errors import ConfigError
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.legacy import read_session, read_signals

LOCAL = {
    "model_name": "deepseek-ai/deepseek-coder-1.3b-instruct",
    "gammas": [0.0, 0.5, 1, 3.0],
    "deployment_type": "local",
    "dataset": "mbpp",
    "results_dir": "output/trials",
    "use_global_cache": True,
    "debug_mode": False,
    "is_prod": True,
    "minimal_trace": False,
    "random_seed": 40,
    "retries_count": 2,
    "start_idx": 0,
    "end_idx": None,
    "top_probs": None,
    "exec_eval": False,
    "exec_eval_host_port": 5000,
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "session_config.local.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_local_session_reads_as_it_is(write, caplog):
    caplog.set_level(logging.INFO)
    path = write(LOCAL)
    source = read_session(path)
    assert source.values == {
        "model": "deepseek-ai/deepseek-coder-1.3b-instruct",
        "backend": "hf",
        "gamma": (0.0, 0.5, 1.0, 3.0),
        "dataset": "mbpp",
        "results_dir": Path("output/trials"),
        "stop_when_solved": True,
        "tracer": "full",
        "seed": 40,
        "start": 0,
    }
    keys = {"model": "model_name", "backend": "deployment_type", "gamma": "gammas"}
    keys |= {"stop_when_solved": "use_global_cache", "tracer": "minimal_trace"}
    keys |= {"seed": "random_seed", "start": "start_idx"}
    assert source.origins == {n: f"{path}: {keys.get(n, n)}" for n in source.values}
    assert source.options == ()
    levels = {record.levelname for record in caplog.records}
    assert levels == {"INFO"}, "keys without a meaning are named, not warned about"
    for key in ("debug_mode", "is_prod", "exec_eval", "exec_eval_host_port"):
        assert repr(key) in caplog.text


@pytest.mark.parametrize(
    ("url", "backend", "base_url"),
    [
        ("https://api.fireworks.ai/inference/v1/completions", "fireworks", None),
        ("http://localhost:8000/v1/completions", "openai", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "openai", "http://localhost:8000/v1"),
        ("https://fireworks.ai.example.org/v1", "openai", None),
        (None, "fireworks", None),
    ],
)
def test_an_endpoint_session_names_client_and_base_url(write, url, backend, base_url):
    content = {"deployment_type": "inference_endpoint", "inference_endpoint_url": url}
    source = read_session(write(content))
    assert source.values["backend"] == backend
    if base_url is not None:
        assert source.values["base_url"] == base_url


def test_an_api_key_in_the_file_goes_nowhere(write, caplog):
    key = "fw_3ZsecretSECRETsecret"
    content = {
        **LOCAL,
        "deployment_type": "inference_endpoint",
        "inference_endpoint_api_key": key,
    }
    source = read_session(write(content))
    assert key not in repr(source)
    assert key not in caplog.text
    assert "FIREWORKS_API_KEY" in caplog.text

    with pytest.raises(ConfigError) as caught:
        read_session(write({**content, "gammas": "one"}))
    assert key not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ConfigError) as caught:
        read_session(write(json.dumps(content)[:-1]))
    assert key not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ConfigError) as caught:
        read_session(write({"inference_endpoint_url": f"ftp://user:{key}@host"}))
    assert key not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_key_is_warned_about(write, caplog):
    assert read_session(write({"wandb_project": "x"})) == ConfigSource()
    assert "ignoring the unknown key 'wandb_project'" in caplog.text
    assert read_signals(write({"wandb_project": "x"})).values == {"signal": (str(SignalConfig()),)}


def test_a_slip_is_refused_with_what_was_meant(write):
    with pytest.raises(ConfigError, match=r"no key is named 'gamas'; did you mean 'gammas'\?"):
        read_session(write({"gamas": [1]}))
    with pytest.raises(ConfigError, match=r"no key is named 'prompt_typ'; did you mean 'prompt_ty"):
        read_signals(write({"prompt_typ": "x"}))


def test_a_key_of_the_other_file_is_told_where_it_belongs(write):
    with pytest.raises(
        ConfigError, match=r"prompt_type: belongs in the file of signals \(--signals"
    ):
        read_session(write({"prompt_type": ["long_code"]}))
    with pytest.raises(ConfigError, match=r"gammas: belongs in the session file \(--session\)"):
        read_signals(write({"gammas": [1]}))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gammas", ["one"], "gammas: must be a list of numbers, not ['one']"),
        ("start_idx", -1, "start_idx: must be at least 0, not -1"),
    ],
)
def test_a_value_that_cannot_be_is_told_by_its_key_wherever_that_is_found(write, key, value, said):
    with pytest.raises(ConfigError) as caught:
        load_config(session=[read_session(write({key: value}))], environment={})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gammas", []),
        ("gammas", [1, "2"]),
        ("gammas", True),
        ("random_seed", 1.5),
        ("use_global_cache", "yes"),
        ("model_name", 3),
        ("deployment_type", "cloud"),
        ("inference_endpoint_url", "localhost:8000"),
    ],
)
def test_a_wrong_value_names_file_and_key(write, key, value):
    with pytest.raises(ConfigError) as caught:
        read_session(write({**LOCAL, key: value}))
    assert f"session_config.local.json: {key}: must be " in str(caught.value)


@pytest.mark.parametrize("read", [read_session, read_signals])
def test_files_that_are_no_json_are_refused_with_their_line(write, read):
    with pytest.raises(ConfigError, match="line 2"):
        read(write('{\n"t": [1,]\n}'))
    with pytest.raises(ConfigError, match="expected"):
        read(write("17"))
    path = write("")
    path.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        read(path)


def test_signal_parameters_are_combined(write):
    content = {
        "t": [0.7, 0.75],
        "s": [3],
        "d": [2, "inf"],
        "k": [1],
        "prompt_type": ["deepseek_instruct", "long_code"],
    }
    source = read_signals(write(content))
    assert list(source.values["signal"]) == [
        "ns3t0.7d2_ln",
        "ns3t0.7dinf_ln",
        "ns3t0.75d2_ln",
        "ns3t0.75dinf_ln",
        "ns3t0.7d2_lci_ln",
        "ns3t0.7dinf_lci_ln",
        "ns3t0.75d2_lci_ln",
        "ns3t0.75dinf_lci_ln",
    ]


def test_signal_parameters_may_be_single_and_partial(write):
    path = write({"t": 1.5, "d": [3, 3]})
    source = read_signals(path)
    assert source == ConfigSource(
        values={"signal": ("ns3t1.5d3_ln",)}, origins={"signal": str(path)}
    )


def test_a_list_of_config_strings_reads_in_order_without_repeats(write):
    texts = ["ns3t0.75d5k1_lci_ln", "pns2t0.7d3_ln", "ns3t0.75d5k1_lci_ln"]
    assert list(read_signals(write(texts)).values["signal"]) == texts[:2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"t": ["warm"]}, r"json: t: must be a number, or a list of such, not \['warm'\]"),
        ({"s": [2.5]}, "json: s: must be a whole number"),
        ({"s": [0]}, "json: s: must be >= 1: 0"),
        ({"d": [True]}, "json: d: must be a whole number or 'inf'"),
        ({"prompt_type": ["No!"]}, "json: prompt_type: .*No!"),
        ({"t": []}, "no configuration"),
        ([], "no configuration"),
        (["ns2t0.75d2_ln", "ns2"], "item 1.*position 4"),
        ([3], "item 0"),
    ],
)
def test_wrong_signal_parameters_name_file_and_key(write, content, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_signals(write(content))
    assert "session_config.local.json" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*LOCAL, "t", "s", "d", "k", "prompt_type"]), json_values))
def test_any_json_reads_or_is_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    for read in (read_session, read_signals):
        try:
            read(path)
        except ConfigError as error:
            assert "any.json" in str(error)  # noqa: PT017 - either outcome is right
