from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes objects as the lines of a file and returns its path."""

    def write_lines(*lines: Any, name: str = "problems.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        return path

    return write_lines


@pytest.fixture
def write_python(tmp_path: Path) -> Callable[..., Path]:
    """Likewise as Python writes JSON, which has NaN, infinities and numbers of any length."""

    def write_lines(*lines: Any, name: str = "problems.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write_lines
