"""What both endpoint backends share: the seam's methods as requests to a server."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from egcfg.errors import CapabilityError, UsageError
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Completion,
    Continuation,
    LogprobBackend,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg_backends_fireworks.address import api_key
from egcfg_backends_fireworks.client import EndpointClient, Sdk, counted
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.profile import ServerProfile
from egcfg_backends_fireworks.sampling import Sampling
from egcfg_backends_fireworks.scoring import Scoring
from egcfg_backends_fireworks.server import Server, open_server
from egcfg_backends_fireworks.wire import Service

__all__ = ["EndpointBackend"]

logger = logging.getLogger(__name__)


class EndpointBackend(LogprobBackend):
    """A model of an endpoint. Without log-probabilities it answers whole prompts in text only.

    Args:
        options: which model, where, and with how much patience.

    Raises:
        UsageError: the model or the address is not given, or the API key is not set.
        ConfigError: the address is none.

    Attributes:
        address: where the API is, its version included.
        key: the API key; empty where none is needed.
    """

    Options: ClassVar[type] = EndpointOptions
    checks_budget: ClassVar[bool] = True

    key_variable: ClassVar[str]
    """Name of the environment variable that holds the API key."""
    service: ClassVar[Service]
    """What this kind of service may take."""

    def __init__(self, options: EndpointOptions) -> None:
        if not options.model:
            raise UsageError(
                "an endpoint needs the model's name as the service knows it; pass --model NAME"
            )
        self.options = options
        self.address = self.api_address()
        self.key = api_key(self.key_variable, self.address)
        self._model = options.model
        self._client: EndpointClient | None = None
        self._server: Server
        self._scoring: Scoring
        self._sampling: Sampling

    @abstractmethod
    def api_address(self) -> str:
        """Return where the API is, its version included."""

    @abstractmethod
    def load_sdk(self) -> Sdk:
        """Import the vendor's SDK, and make its client."""

    @property
    def model_name(self) -> str:
        """The model's name as the service knows it."""
        return self._model

    async def open(self) -> Usage:
        """Find out what the server can do: by a probe, or by what one found not long ago.

        Raises:
            UsageError, BackendError: it does not answer, or not this user; or there is no local
                tokenizer where the option says.
        """
        source = self.options.tokenizer
        tokenizer = await asyncio.to_thread(LocalTokenizer, source) if source else None
        self._client = client = EndpointClient(
            self.load_sdk, self.key, self.key_variable, self.address, self.options
        )
        try:
            opened = await counted(open_server(client, self.service, tokenizer))
        except BaseException:
            await self.close()
            raise
        self._server = server = opened.value
        # What is sampled at another temperature than 0 is not what the text is likely to be.
        speculates = server.profile.raw and server.profile.named
        self._scoring = Scoring(
            server=server, generated=self.options.speculated_tokens if speculates else 1
        )
        self._sampling = Sampling(server=server)
        logger.info("%s: %s", self._model, self.profile.summary(local_tokenizer=bool(source)))
        return opened.usage

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def resolved(self) -> Mapping[str, str]:
        """The route that is asked."""
        return {"route": str(self.profile.form.route)}

    @property
    def profile(self) -> ServerProfile:
        """What the probe found."""
        return self._server.profile

    def findings(self) -> Iterator[tuple[str, str]]:
        """Yield what the server can do, each by its name and in words."""
        return self.profile.in_words(local_tokenizer=bool(self.options.tokenizer))

    @property
    def capabilities(self) -> Capabilities:
        """What the server was found to do."""
        server = self._server
        return Capabilities(
            logprobs=server.profile.logprobs,
            text=not server.profile.chats,
            chat=server.prompts.tokenizer is not None or server.profile.template,
            top_k=server.profile.form.top_k,
            scores_drafts=server.profile.scores_drafts,
            exact_logprobs=server.profile.exact_logprobs,
            context_length=server.context_length,
            reasons=server.prompts.reasons,
        )

    @property
    def tasks_in_flight(self) -> int:
        """More than of a local model: most of the time each waits for the network."""
        return 16

    @property
    def end_ids(self) -> frozenset[int]:
        """The end-of-sequence tokens met so far; complete for every distribution given out."""
        return frozenset(self._server.reader.end_ids)

    async def encode(self, prompt: TextPrompt | ChatPrompt) -> Answer[tuple[int, ...]]:
        """Return the ids of a prompt: the model's own where they can be known, else of pieces.

        Raises:
            CapabilityError: a chat, and neither the server nor a local tokenizer has a template; or
                a text, and the server is asked on its chat route.
            BackendError: the template refuses the messages, or the server did not answer.
        """
        return await counted(self._server.prompts.encode(prompt))

    async def decode(self, ids: Sequence[int]) -> Answer[str]:
        """Return the text of generated tokens.

        Raises:
            BackendError: an id was never seen in a prompt or an answer.
        """
        return await counted(self._decode(ids))

    async def count_tokens(self, text: str) -> Answer[int]:
        """Return how many tokens a text has: an estimate without a local tokenizer."""
        return Answer(self._server.prompts.count(text))

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Return the distributions of each request, in one request for all where possible."""
        if any(request.draft for request in requests) and not self.profile.scores_drafts:
            raise CapabilityError("the endpoint echoes no drafts; send prefixes without them")
        return await counted(self._scoring.score(requests))

    async def logprobs(self, requests: Sequence[LogprobRequest]) -> Answer[list[list[float]]]:
        """Return the exact log-probabilities of each request's tokens."""
        if not self.profile.exact_logprobs:
            raise CapabilityError(
                "the endpoint tells no log-probabilities of chosen tokens: neither "
                "logprob_token_ids, nor an echo, nor logit_bias"
            )
        return await counted(self._scoring.logprobs(requests))

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Return the continuations of each request, in as few requests as the server allows."""
        return await counted(self._sampling.sample(requests))

    async def complete(
        self, prompt: TextPrompt | ChatPrompt, params: SamplingParams
    ) -> Answer[Completion]:
        """Return the answer to a whole prompt; see `egcfg.interfaces.backend.TextBackend`."""
        return await counted(self._sampling.complete(prompt, params))

    async def _decode(self, ids: Sequence[int]) -> str:
        if self.profile.token_id_strings:
            await self._server.learn(ids)
        return self._server.reader.vocabulary.decode(ids)
