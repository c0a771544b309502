"""The model's tokenizer on this machine: optional, for its chat template and exact prompt ids."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import asdict

from egcfg.errors import BackendError, CapabilityError, MissingExtraError, UsageError, summarize
from egcfg.interfaces.prompt import ChatMessage
from egcfg.interfaces.reasoning import opens_reasoning

__all__ = ["LocalTokenizer"]

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class LocalTokenizer:
    """A tokenizer that the package ``tokenizers`` reads.

    Args:
        source: folder or hub id of a model that has a ``tokenizer.json``.

    Attributes:
        special: matches the model's special tokens.
        reasons: whether the chat template leaves a reasoning block open for the answer.

    Raises:
        MissingExtraError: a package is not installed.
        UsageError: there is no tokenizer at `source`.
    """

    def __init__(self, source: str) -> None:
        try:
            import jinja2.sandbox
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"--tokenizer needs the package {error.name!r}; run: pip install 'egcfg[openai]'"
            ) from None
        self._source = source
        folder = _folder(source)
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / FILES[0]))
            config = _json(folder / FILES[1])
            template = folder / FILES[2]
            chat = template.read_text() if template.exists() else config.get("chat_template")
        except Exception as error:
            raise _no_tokenizer(source, error) from error
        if isinstance(chat, list):  # several, by name
            chat = next((t.get("template") for t in chat if t.get("name") == "default"), None)
        self._config = {
            name: value["content"] if isinstance(value, dict) and "content" in value else value
            for name, value in config.items()
        }
        added = self._tokenizer.get_added_tokens_decoder().values()
        special = sorted((t.content for t in added if t.special and t.content), key=len)
        self.special = re.compile("|".join(map(re.escape, reversed(special))) or r"(?!)")
        self._literally = copy.deepcopy(self._tokenizer)
        self._literally.encode_special_tokens = True
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **options: json.dumps(
            value, ensure_ascii=False, indent=options.get("indent")
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _today
        self._template = environment.from_string(chat) if chat else None
        self.reasons = False
        if self._template is not None:
            with suppress(BackendError):
                self.reasons = opens_reasoning(self.render_chat([ChatMessage("user", "hi")]))

    def encode(self, text: str, literal: Sequence[tuple[int, int]] = ()) -> list[int]:
        """Return the ids of a prompt, a beginning-of-sequence token put where the model has one.

        Args:
            text: the prompt.
            literal: stretches of it in which special tokens that are spelt out are text.
        """
        bos = self._config.get("bos_token")
        begins = isinstance(bos, str) and bool(bos) and text.startswith(bos)
        if not literal:
            return _ids(self._tokenizer, text, first=not begins)
        ids = [] if begins else _ids(self._tokenizer, "", first=True)
        if ids and self._tokenizer.token_to_id(str(bos)) != ids[0]:
            ids = []  # what is put around a text is an end, or there is nothing
        start = 0
        for begin, end in literal:
            ids += _ids(self._tokenizer, text[start:begin])
            ids += _ids(self._literally, text[begin:end])
            start = end
        return ids + _ids(self._tokenizer, text[start:])

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return the prompt text of a chat that the assistant is about to answer.

        Raises:
            CapabilityError: the tokenizer has no chat template.
            BackendError: the template refuses the messages.
        """
        if self._template is None:
            raise CapabilityError(
                f"the tokenizer {self._source!r} has no chat template; choose --prompt "
                "deepseek_instruct or --prompt long_code"
            )
        from jinja2 import TemplateError

        special = {name: self._config.get(name) or "" for name in ("bos_token", "eos_token")}
        try:
            return self._template.render(
                messages=[asdict(message) for message in messages],
                add_generation_prompt=True,
                **special,
            )
        except TemplateError as error:
            raise BackendError(
                f"the chat template of {self._source!r} refuses the messages: {summarize(error)}; "
                "choose another prompt: --prompt long_code"
            ) from error


def _ids(tokenizer: Any, text: str, *, first: bool = False) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=first).ids
    return ids


def _folder(source: str) -> Path:
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    from huggingface_hub import snapshot_download  # tokenizers itself asks for it

    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except Exception as error:
        raise _no_tokenizer(source, error) from error


def _no_tokenizer(source: str, error: Exception) -> UsageError:
    return UsageError(
        f"no tokenizer at {source!r}: {' '.join(str(error).split())[:200]}; "
        "give a folder with a tokenizer.json, or a hub id: --tokenizer NAME"
    )


def _json(path: Path) -> dict[str, Any]:
    read: object = json.loads(path.read_text()) if path.exists() else {}
    return read if isinstance(read, dict) else {}


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _today(form: str) -> str:
    import datetime

    return datetime.datetime.now().strftime(form)
