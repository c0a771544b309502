from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import MissingExtraError, UsageError
from egcfg_backends_fireworks.fireworks import FireworksBackend
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import FireworksOptions


@pytest.mark.model
def test_a_chat_is_worded_without_asking_the_server(
    tiny_llama: Path, serve: Any, tiny_endpoint: Any
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (egcfg[hf])")
    server = serve(tiny_endpoint("fireworks"))
    options = FireworksOptions(model="m", base_url=server.address, tokenizer=str(tiny_llama))
    with FireworksBackend(options) as backend:
        assert backend.capabilities.chat
        text = backend.render_chat([{"role": "user", "content": "hi"}])
    assert "hi" in text
    assert text.endswith("assistant\n")


@pytest.mark.model
def test_prompt_ids_are_the_tokenizers(tiny_llama: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    text = "def add(first, second):\n    return first"
    expected = transformers.AutoTokenizer.from_pretrained(tiny_llama).encode(text)
    assert LocalTokenizer(str(tiny_llama)).encode(text) == expected


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (egcfg[hf])")
    with pytest.raises(UsageError, match="no tokenizer at"):
        LocalTokenizer(str(tmp_path))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[hf\]'"):
        LocalTokenizer("any")
