from __future__ import annotations

from pathlib import Path

import pytest

from egcfg.config import load_config
from egcfg.config.render import to_toml
from egcfg.errors import ConfigError
from egcfg.usage.prices import Prices, PriceTable

CHEAP = Prices(input=0.2, cached_input=0.1, output=0.6)
DEAR = Prices(input=0.9, output=0.9)
TABLE = """
[prices]
input = 0.2
cached_input = 0.1
output = 0.6

[prices."org/large"]
input = 0.9
output = 0.9
"""


def test_a_table_has_prices_for_all_models_and_for_some(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(TABLE)
    prices = load_config(file=file, environment={}).config.prices
    assert prices is not None
    assert prices.of("org/small") == CHEAP
    assert prices.of("org/large") == prices.of("org_large") == DEAR
    assert PriceTable.read(prices.as_table()) == prices


def test_a_configuration_with_prices_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(TABLE)
    first = load_config({"max_cost": 2}, file=file, environment={})
    file.write_text(to_toml(first))
    assert load_config(file=file, environment={}).config == first.config


def test_a_flag_and_a_variable_give_prices_as_one_text() -> None:
    text = "input=0.2, cached_input=0.1,output=.6"
    for config in (
        load_config({"prices": text}, environment={}).config,
        load_config(environment={"EGCFG_PRICES": text}).config,
        load_config({"prices": {"input": 0.2, "cached_input": 0.1, "output": 0.6}}).config,
    ):
        assert config.prices == PriceTable(default=CHEAP)


def test_prices_of_named_models_are_no_prices_of_others() -> None:
    table = PriceTable.read({"m": {"input": 0.9, "output": 0.9}})
    assert (table.of("m"), table.of("n")) == (DEAR, None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.2", "'0.2' is no price, such as input=0.2"),
        ("input=0.2", "the price 'output' is missing; give it per million tokens"),
        ("input=a,output=1", "'a' is not a number"),
        ("input=1,output=-1", "the price 'output' must be at least 0, not -1"),
        ("input=1,outptu=1", "no price named 'outptu'; did you mean 'output'"),
        ({"m": {"input": 1}}, "m: the price 'output' is missing"),
        (3, "3 is no table of prices"),
        ("", "the price 'input' is missing"),
    ],
)
def test_a_wrong_price_says_where_and_what_would_do(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^--prices: {message}"):
        load_config({"prices": value}, environment={})


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("max_requests", 0, "--max-requests: must be at least 1, not 0"),
        ("max_tokens_total", "x", "--max-tokens-total: 'x' is not a whole number"),
        ("max_cost", 0.0, "--max-cost: must be above 0, not 0"),
    ],
)
def test_a_budget_of_nothing_is_refused(flag: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({flag: value}, environment={})
