"""Converts a GGUF file, once, to a folder that transformers loads in seconds.

Reading GGUF takes transformers seconds to minutes: weights are dequantised, the tokenizer is
rebuilt. The result is kept in the user's cache under a hash of the file and this converter's
version. A folder appears there by renaming, so it is always complete; processes that want the same
file wait for one another.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Container, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import torch
import transformers
from filelock import FileLock
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from egcfg.errors import UsageError, summarize
from egcfg.plugins.cache import CACHE_VARIABLE, ORIGIN
from egcfg_backends_hf.loading.gguf_header import read_header
from egcfg_backends_hf.loading.recognise import check_file
from egcfg_backends_hf.loading.source import models_folder

__all__ = ["CONVERTER_VERSION", "converted_folder", "quiet_transformers"]

logger = logging.getLogger(__name__)

CONVERTER_VERSION = 2
"""Raise it whenever what a conversion writes changes: older results are then converted anew."""

SAMPLED, SAMPLE, SAMPLES = 2**20, 2**16, 64
"""Bytes of a file's beginning, and of each of so many samples of the rest, that tell it from
others: gigabytes take seconds to hash at each start, and another model differs everywhere."""


DIGITS_APART = (pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False))
DEEPSEEK_CODER = (
    pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
    pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
    pre_tokenizers.Split(Regex(r"\s?\p{P}+"), "isolated"),
    pre_tokenizers.Split(Regex("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), "isolated"),
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(False, use_regex=False),
)
SPLITS = {
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), DIGITS_APART),
    "exaone": DIGITS_APART,
    "deepseek-coder": DEEPSEEK_CODER,
}
"""How text is split into words before their bytes are merged, by the name that a GGUF file has for
it: as the tokenizer.json of these models says."""

READABLE = (
    ("modeling_gguf_pytorch_utils", "GGUF_SUPPORTED_ARCHITECTURES"),
    ("integrations.gguf", "GGUF_ARCHS"),
)
"""Where transformers says which architectures it reads from GGUF."""

LIKE_GPT_2 = frozenset({"default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"})

_ONE_CONVERSION = threading.Lock()
"""Of the threads of this process: while one converts, the library that reads files is changed."""


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
    check_file(file)
    cache = models_folder() if cache is None else cache
    folder = cache / f"{_identity(file)}-v{CONVERTER_VERSION}"
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


def _identity(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8))
    with file.open("rb") as stream:
        digest.update(stream.read(SAMPLED))
        for number in range(SAMPLES):
            stream.seek(max(0, size - SAMPLE) * number // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:32]


def _convert_into(file: Path, folder: Path, progress: Callable[[str], None]) -> None:
    """Convert under the lock: what lies in the unfinished folder is a killed process's."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    progress(f"converting {file.name}: done once per file, which takes seconds to minutes")
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
    with TemporaryDirectory() as lone, quiet_transformers(), silence, _reading_once():
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
            raise UsageError(f"cannot read {file}: {_why(file, error)}") from error
        _split_as_trained(tokenizer, file)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / ORIGIN).write_text(json.dumps({"file": file.name}))


def _why(file: Path, error: Exception) -> str:
    """Return what is wrong with a file that could not be converted, and what to do."""
    architecture = read_header(file).values.get("general.architecture")
    readable = _readable()
    if isinstance(architecture, str) and readable and _plainly(architecture) not in readable:
        version = transformers.__version__
        return (
            f"transformers {version} does not read its architecture {architecture!r} from GGUF; "
            "pass the folder or hub id that the file was made from"
        )
    return f"{summarize(error)}; the file may be incomplete: download it again"


def _readable() -> frozenset[str]:
    """Return the architectures that transformers reads from GGUF, see `_plainly`; none: unknown."""
    names: set[str] = set()
    for module, name in READABLE:
        with contextlib.suppress(ImportError):  # of another version
            names.update(getattr(import_module(f"transformers.{module}"), name, ()))
    return frozenset(_plainly(name) for name in names)


def _plainly(architecture: str) -> str:
    """Return a name without what transformers and GGUF spell in different ways."""
    return architecture.replace("-", "").replace("_", "")


@contextlib.contextmanager
def _reading_once() -> Iterator[None]:
    """Read a file's header once, which takes seconds, and the names of its tensors.

    transformers parses it for the config, for the tokenizer and for the weights, and makes the
    table of names again for each module: that was half of a small model's conversion.
    """
    with _ONE_CONVERSION:
        usual = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
        for name, make in usual.items():
            setattr(gguf, name, functools.cache(make))
        try:
            yield
        finally:
            for name, make in usual.items():
                setattr(gguf, name, make)


def _split_as_trained(tokenizer: Any, file: Path) -> None:
    """Let a tokenizer split text as the file says, of which transformers knows some names only.

    It splits as GPT-2's tokenizer does for all others: SmolLM2's would keep the digits of a number
    together, and cut ``"1\\n\\n2"`` into other tokens than the model was trained on.
    """
    name = str(read_header(file).values.get("tokenizer.ggml.pre", "default"))
    if name in SPLITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(SPLITS[name]))
    elif name not in LIKE_GPT_2 and name not in _known_to_transformers():
        logger.warning(
            "%s splits text in a way that is not known here (%s): its tokens may be others than "
            "those that it was trained on; prefer the model's folder or hub id",
            file.name,
            name,
        )


def _known_to_transformers() -> Container[str]:
    try:
        mapping = import_module("transformers.integrations.gguf.gguf_tokenizer_mapping")
    except ImportError:  # of another version
        return ()
    known: Container[str] = getattr(mapping, "GGUF_PRE_TOKENIZER_SPLITS", ())
    return known


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
