"""Text to token ids and back, so that what was decoded once never changes as more tokens come."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import jinja2
import transformers

from egcfg.errors import BackendError, CapabilityError, UsageError
from egcfg.interfaces.prompt import (
    ChatMessage,
    ChatPrompt,
    Template,
    TextPrompt,
    literal_stretches,
)
from egcfg.interfaces.reasoning import opens_reasoning

__all__ = ["TextCodec"]

DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")
"""Special tokens after which nothing belongs to an answer, though a chat model's settings may name
only the end of its turn (GGUF files have room for one)."""

INDENTED = "def f(x):\n    if x:\n        return 'a  b'\n\n    return x\n"
"""What a tokenizer must give back as it was."""

INCOMPLETE = "\ufffd"
"""What stands for a character whose bytes are not complete, or are none."""

REMEMBERED_TEXTS = 1024
"""Texts whose continuations are decoded from their end: of the candidates and the response of each
task in flight, and of drafts."""

MARK = "\ufdd0"
"""A code point that is no character: hardly any text contains it."""


class TextCodec:
    """Wraps a transformers tokenizer.

    Args:
        tokenizer: the transformers tokenizer.
        name: of the model, for messages.

    Attributes:
        reasons: whether the chat template leaves a reasoning block open for the answer.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self._name = name
        added = tokenizer.added_tokens_decoder
        self._special = {i: token.content for i, token in added.items() if token.special}
        longest_first = sorted(filter(None, self._special.values()), key=len, reverse=True)
        # Without special tokens: what matches nowhere.
        self._spelt_out = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._literal: Any = None
        self._start = self._start_id()
        self._bytes = self._byte_tokens()
        # Of ids that were decoded: the text that cannot change, and how many of them it is of.
        self._settled: dict[tuple[int, ...], tuple[str, int]] = {}
        # Some decoders drop a leading space: it survives after other text, which is cut off again.
        self._anchor = list(tokenizer.encode("a", add_special_tokens=False))
        self._anchor_text = self._plain_decode(self._anchor)
        self._check()
        self.reasons = self._opens_reasoning()

    @property
    def has_chat(self) -> bool:
        """Whether the tokenizer brings a chat template."""
        return bool(self._tokenizer.chat_template)

    def encode(self, prompt: TextPrompt | ChatPrompt) -> tuple[int, ...]:
        """Return the ids of a prompt, up to where generation starts.

        A special token that literal text spells out stays text. A beginning-of-sequence token is
        put in front where the tokenizer does that by itself and the prompt does not start with it.

        Raises:
            CapabilityError: the prompt is a chat and the model has no chat template, or one that
                changes the messages so that special tokens in them cannot be kept literal.
            BackendError: the template refuses the messages.
        """
        if isinstance(prompt, ChatPrompt):
            chat = self._chat_parts(prompt.messages)
            parts = (*chat, *prompt.after("".join(chat)))
        else:
            parts = prompt.parts
        ids = self._encode_parts(parts)
        if self._start is not None and ids[:1] != [self._start]:
            return (self._start, *ids)
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, special tokens spelt out.

        Of ids ``a + b``, the text of ``a`` is a prefix of the whole text, up to trailing
        replacement characters for a character whose bytes are not complete yet. So of a text that
        grows only the end is decoded. May be called from any thread.
        """
        sequence = tuple(ids)
        settled, length = self._settled.get(sequence[:-1], ("", 0))
        text = settled + self._text_of(sequence[length:])
        if not text.endswith(INCOMPLETE):
            settled, length = text, len(sequence)
        if len(self._settled) >= REMEMBERED_TEXTS:
            self._settled.clear()
        self._settled[sequence] = settled, length
        return text

    def _text_of(self, ids: Sequence[int]) -> str:
        if not self._bytes:
            return self._after_anchor(list(ids))
        # Byte tokens decode as one run or not at all in the tokenizer's own decoder: a later wrong
        # byte would turn earlier characters into replacements.
        parts = []
        for are_bytes, run in groupby(ids, key=self._bytes.__contains__):
            if are_bytes:
                parts.append(bytes(self._bytes[i] for i in run).decode("utf-8", errors="replace"))
            else:
                parts.append(self._after_anchor(list(run)))
        return "".join(parts)

    def end_ids(self) -> frozenset[int]:
        """Return the ids that end an answer, as far as the tokenizer tells.

        They are its end-of-sequence token, the special token that the chat template puts after an
        assistant's message, and `DOCUMENT_ENDS`.
        """
        ends = {self._tokenizer.eos_token_id, self._chat_end()}
        ends |= {token for token, text in self._special.items() if text in DOCUMENT_ENDS}
        return frozenset(end for end in ends if end is not None)

    # --- what the tokenizer brings -----------------------------------------------------------

    def _check(self) -> None:
        """See whether indented code comes back: some versions of some tokenizers lose its blanks.

        Raises:
            UsageError: it does not.
        """
        back = self.decode(self._tokenizer.encode(INDENTED, add_special_tokens=False))
        if back not in (INDENTED, f" {INDENTED}"):  # a tokenizer may put a blank in front of all
            raise UsageError(
                f"the tokenizer of {self._name} makes {back!r} of {INDENTED!r}: it cannot write "
                f"Python with transformers {transformers.__version__}; install another version of "
                "transformers, or choose another model"
            )

    def _start_id(self) -> int | None:
        bos: int | None = self._tokenizer.bos_token_id
        return bos if bos is not None and self._tokenizer.encode("a")[:1] == [bos] else None

    def _byte_tokens(self) -> dict[int, int]:
        """Return the byte of each byte-fallback token (``<0x0A>``), by id."""
        vocabulary = self._tokenizer.get_vocab()
        names = {byte: f"<0x{byte:02X}>" for byte in range(256)}
        return {vocabulary[name]: byte for byte, name in names.items() if name in vocabulary}

    def _opens_reasoning(self) -> bool:
        if not self.has_chat:
            return False
        try:
            question = (ChatMessage("user", "question"),)
            return opens_reasoning(self._render(question, add_generation_prompt=True))
        except jinja2.TemplateError:
            return False

    def _chat_end(self) -> int | None:
        if not self.has_chat:
            return None
        answer = "answer"
        messages = (ChatMessage("user", "question"), ChatMessage("assistant", answer))
        try:
            text = self._render(messages, add_generation_prompt=False)
        except jinja2.TemplateError:
            return None
        after = self._tokenizer.encode(text.rpartition(answer)[2], add_special_tokens=False)
        return next((i for i in after[:1] if i in self._special), None)

    # --- encoding ----------------------------------------------------------------------------

    def _encode_parts(self, parts: Sequence[str]) -> list[int]:
        """Encode literal text and `Template` text; all at once where that comes to the same."""
        text = "".join(parts)
        ids: list[int] = []
        start = 0
        for begin, end in literal_stretches(parts, self._spelt_out):
            ids += self._tokenizer.encode(text[start:begin], add_special_tokens=False)
            ids += self._encode_literally(text[begin:end])
            start = end
        ids += self._tokenizer.encode(text[start:], add_special_tokens=False)
        return ids

    def _encode_literally(self, text: str) -> list[int]:
        if self._literal is None:
            # A copy: the switch is a property of the tokenizer, which another thread may be using.
            self._literal = copy.deepcopy(self._tokenizer)
        ids: list[int] = self._literal.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    # --- chats -------------------------------------------------------------------------------

    def _chat_parts(self, messages: Sequence[ChatMessage]) -> list[str]:
        """Return a chat as the model's template words it, up to the assistant's answer.

        All of it is `Template` text but the messages that spell out special tokens.
        """
        if not self.has_chat:
            raise CapabilityError(
                f"{self._name} has no chat template; choose another prompt: "
                "--prompt long_code or --prompt completion"
            )
        try:
            text = self._render(messages, add_generation_prompt=True)
            literal = [m.content for m in messages if self._spelt_out.search(m.content)]
            if not literal:
                return [Template(text)]
            mark = next(MARK * n for n in itertools.count(1) if MARK * n not in text)
            contents = {f"{mark}{number}{mark}": content for number, content in enumerate(literal)}
            marks = {content: mark for mark, content in contents.items()}
            marked = self._render(
                [ChatMessage(m.role, marks.get(m.content, m.content)) for m in messages],
                add_generation_prompt=True,
            )
        except jinja2.TemplateError as error:
            raise BackendError(
                f"the model's chat template refuses these messages: {error}; "
                "choose another prompt: --prompt long_code"
            ) from error
        # Template text and marks, in turn: the same text, if the template only trims contents.
        pieces = re.split(f"({'|'.join(contents)})", marked)
        same = re.fullmatch("".join(_wording(contents.get(p), p) for p in pieces), text)
        if same is None:
            raise CapabilityError(
                f"the chat template of {self._name} changes what a message says, and this one "
                "spells out special tokens, which must stay text; choose another prompt: "
                "--prompt long_code"
            )
        return [part if n % 2 else Template(part) for n, part in enumerate(same.groups())]

    def _render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
        return text

    def _after_anchor(self, ids: list[int]) -> str:
        return self._plain_decode(self._anchor + ids)[len(self._anchor_text) :]

    def _plain_decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def _wording(content: str | None, template: str) -> str:
    """Return a pattern, one group: `content`, trimmed or not; else the text of a template."""
    if content is None:
        return f"({re.escape(template)})"
    core = content.strip()
    before, _, after = content.partition(core)
    return f"((?:{re.escape(before)})?{re.escape(core)}(?:{re.escape(after)})?)"
