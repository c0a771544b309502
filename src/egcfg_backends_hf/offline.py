"""A local model that is not loaded: its name, and its tokenizer where that is at hand.

Neither torch nor transformers is imported before the tokenizer is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from egcfg.errors import CapabilityError, UsageError
from egcfg.interfaces.backend import ChatMessage
from egcfg.offline_model import OfflineModel, OfflineTokenizer
from egcfg_backends_hf.causes import one_line
from egcfg_backends_hf.embedded import embedded_model
from egcfg_backends_hf.options import HFOptions

if TYPE_CHECKING:
    from egcfg_backends_hf.text import TextCodec

__all__ = ["OfflineHFModel"]


class OfflineHFModel(OfflineModel):
    """The model that the options name, on disk."""

    remote = False

    def __init__(self, options: HFOptions) -> None:
        self.options = options

    @property
    def model_name(self) -> str:
        """The hub id, or the name of the folder or file."""
        path = self._path()
        if path.is_file():
            return path.stem
        return path.resolve().name if path.is_dir() else str(self.options.model)

    def tokenizer(self) -> OfflineTokenizer | None:
        """Return the tokenizer of a folder, a converted file, or an earlier download.

        Raises:
            UsageError: a folder's tokenizer cannot be read.
        """
        from transformers import AutoTokenizer

        from egcfg_backends_hf.gguf_conversion import kept_folder
        from egcfg_backends_hf.quiet import quiet_transformers
        from egcfg_backends_hf.text import TextCodec

        path = self._path()
        # Converting takes minutes, and may never be needed.
        folder = kept_folder(path) if path.is_file() else path
        if path.is_file() and not folder.is_dir():
            return None
        source = str(folder) if folder.is_dir() else str(self.options.model)
        with quiet_transformers():
            try:
                loaded = AutoTokenizer.from_pretrained(
                    source,
                    revision=self.options.revision,
                    trust_remote_code=self.options.trust_remote_code,
                    local_files_only=True,
                )
            except (OSError, ValueError) as error:
                if not folder.is_dir():
                    return None  # a hub model that was never downloaded
                raise UsageError(
                    f"cannot read the tokenizer of {source}: {one_line(error)}; "
                    "pass a complete model folder, a .gguf file or a hub id"
                ) from error
        return _Tokenizer(TextCodec(loaded))

    def _path(self) -> Path:
        model = self.options.model
        return embedded_model() if model is None else Path(model).expanduser()


class _Tokenizer:
    """The model's own codec, under the names that `OfflineTokenizer` has."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec

    def count_tokens(self, text: str) -> int:
        """Return the number of ids of a prompt."""
        return len(self._codec.encode(text))

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return a chat as the model's template words it.

        Raises:
            CapabilityError: the tokenizer has no template.
            BackendError: the template refuses the messages.
        """
        if not self._codec.has_chat:
            raise CapabilityError(
                "the model has no chat template; choose another prompt: --prompt long_code or "
                "--prompt completion"
            )
        return self._codec.render_chat(messages)
