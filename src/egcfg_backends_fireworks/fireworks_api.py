"""Models served by Fireworks, through the ``fireworks-ai`` SDK."""

from __future__ import annotations

from typing import ClassVar

import fireworks
import httpx

from egcfg_backends_fireworks.address import NO_KEY
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import FireworksOptions
from egcfg_backends_fireworks.transport import SdkTransport
from egcfg_backends_fireworks.wire import Dialect

__all__ = ["FireworksBackend"]


class FireworksBackend(EndpointBackend):
    """A model served by Fireworks."""

    Options: ClassVar[type] = FireworksOptions
    key_variable: ClassVar[str] = "FIREWORKS_API_KEY"
    # Rows with ids, and an error where a prompt is too long.
    dialect: ClassVar[Dialect] = Dialect(
        top_logprobs=True,
        always={"context_length_exceeded_behavior": "error", "return_token_ids": True},
        extras={"top_k": 0, "min_p": 0.0},
        cache_key="prompt_cache_key",
        server_routes=False,
    )

    def default_address(self) -> str:
        """Return the service's address."""
        return "https://api.fireworks.ai/inference"

    def connect(self) -> SdkTransport:
        """Return a connection through Fireworks' SDK."""
        # The SDK puts the version between the address and the route itself.
        root = self.address.removesuffix("/v1")
        client = fireworks.AsyncFireworks(
            api_key=self.key or NO_KEY,
            base_url=root,
            max_retries=0,
            timeout=self.options.attempt_timeout_s,
            # The SDK's own choice, aiohttp, reports a closed connection as a timeout.
            http_client=fireworks.DefaultAsyncHttpxClient(),
        )
        return SdkTransport(
            client=client,
            sdk=fireworks,
            http=httpx,
            root=root,
            key=self.key,
            key_variable=self.key_variable,
        )
