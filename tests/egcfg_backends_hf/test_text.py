from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from egcfg.errors import BackendError
from egcfg_backends_hf.testing import build_tiny_tokenizer
from egcfg_backends_hf.text import TextCodec


def sentencepiece_like(**more: Any) -> PreTrainedTokenizerFast:
    """A tokenizer as Llama 2's: dummy leading space, byte fallback, a BOS put in front."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"▁abcdef()=:", "▁a", "▁b", "▁▁", "▁▁▁▁", "de", "def", "▁def"]
    merges = [("▁", "a"), ("▁", "b"), ("▁", "▁"), ("▁▁", "▁▁"), ("d", "e"), ("de", "f")]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            [*merges, ("▁", "def")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **more
    )


BYTE_LEVEL = TextCodec(build_tiny_tokenizer())
SENTENCEPIECE = TextCodec(sentencepiece_like())


@pytest.mark.parametrize("codec", [BYTE_LEVEL, SENTENCEPIECE], ids=["bytes", "sentencepiece"])
@given(data=st.data())
def test_decoding_more_tokens_only_adds_text(codec: TextCodec, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 275), max_size=12))
    texts = [codec.decode(ids[:end]) for end in range(len(ids) + 1)]
    for shorter, longer in pairwise(texts):
        assert longer.startswith(shorter.rstrip("\N{REPLACEMENT CHARACTER}"))


@given(st.text())
def test_text_round_trips_through_byte_level_tokens(text: str) -> None:
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text)) == text


@pytest.mark.parametrize("text", [" a", "    a = b", "a\n    b", "é(😀)", " "])
def test_a_leading_space_survives_a_decoder_that_strips_one(text: str) -> None:
    ids = SENTENCEPIECE.encode(text)[1:]  # behind the BOS
    # The tokenizer itself puts a space in front of every text.
    assert SENTENCEPIECE.decode(ids) == " " + text


def test_special_tokens_in_a_prompt_become_their_ids_and_are_spelt_out_again() -> None:
    text = "<|im_start|>user\nhi<|im_end|>\n"
    ids = BYTE_LEVEL.encode(text)
    assert ids[0] == 1
    assert 2 in ids
    assert BYTE_LEVEL.decode(ids) == text


def test_a_start_token_is_added_where_the_model_expects_one() -> None:
    assert SENTENCEPIECE.encode("a b")[0] == 1
    assert SENTENCEPIECE.encode("<s>a b").count(1) == 1
    assert SENTENCEPIECE.encode("") == (1,)
    assert BYTE_LEVEL.encode("") == ()
    assert 1 not in BYTE_LEVEL.encode("a b")


def test_the_end_of_a_chat_message_ends_an_answer() -> None:
    assert BYTE_LEVEL.end_ids() == {0, 2}
    template = "{% for m in messages %}{{ m['content'] + '<s>' }}{% endfor %}"
    assert TextCodec(sentencepiece_like(chat_template=template)).end_ids() == {1, 2}
    assert SENTENCEPIECE.end_ids() == {2}


def test_a_chat_ends_where_the_assistant_begins() -> None:
    text = BYTE_LEVEL.render_chat([{"role": "user", "content": "hi"}])
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert BYTE_LEVEL.has_chat
    assert not SENTENCEPIECE.has_chat


def test_messages_that_the_template_refuses_are_one_clear_line() -> None:
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{{ messages[0]['content'] }}"
    )
    codec = TextCodec(sentencepiece_like(chat_template=template))
    with pytest.raises(BackendError, match=r"no system role.*--prompt long_code"):
        codec.render_chat([{"role": "system", "content": "x"}])
