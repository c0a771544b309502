"""Tells what a file or folder is that was named as a model, before anything heavy is imported.

Downloads that stopped at a pointer, adapters, vocabularies and parts of models are named for what
they are, with what to do instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from egcfg.errors import UsageError
from egcfg_backends_hf.loading.gguf_header import MAGIC, read_header

__all__ = ["check_file", "check_folder", "check_repository", "is_rounded"]

LFS_POINTER = b"version https://git-lfs"

SPLIT_NAME = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights: it opens the first of these that is there."""

SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")

READ = frozenset({".bpe", ".codes", ".jinja", ".json", ".model", ".py", ".tiktoken", ".txt"})
"""Endings of what else of a folder may be read; pictures and other formats' weights are not."""

FLOAT32 = 0
"""GGUF's number for a file (``general.file_type``) whose weights are float32."""


def check_file(file: Path) -> None:
    """Refuse a file that is no whole GGUF model.

    Raises:
        UsageError: it is something else, which the message names.
    """
    with file.open("rb") as stream:
        start = stream.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise _pointer(file)
    if start[: len(MAGIC)] != MAGIC:
        weights = file.suffix in (".safetensors", ".bin")
        instead = "the folder that it is in" if weights else "a .gguf model or a model folder"
        raise UsageError(f"{file} is no GGUF file; pass {instead}, or a hub id")
    header = read_header(file)
    _check_whole(file, header.values.get("split.count"))
    kind = header.values.get("general.type", "model")
    architecture = header.values.get("general.architecture")
    if kind == "adapter":
        raise UsageError(
            f"{file} is an adapter, which is no model by itself; merge it into its model first "
            "(llama-export-lora) and pass the result"
        )
    if kind in ("mmproj", "imatrix") or architecture == "clip":
        raise UsageError(f"{file} is a companion file of a model ({architecture}); pass the model")
    if header.tensors == 0:
        raise UsageError(f"{file} is a vocabulary without weights; pass the model's own file")


def _check_whole(file: Path, said: object) -> None:
    """Refuse a part of a split file, by its name or by what its header says (``split.count``)."""
    named = SPLIT_NAME.fullmatch(file.name)
    count = max(int(named["count"]) if named else 1, said if isinstance(said, int) else 1)
    if count > 1:
        stem, renamed = (named["stem"], "") if named else ("MODEL", ", under their first names")
        raise UsageError(
            f"{file} is one of {count} parts of a model; join them first{renamed}: "
            f"llama-gguf-split --merge {stem}-00001-of-{count:05}.gguf {stem}.gguf"
        )


def is_rounded(file: Path) -> bool:
    """Return whether a GGUF file says that its weights are not those of training, but rounded."""
    return bool(read_header(file).values.get("general.file_type", FLOAT32) != FLOAT32)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no whole model in the form of transformers.

    Raises:
        UsageError: it is something else, which the message names.
    """
    names = sorted(file.name for file in folder.glob("*"))
    config = _json(folder / "config.json")
    weights = _weights(names, config)
    shards = [name for name in names if SHARD.fullmatch(name)]
    if "adapter_config.json" in names and not weights and not shards:
        base = _json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise UsageError(
            f"the folder {folder} holds an adapter for {base or 'its base model'}, which is no "
            "model by itself; merge it first (peft: merge_and_unload) and pass the result"
        )
    ggufs = [folder / name for name in names if name.endswith(".gguf")]
    if "config.json" not in names:
        hint = f"pass a file of it, such as {ggufs[0]}" if ggufs else "pass a model's own folder"
        raise UsageError(f"the folder {folder} holds no model (it has no config.json); {hint}")
    for name in names:
        if name.startswith("tokenizer") or Path(name).suffix in READ:
            _refuse_pointer(folder / name)
    if weights is None:
        lacking = "weights (model.safetensors or pytorch_model.bin, whole or in parts)"
        if shards:
            stem, _, rest = shards[0].partition("-")
            lacking = f"{stem}.{rest.rpartition('.')[2]}.index.json, which {shards[0]} belongs to"
        hint = f"pass {ggufs[0]}" if ggufs else "download the model again, all of it"
        raise UsageError(f"the folder {folder} holds no {lacking}; {hint}")
    parts = _parts(folder / weights) if weights.endswith(".index.json") else [weights]
    lacks = [part for part in parts if not (folder / part).is_file()]
    if lacks:
        raise UsageError(
            f"the folder {folder} lacks {len(lacks)} of {len(parts)} parts of its weights, "
            f"such as {lacks[0]}; download them again"
        )
    for part in parts:
        _refuse_pointer(folder / part)


def check_repository(hub_id: str, names: Collection[str]) -> None:
    """Refuse a repository of the hub that holds no model in the form of transformers.

    Args:
        hub_id: the repository.
        names: of its files.

    Raises:
        UsageError: it holds an adapter, or GGUF files.
    """
    if _weights(names, {}) or any(SHARD.fullmatch(name) for name in names):
        return
    if "adapter_config.json" in names:
        raise UsageError(
            f"the hub's {hub_id} is an adapter, which is no model by itself; merge it first "
            "(peft: merge_and_unload) and pass the folder of the result"
        )
    if ggufs := sorted(name for name in names if name.endswith(".gguf")):
        raise UsageError(
            f"the hub's {hub_id} holds GGUF files only; download one of them, such as "
            f"`hf download {hub_id} {ggufs[0]}`, and pass its path"
        )


def _weights(names: Collection[str], config: Mapping[str, Any]) -> str | None:
    """Return which of the files transformers opens for the weights: an index stands for parts."""
    named = config.get("transformers_weights")
    looked_for = (named,) if isinstance(named, str) else WEIGHTS
    return next((name for name in looked_for if name in names), None)


def _parts(index: Path) -> list[str]:
    found = _json(index).get("weight_map")
    return sorted({str(part) for part in found.values()}) if isinstance(found, dict) else []


def _pointer(file: Path) -> UsageError:
    return UsageError(
        f"{file} is a Git LFS pointer, not the file that it stands for; run `git lfs pull` in its "
        "repository, or download that file"
    )


def _refuse_pointer(file: Path) -> None:
    if file.is_file():
        with file.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise _pointer(file)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # whoever loads it says what is wrong
    return found if isinstance(found, dict) else {}
