from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from egcfg.errors import UsageError
from egcfg.interfaces.backend import SampleQuery, SamplingParams, ScoreQuery
from egcfg_backends_hf import gguf_conversion
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.gguf_conversion import converted_folder
from egcfg_backends_hf.options import HFOptions

TEXT = "def add(a):\n    if a:\n        return 'é😀'\n\n\t\r\n"


def test_the_converted_model_is_the_same_model(
    tiny_gguf: Path, tmp_path: Path, plain_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path))
    with HFBackend(HFOptions(model=str(tiny_gguf), device="cpu")) as backend:
        assert backend.model_name == "tiny-F32"
        assert backend.capabilities.chat
        assert backend.end_ids == {0, 2}
        ids = backend.encode(TEXT + "<|im_end|>")
        assert ids[-1] == 2
        assert backend.decode(ids) == TEXT + "<|im_end|>"
        [scores] = backend.score([ScoreQuery(backend.start(ids[:1]), ids[1:])])
    with torch.inference_mode():
        logits = plain_model(torch.tensor([ids])).logits[0]
    expected = torch.log_softmax(logits, dim=-1).numpy()
    np.testing.assert_allclose([s.logprobs for s in scores], expected, atol=1e-4)


def test_a_file_is_converted_once(tiny_gguf: Path, tmp_path: Path) -> None:
    told: list[str] = []
    first = converted_folder(tiny_gguf, tmp_path, told.append)
    assert [line.split()[0] for line in told] == ["converting", "converted"]
    assert converted_folder(tiny_gguf, tmp_path, told.append) == first
    copy = tmp_path / "renamed.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    assert converted_folder(copy, tmp_path, told.append) == first
    assert len(told) == 2


def test_a_new_converter_converts_again(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = converted_folder(tiny_gguf, tmp_path)
    monkeypatch.setattr(gguf_conversion, "CONVERTER_VERSION", 99)
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
        "from egcfg_backends_hf import gguf_conversion as g\n"
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
    lock = gguf_conversion.FileLock(folder.with_suffix(".lock"))
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
    assert not list(tmp_path.glob("*-v1"))


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

    monkeypatch.setattr(gguf_conversion, "_convert", full)
    with pytest.raises(UsageError, match=r"No space left on device.*EGCFG_CACHE_DIR"):
        converted_folder(tiny_gguf, tmp_path)


@pytest.mark.model
def test_the_embedded_model_converts_and_answers() -> None:
    with HFBackend(HFOptions(device="cpu")) as backend:
        question = "What is the capital of France?"
        prompt = backend.render_chat([{"role": "user", "content": question}])
        sequence = backend.start(backend.encode(prompt))
        params = SamplingParams(temperature=0.0, max_tokens=20)
        [[answer]] = backend.sample([SampleQuery(sequence, 1, params)])
        assert answer.finished
        assert "Paris" in answer.text
        assert backend.decode(backend.encode(TEXT)) == TEXT

        model = backend._model._model
        ids = torch.tensor([sequence.ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20
        )[0, ids.shape[1] :].tolist()
        assert expected[: len(answer.ids)] == list(answer.ids)
        assert expected[len(answer.ids)] in backend.end_ids

        before = backend.usage
        sequence.ids += answer.ids
        [scores] = backend.score([ScoreQuery(sequence)])
        assert scores[0].argmax() in backend.end_ids
        assert (backend.usage - before).forward_tokens == 0  # sampled a moment ago
