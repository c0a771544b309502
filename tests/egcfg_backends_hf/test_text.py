from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from egcfg.errors import BackendError, CapabilityError, UsageError
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template, TextPrompt
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


BYTE_LEVEL = TextCodec(build_tiny_tokenizer(), "the model")
SENTENCEPIECE = TextCodec(sentencepiece_like(), "the model")
CODECS = pytest.mark.parametrize("codec", [BYTE_LEVEL, SENTENCEPIECE], ids=["bytes", "pieces"])
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1 and 2
SPECIAL = st.sampled_from(SPECIAL_TOKENS)


def encode(codec: TextCodec, *parts: str) -> tuple[int, ...]:
    return codec.encode(TextPrompt(parts))


def chat(*contents: str, prefix: str = "") -> ChatPrompt:
    messages = [ChatMessage("user", content) for content in contents]
    return ChatPrompt(tuple(messages), prefix)


def with_template(template: str) -> TextCodec:
    tokenizer = build_tiny_tokenizer()
    tokenizer.chat_template = template
    return TextCodec(tokenizer, "the model")


def test_a_tokenizer_that_loses_blanks_is_refused() -> None:
    tokenizer = build_tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(UsageError, match=r"deff\(x\):ifx:return.*another version of transformers"):
        TextCodec(tokenizer, "the model")


# --- decoding -----------------------------------------------------------------------------------


@CODECS
@given(data=st.data())
def test_decoding_more_tokens_only_adds_text(codec: TextCodec, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 275), max_size=12))
    texts = [codec.decode(ids[:end]) for end in range(len(ids) + 1)]
    for shorter, longer in pairwise(texts):
        assert longer.startswith(shorter.rstrip("\N{REPLACEMENT CHARACTER}"))


@given(st.text())
def test_text_round_trips_through_byte_level_tokens(text: str) -> None:
    assert BYTE_LEVEL.decode(encode(BYTE_LEVEL, text)) == text


@pytest.mark.parametrize("text", [" a", "    a = b", "a\n    b", "é(😀)", " "])
def test_a_leading_space_survives_a_decoder_that_strips_one(text: str) -> None:
    ids = encode(SENTENCEPIECE, text)[1:]  # after the BOS
    # The tokenizer itself puts a space in front of every text.
    assert SENTENCEPIECE.decode(ids) == " " + text


# --- special tokens in a prompt -----------------------------------------------------------------


def test_special_tokens_in_a_template_become_their_ids_and_are_spelt_out_again() -> None:
    text = "<|im_start|>user\nhi<|im_end|>\n"
    ids = encode(BYTE_LEVEL, Template(text))
    assert ids[0] == 1
    assert 2 in ids
    assert BYTE_LEVEL.decode(ids) == text


parts = st.lists(
    st.builds(
        lambda text, template: Template(text) if template else text,
        st.lists(st.text("a \n<|im", max_size=4) | SPECIAL, max_size=3).map("".join),
        st.booleans(),
    ),
    max_size=5,
)


@given(parts)
def test_only_templates_bring_special_tokens(parts: list[str]) -> None:
    text = "".join(parts)
    is_template = [isinstance(part, Template) for part in parts for _ in part]
    found = list(re.finditer("|".join(map(re.escape, SPECIAL_TOKENS)), text))
    real = [match for match in found if all(is_template[match.start() : match.end()])]
    ids = encode(BYTE_LEVEL, *parts)
    assert [i for i in ids if i <= 2] == [SPECIAL_TOKENS.index(match[0]) for match in real]
    assert BYTE_LEVEL.decode(ids) == text
    if real == found:
        assert list(ids) == build_tiny_tokenizer().encode(text)


@given(st.lists(st.text(max_size=8), max_size=4))
def test_text_in_parts_is_encoded_as_one(parts: list[str]) -> None:
    assert list(encode(BYTE_LEVEL, *parts)) == build_tiny_tokenizer().encode("".join(parts))


def test_what_surrounds_literal_text_is_encoded_as_ever() -> None:
    tokenizer = build_tiny_tokenizer()
    before, after = "<|im_start|>user\nhello ", "<|im_end|>\n<|im_start|>assistant\n"
    ids = encode(BYTE_LEVEL, Template(before), "print('<|im_end|>')", Template(after))
    literal = tokenizer.encode("user\nhello print('<|im_end|>')", split_special_tokens=True)
    assert list(ids) == [1, *literal, *tokenizer.encode(after)]
    # The switch is not left on.
    assert tokenizer.encode("<|im_end|>", split_special_tokens=False) == [2]
    assert encode(BYTE_LEVEL, Template("<|im_end|>")) == (2,)


def test_a_special_token_that_parts_spell_out_together_is_text() -> None:
    assert not {0, 1, 2} & set(encode(BYTE_LEVEL, "<|im_", "end|>"))
    assert not {0, 1, 2} & set(encode(BYTE_LEVEL, Template("<|im_"), "end|>"))


def test_a_start_token_is_added_where_the_model_expects_one() -> None:
    assert encode(SENTENCEPIECE, "a b")[0] == 1
    assert encode(SENTENCEPIECE, Template("<s>a b")).count(1) == 1
    literal = encode(SENTENCEPIECE, "<s>a b")
    assert literal.count(1) == 1  # in front of the text, which spells out another one
    assert SENTENCEPIECE.decode(literal[1:]) == " <s>a b"
    assert encode(SENTENCEPIECE, "") == (1,)
    assert encode(BYTE_LEVEL, "") == ()
    assert 1 not in encode(BYTE_LEVEL, "a b")


# --- chats --------------------------------------------------------------------------------------


def test_the_end_of_a_chat_message_ends_an_answer() -> None:
    assert BYTE_LEVEL.end_ids() == {0, 2}
    template = "{% for m in messages %}{{ m['content'] + '<s>' }}{% endfor %}"
    codec = TextCodec(sentencepiece_like(chat_template=template), "the model")
    assert codec.end_ids() == {1, 2}
    assert SENTENCEPIECE.end_ids() == {2}


def test_a_chat_ends_where_the_assistant_begins() -> None:
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n```python\n"
    ids = BYTE_LEVEL.encode(chat("hi", prefix="```python\n"))
    assert list(ids) == build_tiny_tokenizer().encode(text)
    assert BYTE_LEVEL.has_chat
    assert not SENTENCEPIECE.has_chat


@given(SPECIAL, SPECIAL)
def test_special_tokens_in_messages_stay_text(first: str, second: str) -> None:
    prompt = chat(f"say {first}", "hi", f" {second} {first}\n", prefix=f"x = '{second}'")
    ids = BYTE_LEVEL.encode(prompt)
    assert [i for i in ids if i <= 2] == [1, 2] * 3 + [1]
    assert BYTE_LEVEL.decode(ids) == (
        f"<|im_start|>user\nsay {first}<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        f"<|im_start|>user\n {second} {first}\n<|im_end|>\n<|im_start|>assistant\nx = '{second}'"
    )


def test_a_template_may_trim_messages() -> None:
    codec = with_template(
        "{% for m in messages %}{{ '<|im_start|>' + m['content'] | trim }}{% endfor %}<|im_end|>"
    )
    ids = codec.encode(chat(" \n<|im_end|> a\n", "<|im_start|>"))
    assert [i for i in ids if i <= 2] == [1, 1, 2]
    assert codec.decode(ids) == "<|im_start|><|im_end|> a<|im_start|><|im_start|><|im_end|>"


@pytest.mark.parametrize(
    "change", ["m['content'] | upper", "m['content'] | tojson", "m['content'].split('>')[-1]"]
)
def test_a_template_that_rewords_messages_is_refused_where_it_matters(change: str) -> None:
    codec = with_template(f"{{% for m in messages %}}{{{{ {change} }}}}{{% endfor %}}<|im_end|>")
    assert codec.encode(chat("hi"))[-1] == 2
    with pytest.raises(CapabilityError, match="--prompt long_code"):
        codec.encode(chat('"<|im_end|> there'))


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(CapabilityError, match=r"model has no chat template.*--prompt long_code"):
        SENTENCEPIECE.encode(chat("hi"))


def test_messages_that_the_template_refuses_are_one_clear_line() -> None:
    codec = with_template(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}{{ messages[0]['content'] }}"
    )
    with pytest.raises(BackendError, match=r"no system role.*--prompt long_code"):
        codec.encode(ChatPrompt((ChatMessage("system", "x"),)))


# --- reasoning ----------------------------------------------------------------------------------

THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.mark.parametrize("content", ["hi", "say <|im_end|>"])
def test_reasoning_that_the_template_opens_is_closed_before_a_given_beginning(content: str) -> None:
    codec = with_template(THINKING)
    assert codec.reasons
    assert not BYTE_LEVEL.reasons
    assert not SENTENCEPIECE.reasons
    begun = codec.decode(codec.encode(chat(content, prefix="```python\n")))
    assert begun.endswith("assistant\n<think>\n\n</think>\n\n```python\n")
    assert codec.decode(codec.encode(chat(content))).endswith("assistant\n<think>\n")
