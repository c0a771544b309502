"""What a results folder pins of the components: all that determines the text and is in no name."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from egcfg.config import RunConfig
from egcfg.plugins.component_options import EXAMPLE_OPTIONS, component_options
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import make_options, options_class
from egcfg.runs.model_files import model_fingerprint

__all__ = ["component_pins"]

# Pinned by what they mean instead of by how they are written; an address is none of the text's
# business, and may name hosts that are nobody else's.
UNPINNED = {Kind.BACKEND: frozenset({"model", "base_url"}), Kind.PROMPT: EXAMPLE_OPTIONS}


def component_pins(config: RunConfig, prompt: str) -> dict[str, Any]:
    """Return, per kind, a component's name and its options, those left at their defaults included.

    Of the model a fingerprint is pinned where it is a local file or folder, else its name. JSON can
    hold all of it.

    Raises:
        UsageError: an option is unknown or wrong, or its component cannot be imported.
        DataError: the data set's file, which may hold a prompt's examples, cannot be read.
    """
    components = {Kind.BACKEND: config.backend, Kind.TRACER: config.tracer, Kind.PROMPT: prompt}
    if config.scorer is not None:
        components[Kind.SCORER] = config.scorer
    return {kind.value: _pins(config, kind, name) for kind, name in components.items()}


def _pins(config: RunConfig, kind: Kind, name: str) -> dict[str, Any]:
    values = component_options(config, kind, name)
    options = make_options(options_class(kind, name), values, f"{kind}.{name}")
    apart = UNPINNED.get(kind, frozenset())
    pinned = attrs.asdict(
        options,
        filter=lambda option, _: (
            option.init
            and option.name not in apart
            # An option can say that no text depends on it, as a deadline does.
            and option.metadata.get("changes_text") is not False
        ),
        value_serializer=lambda _instance, _option, value: _plain(value),
    )
    pins = {"name": name, **pinned}
    if kind is Kind.BACKEND and values.get("model") is not None:
        model = str(values["model"])
        pins["model"] = model_fingerprint(model) or model
    if kind is Kind.PROMPT and {f.name for f in attrs.fields(type(options))} >= EXAMPLE_OPTIONS:
        pins["examples"] = _examples(config, name, values)
    return pins


def _examples(config: RunConfig, prompt: str, values: Mapping[str, Any]) -> str:
    given = config.options_for(Kind.PROMPT, prompt)
    if "examples_path" in given:
        return f"{given['examples_path'].value} 2, 3, 4"
    # Not the path of the data set: the same examples may lie elsewhere tomorrow.
    return "MBPP 2, 3, 4" if EXAMPLE_OPTIONS & values.keys() else "own"


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value) if isinstance(value, Path) else value
