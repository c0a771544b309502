"""Tells local models apart by what is in their files, whatever they are called and wherever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from egcfg.errors import ConfigError

__all__ = ["model_fingerprint"]

PIECES = 64
PIECE_BYTES = 256 * 1024
"""Read of each large file, evenly spread: another training step changes weights everywhere."""

MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".py"})
# What a trainer leaves beside a checkpoint and nobody reads to run it.
NOT_OF_THE_MODEL = frozenset({"trainer_state.json", "training_args.bin"})


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
