"""What a backend knows of its model without opening it: a name, and perhaps a tokenizer.

A finished run is looked at again, and a run is estimated (``egcfg run --dry-run``), without loading
a model and without a request that somebody pays for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:  # it would load numpy, and this module is imported at start-up
    from egcfg.interfaces.backend import ChatMessage

__all__ = ["OfflineModel", "OfflineTokenizer"]


class OfflineTokenizer(Protocol):
    """A model's tokenizer and chat template."""

    def count_tokens(self, text: str) -> int:
        """Return exactly how many tokens `text` takes as a prompt."""

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return a chat as the model's template words it, up to the assistant's answer.

        Raises:
            CapabilityError: the model has no chat template.
        """


class OfflineModel(ABC):
    """A backend's model, not opened. Subclasses take one argument, the backend's options.

    Making one reads no weights and asks no server.
    """

    remote: ClassVar[bool]
    """Whether the backend sends requests to a server, rather than running the model here."""

    @abstractmethod
    def __init__(self, options: Any) -> None: ...

    @property
    @abstractmethod
    def model_name(self) -> str | None:
        """The model as `LogprobBackend.model_name` would name it; None: it cannot be known."""

    @abstractmethod
    def tokenizer(self) -> OfflineTokenizer | None:
        """Return the model's tokenizer; None: it is not on this machine.

        Raises:
            UsageError: the options name one that cannot be read.
            MissingExtraError: a package that it needs is not installed.
        """
