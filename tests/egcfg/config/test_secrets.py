from __future__ import annotations

import pytest

from egcfg.config.secrets import refuse_credentials
from egcfg.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "https://u:SECRET@h/v1"),
        ("base_url", "  HTTP://SECRET@127.0.0.1:9"),
        ("base_url", "u:SECRET@h/v1"),
        ("base_url", "//u:SECRET@h"),
        ("base_url", "https://h/v1?model=x&api_key=SECRET"),
        ("proxies", ["https://h", "https://u:SECRET@h"]),
        ("proxies", {"https": "socks5://u:SECRET@h"}),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"^egcfg\.toml: x: .*environment variable") as caught:
        refuse_credentials(name, value, "egcfg.toml: x")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "http://[::1]:8080/v1"),
        ("base_url", "https://h/accounts/@me/v1?api-version=2&key="),
        ("model", "org/name@main"),
        ("code", "def f(x):  # mail me@home\n    return x // 2"),
        ("limit", 3),
        ("base_url", None),
    ],
)
def test_other_values_pass(name: str, value: object) -> None:
    refuse_credentials(name, value, "-o x")
