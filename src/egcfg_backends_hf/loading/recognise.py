"""Tells what a file or folder is that was named as a model, before anything heavy is imported.

Downloads that stopped at a pointer, adapters, vocabularies and parts of models are named for what
they are, with what to do instead.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from egcfg.errors import UsageError
from egcfg_backends_hf.loading.gguf_header import MAGIC, read_header

__all__ = ["check_file", "check_folder", "is_rounded"]

LFS_POINTER = b"version https://git-lfs"

SPLIT_NAME = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")

WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")

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
    if split := SPLIT_NAME.fullmatch(file.name):
        raise UsageError(
            f"{file} is one of {int(split['count'])} parts of a model; join them first: "
            f"llama-gguf-split --merge {file.name} {split['stem']}.gguf"
        )
    header = read_header(file)
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


def is_rounded(file: Path) -> bool:
    """Return whether a GGUF file says that its weights are not those of training, but rounded."""
    return bool(read_header(file).values.get("general.file_type", FLOAT32) != FLOAT32)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no whole model in the form of transformers.

    Raises:
        UsageError: it is something else, which the message names.
    """
    if not (folder / "config.json").is_file():
        adapter = folder / "adapter_config.json"
        if adapter.is_file():
            base = _json(adapter).get("base_model_name_or_path") or "its base model"
            raise UsageError(
                f"the folder {folder} holds an adapter for {base}, which is no model by itself; "
                "merge it first (peft: merge_and_unload) and pass the result"
            )
        ggufs = sorted(folder.glob("*.gguf"))
        hint = f"pass a file of it, such as {ggufs[0]}" if ggufs else "pass a model's own folder"
        raise UsageError(f"the folder {folder} holds no model (it has no config.json); {hint}")
    weights = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
    for file in (folder / "config.json", *folder.glob("tokenizer*"), *weights):
        if file.is_file() and _is_pointer(file):
            raise _pointer(file)
    if not weights:
        raise UsageError(
            f"the folder {folder} holds no weights (*.safetensors, *.bin), only what describes "
            "them; download the model again, all of it"
        )
    for index in (file for file in weights if file.name.endswith(".index.json")):
        parts = set(_json(index).get("weight_map", {}).values())
        lacking = sorted(part for part in parts if not (folder / part).is_file())
        if lacking:
            raise UsageError(
                f"the folder {folder} lacks {len(lacking)} of {len(parts)} parts of its weights, "
                f"such as {lacking[0]}; download them again"
            )


def _pointer(file: Path) -> UsageError:
    return UsageError(
        f"{file} is a Git LFS pointer, not the file that it stands for; run `git lfs pull` in its "
        "repository, or download that file"
    )


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(LFS_POINTER)) == LFS_POINTER


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # whoever loads it says what is wrong
    return found if isinstance(found, dict) else {}
