"""Keeps API keys and passwords out of files and flags: they come from the environment only."""

from __future__ import annotations

import re
from collections.abc import Mapping

from egcfg.errors import ConfigError

__all__ = ["looks_secret", "refuse_credentials", "refuse_secret"]

# Credentials by name, not by a word in it: `max_tokens` counts, `eos_token` is text.
_SECRET = re.compile(
    r"(^key|^token|"
    r"(^|[_.])("
    r"(api|access|account|auth|client|license|private|secret|service|signing|subscription)_?keys?|"
    r"(api|access|auth|bearer|github|hf|hub|hugging_?face|id|refresh|secret|session)_?tokens?|"
    r"auth|authorization|bearer|cookies?|credentials?|pass(word|wd|phrase)s?|secrets?"
    r"))$",
    re.IGNORECASE,
)
# Of an address: what comes before the "@" of its host, and the names of its query.
_USER_INFO = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//[^/?#\s]*@", re.I)
_QUERY_NAME = re.compile(r"[?&]([^=&#\s]+)=[^&#\s]")


def looks_secret(name: str) -> bool:
    """Whether a setting or option of that name would hold a secret."""
    return _SECRET.search(name.replace("-", "_")) is not None


def refuse_secret(name: str, where: str, backend: str = "") -> None:
    """Raise where a setting would put a secret into a file or onto a command line.

    Args:
        name: the setting's or option's last name.
        where: file and key, or flag, for the message; never the value.
        backend: the backend that the secret is for, if that is known.

    Raises:
        ConfigError: `name` looks like a secret's.
    """
    if not looks_secret(name):
        return
    variable = f"{backend.upper()}_API_KEY" if backend else "FIREWORKS_API_KEY or OPENAI_API_KEY"
    raise ConfigError(
        f"{where}: keys are never read from files or flags; "
        f"set the environment variable {variable} instead"
    )


def refuse_credentials(name: str, value: object, where: str) -> None:
    """Raise where an address holds a user name, a password or a key.

    Args:
        name: the setting's or option's last name.
        value: what is read; addresses may be in lists and tables, too.
        where: file and key, flag or variable, for the message; never the value.

    Raises:
        ConfigError: it does.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            refuse_credentials(name, item, where)
    if not isinstance(value, str):
        return
    # Whoever forgets the "http://" of a base_url should not see the password in the complaint.
    address = value if "//" in value or not name.lower().endswith("url") else f"//{value.strip()}"
    if not (_USER_INFO.match(address) or _has_secret_query(address)):
        return
    raise ConfigError(
        f"{where}: an address must not hold a user name, a password or a key; set the environment "
        "variable FIREWORKS_API_KEY or OPENAI_API_KEY instead"
    )


def _has_secret_query(address: str) -> bool:
    return "//" in address and any(map(looks_secret, _QUERY_NAME.findall(address)))
