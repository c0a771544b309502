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


def gguf(tensors: int = 3, **values: str | int) -> bytes:
    """Return the beginning of a GGUF file."""
    header = struct.pack("<4sIQQ", b"GGUF", 3, tensors, len(values) + 1)
    for name, value in values.items():
        key = name.replace("_", ".").encode()
        header += struct.pack("<Q", len(key)) + key
        if isinstance(value, int):
            header += struct.pack("<IH", 2, value)
        else:
            header += struct.pack("<IQ", 8, len(value)) + value.encode()
    return header + struct.pack("<Q", 1) + b"x" + struct.pack("<II", 4, 7)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.gguf", POINTER, r"Git LFS pointer.*git lfs pull"),
        ("m.safetensors", b"\x10\x00\x00\x00", "pass the folder that it is in"),
        ("m.txt", b"hello", "no GGUF file"),
        (
            "m-00002-of-00003.gguf",
            gguf(),
            r"one of 3 parts.*join them first: "
            r"llama-gguf-split --merge m-00001-of-00003\.gguf m\.gguf",
        ),
        ("m.gguf", gguf(split_count=2), r"one of 2 parts.*first names: llama-gguf-split --merge"),
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


@pytest.mark.parametrize("values", [{}, {"split_count": 1}])
def test_the_only_part_of_a_file_is_a_whole_model(tmp_path: Path, values: dict[str, int]) -> None:
    file = tmp_path / "m-00001-of-00001.gguf"
    file.write_bytes(gguf(**values))
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


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "modeling_own.py",
        "qwen.tiktoken",
        "sentencepiece.bpe.model",
        "tokenizer.json",
        "vocab.json",
    ],
)
def test_a_pointer_in_a_folder_is_named(folder: Path, file: str) -> None:
    (folder / file).write_bytes(POINTER)
    with pytest.raises(UsageError, match=rf"{file} is a Git LFS pointer"):
        check_folder(folder)


def test_a_pointer_to_one_part_of_the_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "two.safetensors").write_bytes(POINTER)
    parts = {"a": "one.safetensors", "b": "two.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(UsageError, match=r"two\.safetensors is a Git LFS pointer"):
        check_folder(folder)


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "plot.png", "README.md", "m.gguf", "model.onnx"]
)
def test_a_pointer_to_what_is_not_read_does_no_harm(folder: Path, file: str) -> None:
    (folder / file).write_bytes(POINTER)
    check_folder(folder)


def test_weights_of_another_form_that_were_left_out_do_no_harm(folder: Path) -> None:
    index = {"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    check_folder(folder)


def test_weights_that_the_config_names_are_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "own.safetensors")
    (folder / "config.json").write_text('{"transformers_weights": "own.safetensors"}')
    check_folder(folder)


def test_a_vocabulary_without_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no weights"):
        check_folder(folder)


@pytest.mark.parametrize("file", ["training_args.bin", "optimizer.pt", "scheduler.pt"])
def test_what_training_left_is_no_weights(folder: Path, file: str) -> None:
    (folder / "model.safetensors").rename(folder / file)
    with pytest.raises(UsageError, match=r"holds no weights"):
        check_folder(folder)


def test_a_gguf_file_beside_a_config_is_what_to_pass(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "m.gguf")
    with pytest.raises(UsageError, match=r"holds no weights .*; pass .*m\.gguf"):
        check_folder(folder)


def test_parts_of_weights_without_their_index_are_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    message = r"no model\.safetensors\.index\.json, which model-00001-of-00002\.safetensors be"
    with pytest.raises(UsageError, match=message):
        check_folder(folder)


def test_an_adapter_that_was_saved_with_a_config_is_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    check_folder(folder)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "training_args.bin").touch()
    with pytest.raises(UsageError, match=r"an adapter for someone/base.*merge"):
        check_folder(folder)


def test_an_adapter_names_the_model_that_it_is_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(UsageError, match=r"an adapter for someone/base.*merge"):
        check_folder(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UsageError, match=r"an adapter for its base model"):
        check_folder(folder)


def test_parts_that_an_index_names_must_be_there(folder: Path) -> None:
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
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
