"""Models served by Fireworks, through the ``fireworks-ai`` SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import fireworks
import httpx

from egcfg_backends_fireworks.address import NO_KEY, api_key, checked_address
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import FireworksOptions
from egcfg_backends_fireworks.requests import Dialect
from egcfg_backends_fireworks.transport import SdkTransport

__all__ = ["FireworksBackend"]

KEY_VARIABLE = "FIREWORKS_API_KEY"
DEFAULT_URL = "https://api.fireworks.ai/inference"


class FireworksBackend(EndpointBackend):
    """A model served by Fireworks."""

    Options: ClassVar[type] = FireworksOptions

    def transport_factory(self) -> Callable[[], SdkTransport]:
        """Return what opens the connection."""
        # The SDK puts the version between the address and the route itself.
        url = checked_address(self.options.base_url or DEFAULT_URL).removesuffix("/v1")
        key = api_key(KEY_VARIABLE, url)

        def connect() -> SdkTransport:
            client = fireworks.AsyncFireworks(
                api_key=key or NO_KEY,
                base_url=url,
                max_retries=0,
                timeout=self.options.attempt_timeout_s,
                # The SDK's own choice, aiohttp, reports a closed connection as a timeout.
                http_client=fireworks.DefaultAsyncHttpxClient(),
            )
            return SdkTransport(
                client=client,
                sdk=fireworks,
                http=httpx,
                root=url,
                key=key,
                key_variable=KEY_VARIABLE,
            )

        return connect

    def dialect(self) -> Dialect:
        """Return Fireworks' own fields: rows with ids, and an error where a prompt is too long."""
        return Dialect(
            row_logprobs=True,
            always={"context_length_exceeded_behavior": "error", "return_token_ids": True},
            extras={"top_k": 0, "min_p": 0.0},
            cache_key="prompt_cache_key",
            server_routes=False,
        )
