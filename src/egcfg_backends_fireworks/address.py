"""Where an endpoint is, and the key that it wants."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from egcfg.errors import ConfigError, UsageError

__all__ = ["NO_KEY", "api_key", "checked_address", "is_local"]

NO_KEY = "none"
"""Sent to servers on this machine that want no key; the SDKs refuse to send nothing."""


def checked_address(base_url: str) -> str:
    """Return an endpoint's address without a trailing slash.

    Raises:
        ConfigError: it is no http(s) address, or holds what may be a secret: a user name, a
            password, a query.
    """
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "an endpoint's address must not hold a user name, a password or a query; "
            "put the key into the environment"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{base_url!r} is no address of an endpoint; write --base-url http://HOST:PORT/v1"
        )
    return base_url.rstrip("/")


def api_key(variable: str, base_url: str) -> str:
    """Return the key in the environment; empty where a server on this machine may want none.

    Raises:
        UsageError: the variable is not set and the server is elsewhere.
    """
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if is_local(base_url):
        return ""
    raise UsageError(
        f"no API key for {urlsplit(base_url).hostname}: set the environment variable {variable} "
        "(to any word if the server wants none), or pass --base-url for another server"
    )


def is_local(base_url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
