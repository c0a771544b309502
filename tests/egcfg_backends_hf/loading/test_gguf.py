from __future__ import annotations

import copy
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from gguf import GGUFReader, LlamaFileType, get_tensor_name_map
from transformers import AutoTokenizer

from egcfg.errors import UsageError
from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template, TextPrompt
from egcfg_backends_fireworks.testing.llama_server import llama_server
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine.linear_layers import HalfLinear, PackedLinear, can_round
from egcfg_backends_hf.loading import gguf
from egcfg_backends_hf.loading.gguf import converted_folder
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.loading.source import embedded_model
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.text import TextCodec

from ..tiny_gguf import write_gguf

Run = Callable[[Coroutine[Any, Any, Any]], Any]
TEXT = "def add(a):\n    if a:\n        return 'é😀'\n\n\t\r\n"


def test_the_converted_model_is_the_same_model(
    tiny_gguf: Path,
    tmp_path: Path,
    plain_model: Any,
    open_folder: Callable[..., HFBackend],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path))
    backend = open_folder(tiny_gguf)
    assert backend.model_name == "tiny-F32"
    assert backend.capabilities.chat
    assert backend.end_ids == {0, 2}
    ids = run(backend.encode(TextPrompt((TEXT, Template("<|im_end|>"))))).value
    assert ids[-1] == 2
    assert run(backend.decode(ids)).value == TEXT + "<|im_end|>"
    [scores] = run(backend.score([ScoreRequest(ids[:1], ids[1:])])).value
    with torch.inference_mode():
        logits = plain_model(torch.tensor([ids])).logits[0]
    expected = torch.log_softmax(logits, dim=-1).numpy()
    np.testing.assert_allclose([s.values for s in scores], expected, atol=1e-4)


@pytest.mark.skipif(not can_round(torch.float32), reason="FBGEMM computes on x86 processors only")
@pytest.mark.parametrize(
    ("file_type", "weights", "kind"),
    [
        ("MOSTLY_Q4_1", "auto", HalfLinear),
        ("MOSTLY_Q4_1", "packed", PackedLinear),
        ("ALL_F32", "auto", PackedLinear),
    ],
)
def test_weights_that_were_rounded_before_are_held_in_float16_unless_asked_otherwise(
    tiny_llama: Path,
    plain_model: Any,
    tmp_path: Path,
    open_folder: Callable[..., HFBackend],
    monkeypatch: pytest.MonkeyPatch,
    file_type: str,
    weights: str,
    kind: type[torch.nn.Module],
) -> None:
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = copy.deepcopy(plain_model)
    said = getattr(LlamaFileType, file_type)
    backend = open_folder(write_gguf(tmp_path / "t.gguf", model, tokenizer, said), weights=weights)
    assert type(backend._open_model.model.model.lm_head) is kind
    kept = "float16" if kind is HalfLinear else "packed"
    assert backend.resolved == {"device": "cpu", "dtype": "float32", "weights": kept}


@pytest.mark.skipif(not can_round(torch.float32), reason="FBGEMM computes on x86 processors only")
def test_a_weight_that_float16_cannot_hold_is_no_reason_to_refuse_a_file(
    tiny_llama: Path,
    plain_model: Any,
    tmp_path: Path,
    open_folder: Callable[..., HFBackend],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path))
    model = copy.deepcopy(plain_model)
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = 1e5
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    file = write_gguf(tmp_path / "t.gguf", model, tokenizer, LlamaFileType.MOSTLY_Q4_1)
    assert open_folder(file).resolved["weights"] == "packed"
    assert "t is loaded again: backend.weights=float16 cannot be had here" in caplog.text
    assert "100000 does not fit float16" in caplog.text
    with pytest.raises(UsageError, match="100000 does not fit float16"):
        open_folder(file, weights="float16")


def test_a_file_is_converted_once(tiny_gguf: Path, tmp_path: Path) -> None:
    told: list[str] = []
    first = converted_folder(tiny_gguf, tmp_path, told.append)
    assert [line.split()[0] for line in told] == ["converting", "converted"]
    assert converted_folder(tiny_gguf, tmp_path, told.append) == first
    copy = tmp_path / "renamed.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    assert converted_folder(copy, tmp_path, told.append) == first
    assert len(told) == 2


def test_a_file_is_parsed_once_and_the_libraries_are_left_as_they_were(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Any] = []

    class Counting(GGUFReader):
        def __init__(self, path: Any, *arguments: Any) -> None:
            parsed.append(path)
            super().__init__(path, *arguments)

    monkeypatch.setattr("gguf.GGUFReader", Counting)
    converted_folder(tiny_gguf, tmp_path)
    assert len(parsed) == 1
    assert gguf.gguf.GGUFReader is Counting
    assert gguf.gguf.get_tensor_name_map is get_tensor_name_map


def test_a_new_converter_converts_again(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = converted_folder(tiny_gguf, tmp_path)
    monkeypatch.setattr(gguf, "CONVERTER_VERSION", 99)
    assert converted_folder(tiny_gguf, tmp_path) != first


def test_processes_that_race_convert_once(tiny_gguf: Path, tmp_path: Path) -> None:
    told: list[str] = []
    folders: list[Path] = []

    def convert() -> None:
        folders.append(converted_folder(tiny_gguf, tmp_path, told.append))

    threads = [threading.Thread(target=convert) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3
    assert len(set(folders)) == 1
    assert len(told) == 2


def test_what_a_killed_conversion_left_behind_does_no_harm(tiny_gguf: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from egcfg_backends_hf.loading import gguf as g\n"
        "def half(file, folder):\n"
        "    folder.mkdir()\n"
        "    (folder / 'config.json').write_text('{')\n"
        "    print('half-way', flush=True)\n"
        "    time.sleep(600)\n"
        "g._convert = half\n"
        "g.converted_folder(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, str(tiny_gguf), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        os.kill(process.pid, signal.SIGKILL)
    folder = converted_folder(tiny_gguf, tmp_path)
    assert (folder / "model.safetensors").is_file()
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_waiting_process_uses_what_the_other_made(tiny_gguf: Path, tmp_path: Path) -> None:
    folder = converted_folder(tiny_gguf, tmp_path)
    hidden = tmp_path / "hidden"
    folder.rename(hidden)
    lock = gguf.FileLock(folder.with_suffix(".lock"))
    told: list[str] = []
    waiting = threading.Thread(target=lambda: converted_folder(tiny_gguf, tmp_path, told.append))
    with lock:
        waiting.start()
        time.sleep(0.2)
        hidden.rename(folder)
    waiting.join()
    assert told == []


@pytest.mark.parametrize("kept", [4, 24, 3000, 60_000])
def test_a_cut_off_file_is_one_clear_line(tiny_gguf: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"cannot read .*cut\.gguf: .*download it again") as caught:
        converted_folder(cut, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.unfinished"))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_an_architecture_that_transformers_does_not_read_is_named(
    tiny_gguf: Path, tmp_path: Path
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"dream"))
    message = r"does not read its architecture 'dream' from GGUF; pass the folder or hub id"
    with pytest.raises(UsageError, match=message) as caught:
        converted_folder(file, tmp_path / "cache")
    assert "incomplete" not in str(caught.value)


@pytest.mark.parametrize("name", ["llama", "qwen2moe", "gpt-oss", "minimax-m2", "lfm2", "gemma3"])
def test_names_of_architectures_are_known_as_gguf_spells_them(name: str) -> None:
    assert gguf._plainly(name) in gguf._readable()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="no GGUF file"):
        converted_folder(other, tmp_path)


def test_a_full_disk_is_one_clear_line(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf, "_convert", full)
    with pytest.raises(UsageError, match=r"No space left on device.*EGCFG_CACHE_DIR"):
        converted_folder(tiny_gguf, tmp_path)


@pytest.mark.model
def test_the_embedded_model_converts_and_answers(run: Run) -> None:
    backend = HFBackend(HFOptions(device="cpu"))

    async def check() -> None:
        await backend.open()
        question = ChatPrompt((ChatMessage("user", "What is the capital of France?"),))
        ids = (await backend.encode(question)).value
        params = SamplingParams(temperature=0.0, max_tokens=20)
        [[answer]] = (await backend.sample([SampleRequest(ids, 1, params)])).value
        assert answer.finished
        assert "Paris" in answer.text

        model = load_model(HFOptions(device="cpu", weights="plain")).model
        prompt = torch.tensor([ids])
        expected = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=20
        )[0, len(ids) :].tolist()
        assert expected[: len(answer.ids)] == list(answer.ids)
        assert expected[len(answer.ids)] in backend.end_ids

        scored = await backend.score([ScoreRequest(ids + answer.ids)])
        assert scored.value[0][0].argmax() in backend.end_ids
        assert scored.usage.forward_tokens == 0  # sampled a moment ago
        await backend.close()

    run(check())


SPLIT_TEXTS = (
    "1\n\n2",
    "x = 10\n\n\ny = 2024\n",
    "def f(x):\n    return x ** 12 + 3.14\n\n\nassert f(10) == 100\n\n",
    "a\n\nb",
    "\n\n",
    " \n \n  12  34\t\t5\r\n",
    "for i in range(100):\n\tprint(i, 'it's', \"we'll\")  # 50 % of 1e-9",
    "½ ² Ⅻ ٣ \uff11\uff12 九十 😀 é",
)


@pytest.mark.model
@pytest.mark.server
def test_the_embedded_models_text_is_split_as_llama_cpp_splits_it() -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed (xllamacpp)")
    tokenizer = load_model(HFOptions(device="cpu", weights="plain")).tokenizer
    with llama_server(embedded_model()) as address:
        for text in SPLIT_TEXTS:
            body = json.dumps({"content": text, "add_special": False}).encode()
            request = Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})
            with urlopen(request) as answer:
                expected = json.load(answer)["tokens"]
            assert tokenizer.encode(text, add_special_tokens=False) == expected, text


def test_a_way_to_split_text_that_is_not_known_is_told(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "other.gguf"
    old, new = (struct.pack("<Q", 7) + name for name in (b"default", b"unknown"))
    file.write_bytes(tiny_gguf.read_bytes().replace(old, new))
    converted_folder(file, tmp_path / "cache")
    assert "other.gguf splits text in a way that is not known here (unknown)" in caplog.text


def test_a_file_is_known_again_by_samples_of_it(tiny_gguf: Path, tmp_path: Path) -> None:
    content = bytearray(tiny_gguf.read_bytes() + bytes(3 * gguf.SAMPLED))
    names = set()
    for place in (10, len(content) // 2, len(content) - 1):
        changed = tmp_path / "m.gguf"
        content[place] ^= 1
        changed.write_bytes(content)
        names.add(gguf._identity(changed))
        content[place] ^= 1
    assert len(names) == 3


@pytest.mark.model
def test_special_tokens_in_literal_text_stay_text_for_the_embedded_model() -> None:
    tokenizer = load_model(HFOptions(device="cpu", weights="plain")).tokenizer
    codec = TextCodec(tokenizer, "the model")
    ids = codec.encode(TextPrompt((TEXT,)))
    assert list(ids) == tokenizer.encode(TEXT)
    assert codec.decode(ids) == TEXT
    special = set(tokenizer.all_special_ids)
    content = f"{TEXT}print('<|im_end|>', \"<|endoftext|>\")"
    ids = codec.encode(ChatPrompt((ChatMessage("user", content),), "```python\n"))
    before, after = codec.encode(ChatPrompt((ChatMessage("user", TEXT),), "```python\n")), ids
    assert [i for i in after if i in special] == [i for i in before if i in special]
    assert content in codec.decode(ids)
