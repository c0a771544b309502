from __future__ import annotations

import json
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter, LlamaFileType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egcfg.errors import UsageError
from egcfg_backends_hf.loading.recognise import check_file, check_folder, is_rounded
from egcfg_backends_hf.options import HFOptions

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def gguf(tensors: int = 3, **values: str) -> bytes:
    """Return the beginning of a GGUF file."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, tensors, len(values) + 1)
    for name, value in values.items():
        key = name.replace("_", ".").encode()
        header += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value))
        header += value.encode()
    return header + struct.pack("<Q", 1) + b"x" + struct.pack("<II", 4, 7)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.gguf", POINTER, r"Git LFS pointer.*git lfs pull"),
        ("m.safetensors", b"\x10\x00\x00\x00", "pass the folder that it is in"),
        ("m.txt", b"hello", "no GGUF file"),
        ("m-00002-of-00003.gguf", gguf(), r"one of 3 parts.*llama-gguf-split --merge"),
        ("m.gguf", gguf(tensors=0, general_architecture="llama"), "vocabulary without weights"),
        ("m.gguf", gguf(general_architecture="llama", general_type="adapter"), "an adapter"),
        ("m.gguf", gguf(general_architecture="clip"), "companion file"),
        ("m.gguf", gguf(general_type="mmproj"), "companion file"),
    ],
)
def test_files_that_are_no_model_are_named_for_what_they_are(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        check_file(file)


def rewritten(file: Path, file_type: int, kind: str = "model") -> Path:
    """Write the header of a model as llama-quantize does, which puts the type last."""
    writer: Any = GGUFWriter(file, "llama")
    writer.add_type(kind)
    writer.add_token_list([f"token {number}" for number in range(300)])
    writer.add_token_types([1] * 300)
    writer.add_file_type(file_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(("said", "rounded"), [("MOSTLY_Q4_K_M", True), ("ALL_F32", False)])
def test_weights_are_known_to_be_rounded_where_the_type_stands_behind_the_vocabulary(
    tmp_path: Path, said: str, rounded: bool
) -> None:
    file = rewritten(tmp_path / "m.gguf", getattr(LlamaFileType, said))
    assert is_rounded(file) == rounded


def test_a_file_that_ends_within_its_vocabulary_is_named_all_the_same(tmp_path: Path) -> None:
    file = rewritten(tmp_path / "m.gguf", LlamaFileType.MOSTLY_Q4_1, kind="adapter")
    file.write_bytes(file.read_bytes()[:1000])
    assert not is_rounded(file)
    with pytest.raises(UsageError, match="an adapter"):
        check_file(file)


def test_a_model_is_taken_for_one(tiny_gguf: Path, tiny_llama: Path) -> None:
    check_file(tiny_gguf)
    check_folder(tiny_llama)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), cut=st.integers(0, 200))
def test_whatever_follows_the_magic_number_is_no_other_error(
    tmp_path: Path, content: bytes, cut: int
) -> None:
    file = tmp_path / "m.gguf"
    for content_of_file in (b"GGUF" + content, gguf(general_architecture="llama")[: 4 + cut]):
        file.write_bytes(content_of_file)
        with suppress(UsageError):
            check_file(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x08" + bytes(20))
    check_folder(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pointer_in_a_folder_is_named(folder: Path, file: str) -> None:
    (folder / file).write_bytes(POINTER)
    with pytest.raises(UsageError, match=rf"{file} is a Git LFS pointer"):
        check_folder(folder)


def test_a_vocabulary_without_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no weights"):
        check_folder(folder)


def test_an_adapter_names_the_model_that_it_is_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(UsageError, match=r"an adapter for someone/base.*merge"):
        check_folder(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UsageError, match=r"an adapter for its base model"):
        check_folder(folder)


def test_parts_that_an_index_names_must_be_there(folder: Path) -> None:
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / "model-1.safetensors").write_bytes(bytes(8))
    with pytest.raises(UsageError, match=r"lacks 1 of 2 parts .* such as model-2\.safetensors"):
        check_folder(folder)


def test_all_of_it_is_said_without_torch(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(UsageError, match="Git LFS pointer"):
        _ = HFOptions(model=str(folder)).model_name
    script = (
        "import sys; from egcfg_backends_hf.options import HFOptions\n"
        f"try: HFOptions(model={str(folder)!r}).model_name\n"
        "except Exception as error: print(error)\n"
        "print({'torch', 'transformers', 'gguf', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout.splitlines()[-1] == b"set()"
