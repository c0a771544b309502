"""A probed server, and what asks it the seam's questions as completion requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from attrs import define

from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.connection import Connection
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.drafts import scores_drafts
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.probe import probe_server
from egcfg_backends_fireworks.prompts import PromptWire
from egcfg_backends_fireworks.requests import Dialect, Requests
from egcfg_backends_fireworks.responses import Completion, MalformedResponseError
from egcfg_backends_fireworks.sampling import Sampling
from egcfg_backends_fireworks.scoring import Scoring
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.spelling import Speller
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["Session"]


@define(kw_only=True)
class Session:
    """Everything known about a server once it has been probed; lives in one event loop.

    Attributes:
        routes: the server's further routes.
        server: what it can do, and how it is asked and read.
        scoring: asks for distributions.
        sampling: asks for continuations.
    """

    routes: ServerRoutes
    server: Connection
    scoring: Scoring
    sampling: Sampling

    @classmethod
    async def open(
        cls,
        client: EndpointClient,
        dialect: Dialect,
        model: str,
        options: EndpointOptions,
        tokenizer: Callable[[str], Sequence[int]] | None,
    ) -> Self:
        """Probe a server.

        Raises:
            CapabilityError: it gives no log-probabilities.
            UsageError, BackendError: it does not answer, or not this user.
        """
        routes = ServerRoutes(client, model, enabled=dialect.server_routes)
        asked = Requests(model=model, dialect=dialect, top_k=options.top_k)
        profile, requests = await probe_server(client, asked, routes)
        vocabulary = Vocabulary(has_ids=profile.ids_throughout)
        reader = RowReader(vocabulary, profile.top_k)
        if profile.end_id is not None and vocabulary.has_ids:
            vocabulary.learn(profile.end_id, b"")
            reader.end_ids.add(profile.end_id)

        speller = Speller(vocabulary, routes)
        if profile.spells_apart:
            reader.end_ids |= await speller.end_ids()

        echoes = scores_drafts(profile, options.drafts)

        async def learn(text: str) -> Sequence[int]:
            completion = await client.complete(requests.completion(text), _tells_prompt_ids)
            return completion.choices[0].prompt_ids or ()

        server = Connection(
            client=client,
            requests=requests,
            profile=profile,
            reader=reader,
            wire=PromptWire(
                vocabulary,
                profile,
                routes.tokenize_pieces,
                learn,
                tokenizer,
                # Room in the context cannot be shared out by estimates.
                defers=echoes
                and profile.named_echo
                and tokenizer is None
                and (options.context_length or profile.context_length) is None,
            ),
            speller=speller,
        )
        scoring = Scoring(
            server=server,
            echoes=echoes,
            # What is drawn at another temperature than 0 is no way that the text would go, and text
            # that is sent back might be split into other tokens.
            tokens_ahead=options.lookahead if profile.ids_throughout and profile.raw else 1,
        )
        return cls(routes=routes, server=server, scoring=scoring, sampling=Sampling(server=server))


def _tells_prompt_ids(completion: Completion) -> None:
    # It did when it was probed.
    if not completion.choices[0].prompt_ids:
        raise MalformedResponseError("an answer without the ids of its prompt")
