"""What everybody who asks a probed server needs: client, wording, and how to read answers."""

from __future__ import annotations

import uuid

from attrs import field, frozen

from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.probe import ServerProfile
from egcfg_backends_fireworks.prompts import PromptWire
from egcfg_backends_fireworks.requests import Requests
from egcfg_backends_fireworks.spelling import Speller

__all__ = ["Connection"]


@frozen(kw_only=True)
class Connection:
    """A probed server.

    Attributes:
        client: asks the server.
        requests: words what it is asked.
        profile: what it can do.
        reader: reads its rows.
        wire: turns sequences into what is sent.
        speller: spells tokens.
    """

    client: EndpointClient
    requests: Requests
    profile: ServerProfile
    reader: RowReader
    wire: PromptWire
    speller: Speller
    _key: str = field(factory=lambda: uuid.uuid4().hex, init=False, repr=False)

    def cache_key(self, role: str) -> str:
        """Return the key that keeps the prompts of one role together in the server's cache."""
        return f"egcfg-{self._key}-{role or 'other'}"
