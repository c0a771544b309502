"""Converts a GGUF file, once, to a folder that transformers loads in seconds.

Reading GGUF takes transformers about a minute (weights are dequantised, the tokenizer is rebuilt).
The result is kept in the user's cache under the file's hash and this converter's version. A folder
appears there by renaming, so it is always complete; processes that want the same file wait for one
another.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from egcfg.errors import UsageError, summarize
from egcfg_backends_hf.loading.source import CACHE_VARIABLE, models_folder

__all__ = ["CONVERTER_VERSION", "converted_folder", "quiet_transformers"]

logger = logging.getLogger(__name__)

CONVERTER_VERSION = 1
"""Raise it whenever what a conversion writes changes: older results are then converted anew."""

MAGIC = b"GGUF"


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers log errors only and draw no bars; its settings return afterwards."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def converted_folder(
    file: Path, cache: Path | None = None, progress: Callable[[str], None] = logger.info
) -> Path:
    """Return the folder that `file` is converted to, converting it if that has not been done.

    Args:
        file: the GGUF file.
        cache: where converted models are kept; None: the user's cache (`models_folder`).
        progress: is told in a line what takes long.

    Raises:
        UsageError: the file is no complete GGUF file, or of a kind that transformers cannot read,
            or the result cannot be written.
    """
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise UsageError(
                f"{file} is no GGUF file; pass a .gguf model, a model folder or a hub id"
            )
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    cache = models_folder() if cache is None else cache
    folder = cache / f"{digest[:32]}-v{CONVERTER_VERSION}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # The kernel drops this lock with its owner, however that ends.
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _convert_into(file, folder, progress)
    except OSError as error:
        raise UsageError(
            f"cannot keep the converted model in {cache}: {error}; "
            f"make room there or set {CACHE_VARIABLE} to another folder"
        ) from error
    return folder


def _convert_into(file: Path, folder: Path, progress: Callable[[str], None]) -> None:
    """Convert under the lock: what lies in the unfinished folder is a killed process's."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    progress(f"converting {file.name}: done once per file, takes a minute or two")
    started = time.monotonic()
    try:
        _convert(file, unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    progress(f"converted {file.name} in {time.monotonic() - started:.0f} s; kept in {folder}")


def _convert(file: Path, folder: Path) -> None:
    # The bar of the dequantisation knows no switch; it would break into a caller's own display.
    silence = contextlib.redirect_stderr(io.StringIO())
    with TemporaryDirectory() as lone, quiet_transformers(), silence:
        # Whatever else lies in the file's folder (another model's settings) must not be read.
        link = Path(lone, "model.gguf")
        link.symlink_to(file.resolve())
        try:
            tokenizer = AutoTokenizer.from_pretrained(lone, gguf_file=link.name)
            packed = AutoModelForCausalLM.from_pretrained(
                lone, gguf_file=link.name, dtype=torch.float32, **_dequantised()
            )
            model = _plain_copy(packed)
        # Truncated and unsupported files fail in any way, inside two libraries.
        except Exception as error:
            raise UsageError(
                f"cannot read {file}: {summarize(error)}; the file may be incomplete (download it "
                "again) or of an architecture that transformers does not read from GGUF"
            ) from error
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _dequantised() -> dict[str, object]:
    """Return the argument that makes transformers unpack all weights, where it is needed."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _plain_copy(packed: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Return the same model without the marks of its file format, which forbid saving it."""
    config = packed.config
    for mark in ("quantization_config", "_name_or_path"):
        if hasattr(config, mark):
            delattr(config, mark)
    with torch.device("meta"):
        model: transformers.PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(packed.state_dict(), strict=True, assign=True)
    model.tie_weights()
    model.generation_config = packed.generation_config
    return model
