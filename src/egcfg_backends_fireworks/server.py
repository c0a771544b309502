"""A server that has been probed: what it can do, how it is asked, and what it told so far."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from attrs import field, frozen

from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.comparison import Echo
from egcfg_backends_fireworks.detokenizer import Detokenizer
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import DraftPolicy, EndpointOptions
from egcfg_backends_fireworks.probe import ServerProfile, probe_server
from egcfg_backends_fireworks.prompt_encoder import PromptEncoder
from egcfg_backends_fireworks.responses import Completion, MalformedResponseError
from egcfg_backends_fireworks.scored_prefixes import ScoredPrefixes, prefix_key
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary
from egcfg_backends_fireworks.wire import Dialect, RequestBuilder

__all__ = ["Server", "open_server", "scores_drafts"]

KEYED_TOKENS = 64
"""Tokens at the start of a prompt that name its cache: where they are the same, more may be."""


@frozen(kw_only=True)
class Server:
    """Everything known about a server; lives in one event loop.

    Attributes:
        client: asks the server.
        requests: words what it is asked.
        profile: what it can do.
        reader: reads its rows.
        prompts: turns prompts and prefixes into what is sent.
        detokenizer: knows the texts of tokens that it names by id.
        scored: the distributions that it told.
        context_length: tokens of prompt and answer together; None: not known.
        scores_drafts: whether drafts are sent (`scores_drafts`).
    """

    client: EndpointClient
    requests: RequestBuilder
    profile: ServerProfile
    reader: RowReader
    prompts: PromptEncoder
    detokenizer: Detokenizer
    context_length: int | None
    scores_drafts: bool
    scored: ScoredPrefixes = field(factory=ScoredPrefixes, init=False, repr=False)
    _session: str = field(factory=lambda: uuid.uuid4().hex, init=False, repr=False)

    def cache_key(self, ids: Sequence[int]) -> str:
        """Return the name of the prompt cache in which prompts that begin like `ids` are kept."""
        return f"egcfg-{self._session}-{prefix_key(ids[:KEYED_TOKENS]).hex()}"


def scores_drafts(profile: ServerProfile, policy: DraftPolicy) -> bool:
    """Whether drafts are to be sent to this server: as the end of a prompt, which it echoes.

    Only where prompts are token ids: text that is tokenized again might not have the draft's
    tokens.
    """
    if not profile.ids_throughout or policy is DraftPolicy.PER_TOKEN:
        return False
    if policy is DraftPolicy.AUTO:
        return profile.echo_last
    return profile.echo_last or profile.echo is Echo.RIGHT


async def open_server(
    client: EndpointClient,
    dialect: Dialect,
    model: str,
    options: EndpointOptions,
    tokenizer: LocalTokenizer | None,
) -> Server:
    """Probe a server.

    Raises:
        CapabilityError: it gives no log-probabilities.
        UsageError, BackendError: it does not answer, or not this user.
    """
    routes = ServerRoutes(client, model, enabled=dialect.server_routes)
    asked = RequestBuilder(model=model, dialect=dialect, top_k=options.top_k)
    profile, requests = await probe_server(client, asked, routes)
    vocabulary = Vocabulary(has_ids=profile.ids_throughout)
    reader = RowReader(vocabulary, profile.top_k, profile.end_id)
    detokenizer = Detokenizer(vocabulary, routes)
    if profile.token_id_strings:
        reader.end_ids |= await detokenizer.end_ids()
    drafted = scores_drafts(profile, options.drafts)
    context_length = options.context_length or profile.context_length

    async def read_ids(text: str) -> Sequence[int]:
        completion = await client.complete(requests.completion(text), _tells_prompt_ids)
        return completion.choices[0].prompt_ids or ()

    return Server(
        client=client,
        requests=requests,
        profile=profile,
        reader=reader,
        prompts=PromptEncoder(
            model,
            vocabulary,
            profile,
            routes,
            read_ids,
            tokenizer,
            # A context cannot be shared out by estimates.
            defers=drafted and profile.text_echo and tokenizer is None and context_length is None,
        ),
        detokenizer=detokenizer,
        context_length=context_length,
        scores_drafts=drafted,
    )


def _tells_prompt_ids(completion: Completion) -> None:
    # It did when it was probed.
    if not completion.choices[0].prompt_ids:
        raise MalformedResponseError("an answer without the ids of its prompt")
