"""The provenance of a results folder: what determines its texts and is in no name, as JSON values.

Of each component its name and all its options; of a local model a fingerprint of what is in its
files, whatever they are called and wherever they are.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from egcfg.config import RunConfig
from egcfg.config.components import (
    EXAMPLE_OPTIONS,
    importable_packages,
    make_component_options,
)
from egcfg.errors import ConfigError
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import component_class
from egcfg.runs.config_string import signal_configs

__all__ = ["component_provenance", "model_fingerprint"]

# Told by what they mean instead of by how they are written; an address is none of the text's
# business, and may name hosts that are nobody else's.
TOLD_BY_MEANING = {Kind.BACKEND: frozenset({"model", "base_url"}), Kind.PROMPT: EXAMPLE_OPTIONS}

PIECES = 64
PIECE_BYTES = 256 * 1024
"""Read of each large file, evenly spread: another training step changes weights everywhere."""

MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".py"})
# What a trainer leaves beside a checkpoint and nobody reads to run it.
NOT_OF_THE_MODEL = frozenset({"trainer_state.json", "training_args.bin"})


def component_provenance(config: RunConfig, prompt: str) -> dict[str, Any]:
    """Return, per kind, a component's name and its options, those left at their defaults included.

    Traces depend on which packages programs may import, so their names are added. Where a
    backend's options have a true `rounding_is_coarse`, so is what only decides what is computed
    together.

    Args:
        config: what is asked.
        prompt: name of the prompt builder.

    Raises:
        UsageError: an option is unknown or wrong, its component cannot be imported, or a package
            is not installed.
        DataError: the data set's file, which may hold a prompt's examples, cannot be read.
    """
    components = {
        Kind.BACKEND: config.backend,
        Kind.TRACER: config.tracer,
        Kind.GUIDANCE: config.guidance,
        Kind.METHOD: config.method,
        Kind.PROMPT: prompt,
    }
    if config.scorer is not None:
        components[Kind.SCORER] = config.scorer
    provenance: dict[str, Any] = {
        kind.value: _provenance(config, kind, name) for kind, name in components.items()
    }
    provenance["packages"] = importable_packages(config)
    if not component_class(Kind.METHOD, config.method).over_grid:
        # What the name of a configuration's folder says, that of a method's does not.
        provenance["configurations"] = [str(each) for each in signal_configs(config)]
        provenance["gammas"] = list(config.gamma)
    backend = make_component_options(config, Kind.BACKEND, config.backend)
    if getattr(backend, "rounding_is_coarse", False):
        provenance["batching"] = {"drafts": config.drafts, "concurrency": config.concurrency}
    if config.tokens_per_task is not None:
        provenance["tokens_per_task"] = config.tokens_per_task
    return provenance


def model_fingerprint(model: str) -> str | None:
    """Return what identifies a local model, a file or a folder with its
    ``config.json``; None if `model` is neither.

    Takes names within a folder, sizes and contents into account; files of more than 16 MiB by
    samples, so that it takes well below a second per model. Copies have the same fingerprint.

    Raises:
        ConfigError: a file cannot be read.
    """
    path = Path(model).expanduser()
    try:
        if path.is_file():
            files = {"": path}
        elif (path / "config.json").is_file():
            files = {file.name: file for file in path.iterdir() if _is_of_the_model(file)}
        else:
            return None
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name}\0{files[name].stat().st_size}\0".encode())
            for piece in _pieces(files[name]):
                digest.update(piece)
    except OSError as error:
        raise ConfigError(
            f"the model {model} cannot be read ({error.strerror}: {error.filename}); "
            "check the path and its rights"
        ) from error
    return f"sha256:{digest.hexdigest()}"


def _is_of_the_model(file: Path) -> bool:
    return (
        file.suffix in MODEL_SUFFIXES
        and not file.name.startswith(".")
        and file.name not in NOT_OF_THE_MODEL
        and file.is_file()
    )


def _pieces(file: Path) -> Iterator[bytes]:
    """Yield a file's content, or samples of it, the first and the last bytes among them."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= PIECES * PIECE_BYTES:
            while piece := opened.read(PIECE_BYTES):
                yield piece
            return
        for number in range(PIECES):
            opened.seek((size - PIECE_BYTES) * number // (PIECES - 1))
            yield opened.read(PIECE_BYTES)


def _provenance(config: RunConfig, kind: Kind, name: str) -> dict[str, Any]:
    options = make_component_options(config, kind, name)
    by_meaning = TOLD_BY_MEANING.get(kind, frozenset())
    told = attrs.asdict(
        options,
        filter=lambda option, _: (
            option.init and option.name not in by_meaning and _changes_text(option, options)
        ),
        value_serializer=lambda _instance, _option, value: _json_value(value),
    )
    provenance = {"name": name, **told}
    if kind is Kind.BACKEND and getattr(options, "model", None) is not None:
        model = str(options.model)
        provenance["model"] = model_fingerprint(model) or model
    if kind is Kind.PROMPT and {f.name for f in attrs.fields(type(options))} >= EXAMPLE_OPTIONS:
        provenance["examples"] = _examples(config, name, options)
    return provenance


def _changes_text(option: attrs.Attribute[Any], options: Any) -> bool:
    """Whether a text depends on an option, which can say that none does, as a deadline would; or
    that it depends on what other options say."""
    says = option.metadata.get("changes_text", True)
    return bool(says(options)) if callable(says) else says is not False


def _examples(config: RunConfig, prompt: str, options: Any) -> str:
    given = config.options_for(Kind.PROMPT, prompt)
    if "examples_path" in given:
        return f"{given['examples_path'].value} 2, 3, 4"
    # Not the path of the data set: the same examples may lie elsewhere tomorrow.
    return "MBPP 2, 3, 4" if any(getattr(options, o) for o in EXAMPLE_OPTIONS) else "own"


def _json_value(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value) if isinstance(value, Path) else value
