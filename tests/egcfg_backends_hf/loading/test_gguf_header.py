from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import pytest

from egcfg_backends_hf.loading.gguf_header import GGUFHeader, read_header


@pytest.fixture
def rewritten(tmp_path: Path) -> Path:
    """A header as current llama-quantize and llama-gguf-split write it."""
    writer: Any = gguf.GGUFWriter(tmp_path / "rewritten.gguf", "llama")
    writer.add_tags(["tiny", "random"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "é" * 300])
    writer.add_token_scores([0.5, 1.5, 2.5])
    writer.add_token_types([1, 1, 3])
    writer.add_chat_template("{{ messages }}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_uint16("split.count", 3)
    writer.add_float64("x.double", 0.25)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return tmp_path / "rewritten.gguf"


VALUES = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.chat_template": "{{ messages }}",
    "general.file_type": 3,
    "split.count": 3,
    "x.double": 0.25,
}


def test_what_stands_behind_a_vocabulary_is_read(rewritten: Path) -> None:
    assert read_header(rewritten) == GGUFHeader(0, VALUES)


def test_of_a_file_that_is_cut_off_what_is_there_is_read(rewritten: Path) -> None:
    content = rewritten.read_bytes()
    sizes = []
    for kept in range(4, len(content)):
        cut = rewritten.with_name(f"{kept}.gguf")
        cut.write_bytes(content[:kept])
        found = read_header(cut)
        assert found.tensors == (0 if kept >= 24 else None)
        assert list(found.values.items()) == list(VALUES.items())[: len(found.values)]
        sizes.append(len(found.values))
    assert sizes == sorted(sizes)
    assert set(sizes) == set(range(len(VALUES)))


@pytest.mark.parametrize(
    "array", [(8, 2**63), (8, 3, 2**64 - 1), (4, 2**63), (77, 1), (9, 1)], ids=str
)
def test_an_array_that_cannot_be_is_the_end(tmp_path: Path, array: tuple[int, ...]) -> None:
    kind, *lengths = array
    file = tmp_path / "m.gguf"
    start = struct.pack("<4sIQQ", b"GGUF", 3, 1, 9) + struct.pack("<Q", 1) + b"x"
    file.write_bytes(start + struct.pack(f"<II{len(lengths)}Q", 9, kind, *lengths) + bytes(99))
    assert read_header(file) == GGUFHeader(1, {})


def test_a_file_that_was_replaced_is_read_anew(rewritten: Path) -> None:
    read_header(rewritten)
    rewritten.write_bytes(rewritten.read_bytes()[:30])
    assert read_header(rewritten).values == {}
