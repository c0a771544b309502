"""The two kinds of endpoint, each through its vendor's SDK."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from egcfg.errors import MissingExtraError, UsageError
from egcfg_backends_fireworks.address import NO_KEY, checked_address
from egcfg_backends_fireworks.client import Sdk
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.wire import Service

__all__ = ["FireworksBackend", "OpenAIBackend"]

# Servers' own defaults for these differ, and cut the tail that log-probabilities are about.
UNCUT: dict[str, Any] = {"top_k": (0, -1), "min_p": (0.0,)}


class FireworksBackend(EndpointBackend):
    """A model served by Fireworks."""

    key_variable: ClassVar[str] = "FIREWORKS_API_KEY"
    # Rows with ids, and an error where a prompt is too long.
    service: ClassVar[Service] = Service(
        top_ks=(5, 1),
        boolean=True,
        always={"context_length_exceeded_behavior": "error"},
        optional=UNCUT | {"return_token_ids": (True,)},
        chat=UNCUT,
        cache_key="prompt_cache_key",
        routes=False,
    )

    def api_address(self) -> str:
        """Return the address with the version, which Fireworks' own leaves out."""
        address = checked_address(self.options.base_url or "https://api.fireworks.ai/inference")
        return address.removesuffix("/v1") + "/v1"

    def load_sdk(self) -> Sdk:
        """Import Fireworks' SDK."""
        try:
            import fireworks
            import httpx
        except ModuleNotFoundError as error:
            raise _not_installed(error, "fireworks") from None
        client = fireworks.AsyncFireworks(
            api_key=self.key or NO_KEY,
            base_url=self.address.removesuffix("/v1"),
            max_retries=0,
            timeout=self.options.attempt_timeout_s,
            # The SDK's own choice, aiohttp, reports a closed connection as a timeout.
            http_client=fireworks.DefaultAsyncHttpxClient(),
        )
        return Sdk(fireworks, httpx, client)


class OpenAIBackend(EndpointBackend):
    """A model of an OpenAI-compatible server: llama.cpp, vLLM, SGLang, Ollama, Together, ..."""

    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    # OpenAI's own fields, with llama.cpp's, vLLM's and DeepSeek's.
    service: ClassVar[Service] = Service(
        optional=UNCUT | {"return_token_ids": (True,), "return_tokens_as_token_ids": (True,)},
        # A model that reasons first would not go on from where its answer is said to begin.
        chat=UNCUT
        | {
            "chat_template_kwargs": ({"enable_thinking": False},),
            "thinking": ({"type": "disabled"},),
        },
    )

    def api_address(self) -> str:
        """Return the address in the options or, as OpenAI's SDK reads it, in the environment.

        Raises:
            UsageError: it is in neither.
            ConfigError: it is none.
        """
        address = self.options.base_url or os.environ.get("OPENAI_BASE_URL")
        if not address:
            raise UsageError(
                "where is the server? pass --base-url, such as http://127.0.0.1:8080/v1 "
                "(llama.cpp), http://127.0.0.1:11434/v1 (Ollama), http://127.0.0.1:8000/v1 (vLLM)"
            )
        return checked_address(address)

    def load_sdk(self) -> Sdk:
        """Import OpenAI's SDK."""
        try:
            import httpx2
            import openai
        except ModuleNotFoundError as error:
            raise _not_installed(error, "openai") from None
        client = openai.AsyncOpenAI(
            api_key=self.key or NO_KEY,
            base_url=self.address,
            max_retries=0,
            timeout=self.options.attempt_timeout_s,
        )
        return Sdk(openai, httpx2, client)


def _not_installed(error: ModuleNotFoundError, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"the package {error.name!r} is not installed; run: pip install 'egcfg[{extra}]'"
    )
