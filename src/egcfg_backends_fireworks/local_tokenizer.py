"""The model's tokenizer on this machine: optional, for its chat template and exact prompt ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict

from egcfg.errors import BackendError, CapabilityError, MissingExtraError, UsageError, summarize
from egcfg.interfaces.prompt import ChatMessage

__all__ = ["LocalTokenizer"]


class LocalTokenizer:
    """A tokenizer loaded through transformers.

    Args:
        source: folder or hub id.

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

    def encode(self, text: str) -> list[int]:
        """Return the ids of a prompt, a beginning-of-sequence token put where the model has one."""
        bos = self._tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        return ids

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
