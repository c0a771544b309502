"""Any server with OpenAI's completions API and log-probabilities, through the ``openai`` SDK."""

from __future__ import annotations

import os
from typing import ClassVar

import httpx2
import openai

from egcfg_backends_fireworks.address import NO_KEY
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import OpenAIOptions
from egcfg_backends_fireworks.transport import SdkTransport
from egcfg_backends_fireworks.wire import Dialect

__all__ = ["OpenAIBackend"]


class OpenAIBackend(EndpointBackend):
    """A model of an OpenAI-compatible server: llama.cpp, vLLM, SGLang, Together, ..."""

    Options: ClassVar[type] = OpenAIOptions
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    # OpenAI's own fields, with llama.cpp's and vLLM's.
    dialect: ClassVar[Dialect] = Dialect(
        extras={"top_k": 0, "min_p": 0.0, "return_token_ids": True},
        token_id_strings={"return_tokens_as_token_ids": True},
    )

    def default_address(self) -> str:
        """Return the address in the environment, as OpenAI's SDK reads it, or OpenAI's own."""
        return os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"

    def connect(self) -> SdkTransport:
        """Return a connection through OpenAI's SDK."""
        client = openai.AsyncOpenAI(
            api_key=self.key or NO_KEY,
            base_url=self.address,
            max_retries=0,
            timeout=self.options.attempt_timeout_s,
        )
        return SdkTransport(
            client=client,
            sdk=openai,
            http=httpx2,
            root=self.address.removesuffix("/v1"),
            key=self.key,
            key_variable=self.key_variable,
        )
