"""The model's tokenizer on this machine: optional, for its chat template and exact prompt ids."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import asdict

from egcfg.errors import BackendError, CapabilityError, MissingExtraError, UsageError, summarize
from egcfg.interfaces.prompt import ChatMessage
from egcfg.interfaces.reasoning import opens_reasoning

__all__ = ["LocalTokenizer"]


class LocalTokenizer:
    """A tokenizer loaded through transformers.

    Args:
        source: folder or hub id.

    Attributes:
        special: matches the model's special tokens.
        reasons: whether the chat template leaves a reasoning block open for the answer.

    Raises:
        MissingExtraError: transformers is not installed.
        UsageError: there is no tokenizer at `source`.
    """

    def __init__(self, source: str) -> None:
        try:
            from transformers import AutoTokenizer
        except ModuleNotFoundError:
            raise MissingExtraError(
                "--tokenizer needs the package 'transformers'; run: pip install 'egcfg[hf]'"
            ) from None
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no tokenizer at {source!r}: {' '.join(str(error).split())[:200]}; "
                "give a folder or a hub id: --tokenizer NAME"
            ) from error
        self._source = source
        added = self._tokenizer.added_tokens_decoder.values()
        special = sorted((t.content for t in added if t.special and t.content), key=len)
        self.special = re.compile("|".join(map(re.escape, reversed(special))) or r"(?!)")
        self._literally: Any = None
        self.reasons = False
        if self._tokenizer.chat_template:
            with suppress(BackendError):
                self.reasons = opens_reasoning(self.render_chat([ChatMessage("user", "hi")]))

    def encode(self, text: str, literal: Sequence[tuple[int, int]] = ()) -> list[int]:
        """Return the ids of a prompt, a beginning-of-sequence token put where the model has one.

        Args:
            text: the prompt.
            literal: stretches of it in which special tokens that are spelt out are text.
        """
        bos = self._tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        if not literal:
            whole: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
            return whole
        first = self._tokenizer.encode(text[:1], add_special_tokens=special)
        ids = first[:1] if first[:1] == [self._tokenizer.bos_token_id] and special else []
        if self._literally is None:
            # A copy: the switch is a property of the tokenizer, which another thread may be using.
            self._literally = copy.deepcopy(self._tokenizer)
        start = 0
        for begin, end in literal:
            ids += self._tokenizer.encode(text[start:begin], add_special_tokens=False)
            ids += self._literally.encode(
                text[begin:end], add_special_tokens=False, split_special_tokens=True
            )
            start = end
        return ids + list(self._tokenizer.encode(text[start:], add_special_tokens=False))

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return the prompt text of a chat that the assistant is about to answer.

        Raises:
            CapabilityError: the tokenizer has no chat template.
            BackendError: the template refuses the messages.
        """
        if not self._tokenizer.chat_template:
            raise CapabilityError(
                f"the tokenizer {self._source!r} has no chat template; choose --prompt "
                "deepseek_instruct or --prompt long_code"
            )
        from jinja2 import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                [asdict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=True,
            )
        except TemplateError as error:
            raise BackendError(
                f"the chat template of {self._source!r} refuses the messages: {summarize(error)}; "
                "choose another prompt: --prompt long_code"
            ) from error
        return text
