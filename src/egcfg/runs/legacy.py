"""Reads the session files that users of the method's first tool have, as sources of settings.

``session_config.*.json`` says what to run, ``dynamic_signals_params.json`` in which configurations:
lists to combine, ``{"t": [0.7, 0.75], "s": [3], "d": [2, 3], "k": [1], "prompt_type": [...]}``, or
one list of config strings. Both are accepted as they are.

A key that is unknown gets a warning and is not refused: these files were written for another tool.
One that is nearly known is a slip, and one of the other file has no effect here: both are refused.
An API key in such a file is never taken into any value or message.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from attrs import frozen

from egcfg.config.load import ConfigSource
from egcfg.config.schema import OptionValue
from egcfg.errors import ConfigError, closest
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.config_string import PROMPT_MARKS, SignalConfig

__all__ = ["read_session", "read_signals"]

logger = logging.getLogger(__name__)

API_KEY = "inference_endpoint_api_key"
LOCAL, ENDPOINT = "local", "inference_endpoint"
# What to set instead of a key in the file, by backend.
KEY_VARIABLES = {"fireworks": "FIREWORKS_API_KEY", "openai": "OPENAI_API_KEY"}
WITHOUT_MEANING = frozenset({"debug_mode", "is_prod"})
WITHOUT_MEANING_PREFIX = "exec_eval"


@frozen
class _Key:
    """How one key of a session file is read, and the setting or option that it becomes."""

    name: str
    read: Callable[[Any], Any]
    expected: str


def read_session(path: Path) -> ConfigSource:
    """Read a ``session_config.*.json``.

    Raises:
        ConfigError: it cannot be read, or a key has a wrong value; the message names file and key.
    """
    content = _read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object of settings")
    values: dict[str, Any] = {}
    endpoint_options: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value in content.items():
        if key in KEYS or key in ENDPOINT_OPTIONS:
            if value is not None:  # null is as good as absent
                found = values if key in KEYS else endpoint_options
                found[ALL_KEYS[key].name] = _read_value(path, key, value)
                if key in KEYS:
                    origins[KEYS[key].name] = f"{path}: {key}"
        elif key in WITHOUT_MEANING or key.startswith(WITHOUT_MEANING_PREFIX):
            logger.info("%s: the key %r has no meaning here", path, key)
        elif key not in ("deployment_type", API_KEY):
            if key in SIGNAL_KEYS:
                beside = ", ".join(each for each in SIGNAL_KEYS if each != key)
                raise ConfigError(
                    f"{path}: {key}: belongs in the file of signals (--signals), beside {beside}"
                )
            _ignore(path, key, [*ALL_KEYS, "deployment_type"])
    backend = _backend(path, content.get("deployment_type"), values.get("base_url"))
    if content.get(API_KEY):
        logger.warning(
            "%s: the API key in it is not used: set %s in the environment and delete it from "
            "the file",
            path,
            KEY_VARIABLES.get(backend or "", "FIREWORKS_API_KEY or OPENAI_API_KEY"),
        )
    if backend is not None:
        values["backend"] = backend
        origins["backend"] = f"{path}: deployment_type"
    return ConfigSource(
        values=values,
        origins=origins,
        options=_endpoint_options(path, backend, endpoint_options),
    )


def _endpoint_options(
    path: Path, backend: str | None, values: Mapping[str, Any]
) -> tuple[OptionValue, ...]:
    """Return the options of an endpoint; a local model takes none such, and needs none."""
    options = []
    for key, read in ENDPOINT_OPTIONS.items():
        if read.name not in values:
            continue
        if backend is None:
            logger.warning(
                "%s: the key %r is not used without deployment_type; add it, or pass "
                "-o backend.%s=N to an endpoint",
                *(path, key, read.name),
            )
        elif backend == "hf":
            logger.info("%s: the key %r has no meaning for a local model", path, key)
        else:
            options.append(
                OptionValue(
                    kind=Kind.BACKEND,
                    component=backend,
                    name=read.name,
                    value=values[read.name],
                    origin=f"{path}: {key}",
                )
            )
    return tuple(options)


def read_signals(path: Path) -> ConfigSource:
    """Read a ``dynamic_signals_params.json``, or a list of config strings, without repeats.

    Raises:
        ConfigError: it cannot be read, or a key or string is wrong; the message names file and key.
    """
    content = _read_json(path)
    if isinstance(content, list):
        found = [_parse_item(path, index, item) for index, item in enumerate(content)]
    elif isinstance(content, dict):
        found = _combine(path, content)
    else:
        raise ConfigError(f"{path}: expected an object of lists, or a list of config strings")
    if not found:
        raise ConfigError(f"{path}: it holds no configuration; add one, such as 'ns2t0.75d2_ln'")
    signals = tuple(str(config) for config in dict.fromkeys(found))
    return ConfigSource(values={"signal": signals}, origins={"signal": str(path)})


def _parse_item(path: Path, index: int, item: object) -> SignalConfig:
    if not isinstance(item, str):
        raise ConfigError(f"{path}, item {index}: expected a config string, not {item!r}")
    try:
        return SignalConfig.parse(item)
    except ConfigError as error:
        raise ConfigError(f"{path}, item {index}: {error}") from error


def _combine(path: Path, content: Mapping[str, Any]) -> list[SignalConfig]:
    for key in content:
        if key in ALL_KEYS or key == "deployment_type":
            raise ConfigError(f"{path}: {key}: belongs in the session file (--session)")
        if key not in SIGNAL_KEYS:
            _ignore(path, key, SIGNAL_KEYS)
    axes = [_axis(path, content, key, kind) for key, kind in SIGNAL_KEYS.items()]
    names = [kind.name for kind in SIGNAL_KEYS.values()]
    return [
        SignalConfig(**dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*axes)
    ]


def _axis(path: Path, content: Mapping[str, Any], key: str, kind: _Key) -> list[Any]:
    """Return the values of one field of the configurations."""
    given = content.get(key)
    if given is None:
        return [getattr(SignalConfig(), kind.name)]
    values = given if isinstance(given, list) else [given]
    try:
        read = [kind.read(value) for value in values]
    except ValueError:
        raise ConfigError(
            f"{path}: {key}: must be {kind.expected}, or a list of such, not {given!r}"
        ) from None
    for value in read:
        try:
            SignalConfig(**{kind.name: value})
        except ConfigError as error:
            reason = str(error).removeprefix(f"{kind.name!r} ").removeprefix(f"{kind.name} ")
            raise ConfigError(f"{path}: {key}: {reason}") from error
    return read


def _ignore(path: Path, key: str, known: Iterable[str]) -> None:
    """Warn of an unknown key.

    Raises:
        ConfigError: it is nearly a known one.
    """
    if (meant := closest(key, known)) is not None:
        raise ConfigError(f"{path}: no key is named {key!r}; did you mean {meant!r}?")
    logger.warning("%s: ignoring the unknown key %r", path, key)


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except orjson.JSONDecodeError as error:
        # The decoder's own chained text may quote the file, and with it a key.
        raise ConfigError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None


def _read_value(path: Path, key: str, value: Any) -> Any:
    try:
        return ALL_KEYS[key].read(value)
    except ValueError:
        # An address may carry a password, so a wrong one is not repeated.
        given = "" if key == "inference_endpoint_url" else f", not {value!r}"
        raise ConfigError(f"{path}: {key}: must be {ALL_KEYS[key].expected}{given}") from None


def _backend(path: Path, deployment: object, base_url: str | None) -> str | None:
    if deployment is None:
        return None
    if deployment == LOCAL:
        return "hf"
    if deployment != ENDPOINT:
        raise ConfigError(
            f"{path}: deployment_type: must be {LOCAL!r} or {ENDPOINT!r}, not {deployment!r}"
        )
    host = urlsplit(base_url).hostname if base_url else None
    at_fireworks = host is None or host == "fireworks.ai" or host.endswith(".fireworks.ai")
    return "fireworks" if at_fireworks else "openai"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _horizon(value: Any) -> int | None:
    return None if value in ("inf", None) else _whole(value)


def _prompt(value: Any) -> str:
    name = _text(value)
    return PROMPT_MARKS.get(name, name)


def _gammas(value: Any) -> tuple[float, ...]:
    numbers = tuple(_number(item) for item in (value if isinstance(value, list) else [value]))
    if not numbers:
        raise ValueError
    return numbers


def _tracer(value: Any) -> str:
    return "minimal" if _truth(value) else "full"


def _base_url(value: Any) -> str:
    url = _text(value).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError
    # The first tool posted to the full address; clients add the operation themselves.
    return url.removesuffix("/completions").removesuffix("/chat")


def _attempts(value: Any) -> int:
    return _whole(value) + 1  # the first tool counts tries after the first one


KEYS = {
    "model_name": _Key("model", _text, "text"),
    "dataset": _Key("dataset", _text, "text"),
    "gammas": _Key("gamma", _gammas, "a list of numbers"),
    "results_dir": _Key("results_dir", lambda value: Path(_text(value)), "a path"),
    "inference_endpoint_url": _Key("base_url", _base_url, "an http(s) address"),
    "minimal_trace": _Key("tracer", _tracer, "true or false"),
    "use_global_cache": _Key("stop_when_solved", _truth, "true or false"),
    "random_seed": _Key("seed", _whole, "a whole number"),
    "start_idx": _Key("start", _whole, "a whole number"),
    "end_idx": _Key("end", _whole, "a whole number"),
}
ENDPOINT_OPTIONS = {
    "retries_count": _Key("max_attempts", _attempts, "a whole number"),
    "top_probs": _Key("top_k", _whole, "a whole number"),
}
ALL_KEYS = {**KEYS, **ENDPOINT_OPTIONS}
# Of the file of signals, the one that changes slowest first.
SIGNAL_KEYS = {
    "prompt_type": _Key("prompt", _prompt, "a prompt's name"),
    "t": _Key("temperature", _number, "a number"),
    "s": _Key("candidates", _whole, "a whole number"),
    "d": _Key("horizon", _horizon, "a whole number or 'inf'"),
    "k": _Key("signal_interval", _whole, "a whole number"),
}
