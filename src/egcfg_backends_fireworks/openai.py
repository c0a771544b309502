"""Any server with OpenAI's completions API and log-probabilities, through the ``openai`` SDK."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

import httpx2
import openai

from egcfg_backends_fireworks.address import NO_KEY, api_key, checked_address
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import OpenAIOptions
from egcfg_backends_fireworks.requests import Dialect
from egcfg_backends_fireworks.transport import SdkTransport

__all__ = ["OpenAIBackend"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"


class OpenAIBackend(EndpointBackend):
    """A model behind an OpenAI-compatible server: llama.cpp, vLLM, SGLang, Together, ..."""

    Options: ClassVar[type] = OpenAIOptions

    def transport_factory(self) -> Callable[[], SdkTransport]:
        """Return what opens the connection."""
        url = self.options.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
        url = checked_address(url)
        key = api_key(KEY_VARIABLE, url)

        def connect() -> SdkTransport:
            client = openai.AsyncOpenAI(
                api_key=key or NO_KEY,
                base_url=url,
                max_retries=0,
                timeout=self.options.attempt_timeout_s,
            )
            return SdkTransport(
                client=client,
                sdk=openai,
                http=httpx2,
                root=url.removesuffix("/v1"),
                key=key,
                key_variable=KEY_VARIABLE,
            )

        return connect

    def dialect(self) -> Dialect:
        """Return OpenAI's own fields, with llama.cpp's and vLLM's beside them."""
        return Dialect(
            extras={"top_k": 0, "min_p": 0.0, "return_token_ids": True},
            id_names={"return_tokens_as_token_ids": True},
        )
