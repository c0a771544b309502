"""Finds out what the option ``model`` names: the embedded model, a file, a folder or a hub id."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from egcfg.errors import UsageError
from egcfg_backends_hf.embedded import embedded_model
from egcfg_backends_hf.gguf_conversion import converted_folder
from egcfg_backends_hf.hub import must_use_local_copy

__all__ = ["ModelSource", "find_model"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@frozen
class ModelSource:
    """A model that transformers can load.

    Attributes:
        name: the model as results name it.
        location: what ``from_pretrained`` takes: a folder's path or a hub id.
        local: whether everything is on this machine already: a folder, or an earlier download.
    """

    name: str
    location: str
    local: bool


def find_model(model: str | None, revision: str | None = None) -> ModelSource:
    """Return where to load `model` from (see `HFOptions.model`), converting GGUF on first use.

    Raises:
        UsageError: there is no such file or folder or it holds no model, or the hub has none.
        MissingExtraError: the embedded model is asked for and not installed.
    """
    if model is None:
        return _from_gguf(embedded_model())
    path = Path(model).expanduser()
    if path.is_file():
        return _from_gguf(path)
    if path.is_dir():
        return _from_folder(path)
    if model.endswith(".gguf") or not HUB_ID.fullmatch(model) or model.startswith((".", "~")):
        raise UsageError(
            f"no model at {model}: there is no such file or folder; "
            "check the path, or pass a hub id such as Qwen/Qwen2.5-Coder-0.5B-Instruct"
        )
    return ModelSource(name=model, location=model, local=must_use_local_copy(model, revision))


def _from_gguf(path: Path) -> ModelSource:
    folder = converted_folder(path)
    return ModelSource(name=path.stem, location=str(folder), local=True)


def _from_folder(path: Path) -> ModelSource:
    if not (path / "config.json").is_file():
        ggufs = sorted(path.glob("*.gguf"))
        hint = f"pass a file of it, such as {ggufs[0]}" if ggufs else "pass a model's own folder"
        raise UsageError(f"the folder {path} holds no model (it has no config.json); {hint}")
    return ModelSource(name=path.resolve().name, location=str(path), local=True)
