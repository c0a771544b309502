from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import BackendError, MissingExtraError, UsageError
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template, TextPrompt
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend
from egcfg_backends_fireworks.testing import ServedModel

from .tiny_model import TinyModel


@pytest.mark.model
def test_a_chat_is_worded_without_asking_the_server(
    tiny_llama: Path, serve: Any, opened: Any
) -> None:
    server = serve(ServedModel(TinyModel()))
    options = EndpointOptions(model="m", base_url=server.address, tokenizer=str(tiny_llama))
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


@pytest.mark.model
@pytest.mark.parametrize("marker", ["<|im_end|>", "<|endoftext|>"])
def test_special_tokens_that_literal_text_spells_out_are_text(
    tiny_llama: Path, serve: Any, opened: Any, marker: str
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    server = serve(ServedModel(TinyModel()))
    options = EndpointOptions(model="m", base_url=server.address, tokenizer=str(tiny_llama))
    tokenizer = LocalTokenizer(str(tiny_llama))
    [token] = tokenizer.encode(marker)
    with opened(FireworksBackend(options)) as backend:
        for contents in (("a XX b",), ("XX", "XX\n", "c")):
            prompts = (
                ChatPrompt(
                    tuple(ChatMessage("user", c.replace("XX", name)) for c in contents),
                    f"x = '{name}'",
                )
                for name in ("XX", marker)
            )
            counts = [backend.encode(prompt).count(token) for prompt in prompts]
            assert counts[0] == counts[1]
        assert token not in backend.encode(TextPrompt(("a ", f"{marker} b")))
        assert token in backend.encode(TextPrompt(("a ", Template(marker))))


@pytest.mark.model
def test_reasoning_that_the_template_opens_is_closed_before_a_given_beginning(
    tiny_llama: Path, tmp_path: Path, serve: Any, opened: Any
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    loaded = transformers.AutoTokenizer.from_pretrained(tiny_llama)
    loaded.chat_template = "{{ messages[0]['content'] + '<think>\\n' }}"
    loaded.save_pretrained(tmp_path)
    server = serve(ServedModel(TinyModel()))
    options = EndpointOptions(model="m", base_url=server.address, tokenizer=str(tmp_path))
    tokenizer = LocalTokenizer(str(tmp_path))
    with opened(FireworksBackend(options)) as backend:
        assert backend.capabilities.reasons
        ids = backend.encode(ChatPrompt((ChatMessage("user", "hi"),), "def f"))
        assert list(ids) == tokenizer.encode("hi<think>\n\n</think>\n\ndef f")
        ids = backend.encode(ChatPrompt((ChatMessage("user", "hi"),)))
        assert list(ids) == tokenizer.encode("hi<think>\n")


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tokenizer at"):
        LocalTokenizer(str(tmp_path))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[openai\]'"):
        LocalTokenizer("any")
