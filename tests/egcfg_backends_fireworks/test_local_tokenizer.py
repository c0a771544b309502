from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import BackendError, MissingExtraError, UsageError
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg_backends_fireworks.fireworks_api import FireworksBackend
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import FireworksOptions


@pytest.mark.model
def test_a_chat_is_worded_without_asking_the_server(
    tiny_llama: Path, serve: Any, tiny_endpoint: Any, opened: Any
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (egcfg[hf])")
    server = serve(tiny_endpoint("fireworks"))
    options = FireworksOptions(model="m", base_url=server.address, tokenizer=str(tiny_llama))
    tokenizer = LocalTokenizer(str(tiny_llama))
    with opened(FireworksBackend(options)) as backend:
        assert backend.capabilities.chat
        before = server.paths.total()
        ids = backend.encode(ChatPrompt((ChatMessage("user", "hi"),), "def f"))
        assert backend.count_tokens("def f") == len(tokenizer.encode("def f"))
        assert server.paths.total() == before
    text = tokenizer.render_chat((ChatMessage("user", "hi"),))
    assert "hi" in text
    assert text.endswith("assistant\n")
    assert list(ids) == tokenizer.encode(f"{text}def f")


@pytest.mark.model
def test_a_chat_that_the_template_refuses_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    loaded = transformers.AutoTokenizer.from_pretrained(tiny_llama)
    loaded.chat_template = "{{ raise_exception('no system messages') }}"
    loaded.save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"refuses the messages.*no system messages"):
        LocalTokenizer(str(tmp_path)).render_chat((ChatMessage("user", "hi"),))


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
