"""Layers from the session files of the original tool (``--session``, ``--signals``)."""

from __future__ import annotations

import logging
from pathlib import Path

from egcfg.config.schema import OptionValue
from egcfg.config.sources import Layer
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.legacy import read_session_config, read_signal_configs

__all__ = ["from_session", "from_signals"]

logger = logging.getLogger(__name__)

SETTING_OF_FIELD = {
    "backend": "backend",
    "model": "model",
    "base_url": "base_url",
    "dataset": "dataset",
    "gammas": "gamma",
    "results_dir": "results_dir",
    "tracer": "tracer",
    "stop_when_solved": "stop_when_solved",
    "seed": "seed",
    "start": "start",
    "end": "end",
}
# For endpoints only: a local model takes no such options, and needs none.
ENDPOINT_OPTION_OF_FIELD = {
    "retries": ("retries_count", "max_attempts"),
    "top_logprobs": ("top_probs", "top_k"),
}


def from_session(path: Path) -> Layer:
    """Read a ``session_config.*.json``.

    Raises:
        ConfigError: it cannot be read; the message names file and key.
    """
    session = read_session_config(path)
    given = {setting: getattr(session, name) for name, setting in SETTING_OF_FIELD.items()}
    values = {setting: value for setting, value in given.items() if value is not None}
    options = []
    for name, (key, option) in ENDPOINT_OPTION_OF_FIELD.items():
        value = getattr(session, name)
        if value is None:
            continue
        if session.backend is None:
            logger.warning(
                "%s: the key %r is not used without deployment_type; add it, or pass "
                "-o backend.%s=N to an endpoint",
                *(path, key, option),
            )
        elif session.backend == "hf":
            logger.info("%s: the key %r has no meaning for a local model", path, key)
        else:
            # The original counts tries after the first one.
            value = value + 1 if name == "retries" else value
            options.append(
                OptionValue(
                    kind=Kind.BACKEND,
                    component=session.backend,
                    name=option,
                    value=value,
                    origin=f"{path}: {key}",
                )
            )
    return Layer(values=values, origins=dict.fromkeys(values, str(path)), options=tuple(options))


def from_signals(path: Path) -> Layer:
    """Read a ``dynamic_signals_params.json`` or a list of config strings.

    Raises:
        ConfigError: it cannot be read; the message names file and key.
    """
    signals = tuple(str(config) for config in read_signal_configs(path))
    return Layer(values={"signal": signals}, origins={"signal": str(path)})
