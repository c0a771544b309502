"""Text to token ids and back, so that what was decoded once never changes as more tokens come."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2

from egcfg.errors import BackendError
from egcfg.interfaces.backend import ChatMessage

__all__ = ["TextCodec"]

DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")
"""Special tokens behind which nothing belongs to an answer, though a chat model's settings may name
only the end of its turn (GGUF files have room for one)."""


class TextCodec:
    """Wraps a transformers tokenizer.

    Args:
        tokenizer: the transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._special = {i: token.content for i, token in added.items() if token.special}
        self._start = self._start_id()
        self._bytes = self._byte_tokens()
        # Some decoders drop a leading space: it survives behind other text, which is cut off again.
        self._anchor = list(tokenizer.encode("a", add_special_tokens=False))
        self._anchor_text = self._plain_decode(self._anchor)

    @property
    def has_chat(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(self._tokenizer.chat_template)

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt; special tokens spelt out in it become their ids.

        A beginning-of-sequence token is put in front where the tokenizer does that by itself and
        `text` does not start with it.
        """
        ids = tuple(self._tokenizer.encode(text, add_special_tokens=False))
        if self._start is not None and ids[:1] != (self._start,):
            return (self._start, *ids)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, special tokens spelt out.

        Of ids ``a + b``, the text of ``a`` is a prefix of the whole text, up to trailing
        replacement characters for a character whose bytes are not complete yet.
        """
        if not self._bytes:
            return self._behind_anchor(list(ids))
        # Byte tokens decode as one run or not at all in the tokenizer's own decoder: a later wrong
        # byte would turn earlier characters into replacements.
        parts = []
        for are_bytes, run in groupby(ids, key=self._bytes.__contains__):
            if are_bytes:
                parts.append(bytes(self._bytes[i] for i in run).decode("utf-8", errors="replace"))
            else:
                parts.append(self._behind_anchor(list(run)))
        return "".join(parts)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return a chat as the model's template words it, up to the assistant's answer.

        Raises:
            BackendError: the template refuses the messages.
        """
        try:
            return self._render(list(messages), add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise BackendError(
                f"the model's chat template refuses these messages: {error}; "
                "choose another prompt: --prompt long_code"
            ) from error

    def end_ids(self) -> frozenset[int]:
        """Return the ids that end an answer, as far as the tokenizer tells.

        They are its end-of-sequence token, the special token that the chat template puts behind an
        assistant's message, and `DOCUMENT_ENDS`.
        """
        ends = {self._tokenizer.eos_token_id, self._chat_end()}
        ends |= {token for token, text in self._special.items() if text in DOCUMENT_ENDS}
        return frozenset(end for end in ends if end is not None)

    def _start_id(self) -> int | None:
        bos: int | None = self._tokenizer.bos_token_id
        return bos if bos is not None and self._tokenizer.encode("a")[:1] == [bos] else None

    def _byte_tokens(self) -> dict[int, int]:
        """Return the byte behind each byte-fallback token (``<0x0A>``), by id."""
        vocabulary = self._tokenizer.get_vocab()
        names = {byte: f"<0x{byte:02X}>" for byte in range(256)}
        return {vocabulary[name]: byte for byte, name in names.items() if name in vocabulary}

    def _chat_end(self) -> int | None:
        if not self.has_chat:
            return None
        answer = "answer"
        messages = [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": answer},
        ]
        try:
            text = self._render(messages, add_generation_prompt=False)
        except jinja2.TemplateError:
            return None
        behind = self._tokenizer.encode(text.rpartition(answer)[2], add_special_tokens=False)
        return next((i for i in behind[:1] if i in self._special), None)

    def _render(self, messages: list[ChatMessage], *, add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _behind_anchor(self, ids: list[int]) -> str:
        return self._plain_decode(self._anchor + ids)[len(self._anchor_text) :]

    def _plain_decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
