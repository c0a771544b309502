"""A model behind an endpoint that is not asked: its name, and a local tokenizer if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from egcfg.interfaces.backend import ChatMessage
from egcfg.offline_model import OfflineModel, OfflineTokenizer
from egcfg_backends_fireworks.options import EndpointOptions

if TYPE_CHECKING:
    from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer

__all__ = ["OfflineEndpointModel"]


class OfflineEndpointModel(OfflineModel):
    """The model that the options name, as the service knows it."""

    remote = True

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options

    @property
    def model_name(self) -> str | None:
        """The model's name as the service knows it."""
        return self.options.model

    def tokenizer(self) -> OfflineTokenizer | None:
        """Return the tokenizer of the option ``tokenizer``; None without that option.

        Raises:
            UsageError: there is no tokenizer where the option says.
            MissingExtraError: transformers is not installed.
        """
        from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer

        if self.options.tokenizer is None:
            return None
        return _Tokenizer(LocalTokenizer(self.options.tokenizer))


class _Tokenizer:
    """A local tokenizer under the names that `OfflineTokenizer` has."""

    def __init__(self, tokenizer: LocalTokenizer) -> None:
        self._tokenizer = tokenizer

    def count_tokens(self, text: str) -> int:
        """Return the number of ids of a prompt."""
        return len(self._tokenizer.encode(text))

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return a chat as the tokenizer's template words it."""
        return self._tokenizer.render_chat(messages)
