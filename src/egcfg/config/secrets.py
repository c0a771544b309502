"""Keeps API keys out of files and flags: they come from the environment only."""

from __future__ import annotations

import re

from egcfg.errors import ConfigError

__all__ = ["looks_secret", "refuse_secret"]

# Singular on purpose: `max_tokens` counts, `hf_token` opens doors.
_SECRET = re.compile(r"(^|[_.-])(api_?key|key|token|secret|password|passwd|credentials?)$", re.I)


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
