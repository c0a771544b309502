import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ConfigError
from egcfg.runs.config_string import SignalConfig, decimal_text

configs = st.builds(
    SignalConfig,
    temperature=st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    candidates=st.integers(1, 10**6),
    horizon=st.none() | st.integers(1, 10**6),
    signal_interval=st.integers(1, 10**6),
    prompt=st.from_regex("[a-z0-9_]+", fullmatch=True).filter(lambda name: name != "lci"),
    unit=st.sampled_from(GuidanceUnit),
    partial=st.booleans(),
    interval_shown=st.booleans(),
)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("ns2t0.75d2_ln", SignalConfig(temperature=0.75, candidates=2, horizon=2)),
        (
            "ns3t0.75d5k1_lci_ln",
            SignalConfig(temperature=0.75, candidates=3, horizon=5, prompt="long_code"),
        ),
        (
            "pns2t0.7d3_ln",
            SignalConfig(temperature=0.7, candidates=2, horizon=3, partial=True),
        ),
        (
            "ns5t1.2dinf_tok",
            SignalConfig(temperature=1.2, candidates=5, horizon=None, unit=GuidanceUnit.TOKEN),
        ),
        (
            "ns2t0.7d2k3_my_ln_prf",
            SignalConfig(candidates=2, signal_interval=3, prompt="my_ln", unit=GuidanceUnit.PREFIX),
        ),
    ],
)
def test_published_and_other_strings_read_and_print_both_ways(text, config):
    assert SignalConfig.parse(text) == config
    assert str(SignalConfig.parse(text)) == text


@given(configs)
@example(SignalConfig(prompt="_"))
@example(SignalConfig(prompt="ln_tok"))
@example(SignalConfig(temperature=1e-300))
@example(SignalConfig(temperature=1e22))
def test_every_configuration_survives_printing(config):
    text = str(config)
    again = SignalConfig.parse(text)
    assert again == config
    assert again.interval_shown == (config.signal_interval != 1 or config.interval_shown)
    assert str(again) == text


@given(configs, configs)
def test_different_configurations_print_differently(one, other):
    assert (one == other) or (str(one) != str(other))


@given(st.text() | st.from_regex(r"p?ns\d+t[\d.]+d(\d+|inf)(k\d+)?(_\w+)?_(ln|tok|prf)"))
def test_whatever_is_no_config_string_is_a_config_error(text):
    try:
        config = SignalConfig.parse(text)
    except ConfigError:
        return
    assert SignalConfig.parse(str(config)) == config


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 1, "'ns'"),
        ("ns2t0.75d2", 11, "'_ln', '_tok' or '_prf'"),
        ("ns2t.5d2_ln", 4, "temperature"),
        ("ns2t0.75dx_ln", 9, "'inf'"),
        ("ns2t0.75d2_LCI_ln", 11, "'_ln'"),
        ("ns2t0.75d2_ln\n", 11, "'_ln'"),
        ("ns٣t0.75d2_ln", 1, "candidates"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text, position, expected):
    with pytest.raises(ConfigError) as caught:
        SignalConfig.parse(text)
    assert f"position {position}:" in str(caught.value)
    assert expected in str(caught.value)
    assert "'ns2t0.75d2_ln'" in str(caught.value)


@pytest.mark.parametrize("text", ["ns0t0.7d2_ln", "ns2t0.7d0_ln", "ns2t0.7d2k0_ln"])
def test_values_out_of_range_are_refused_with_the_string(text):
    with pytest.raises(ConfigError, match=text):
        SignalConfig.parse(text)


@pytest.mark.parametrize("name", ["lci", "", "My", "a/b", "a-b"])
def test_a_prompt_that_a_string_cannot_hold_is_refused(name):
    with pytest.raises(ConfigError, match="config string"):
        SignalConfig(prompt=name)


def test_settings_keep_what_the_string_does_not_say():
    base = DecodingSettings(gamma=3, max_tokens=99, seed=7)
    config = SignalConfig.parse("pns2t0.85d6k2_tok")
    settings = config.settings(base, gamma=0.5)
    assert (settings.max_tokens, settings.seed, settings.gamma) == (99, 7, 0.5)
    assert (settings.temperature, settings.candidates, settings.horizon) == (0.85, 2, 6)
    assert (settings.signal_interval, settings.unit, settings.partial) == (2, "token", True)
    assert config.settings(base).gamma == 3


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_decimal_text_reads_back_without_an_exponent(value):
    text = decimal_text(value)
    assert float(text) == value
    assert text.replace(".", "", 1).isdigit()
