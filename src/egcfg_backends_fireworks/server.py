"""A server that has been probed: what it can do, how it is asked, and what it told so far."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from attrs import field, frozen

from egcfg_backends_fireworks.address import is_local
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.detokenizer import Detokenizer
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.probe import probe_server
from egcfg_backends_fireworks.profile import KeptProfiles, ServerProfile
from egcfg_backends_fireworks.prompt_encoder import PromptEncoder
from egcfg_backends_fireworks.responses import Completion, MalformedResponseError
from egcfg_backends_fireworks.scored_prefixes import ScoredPrefixes, prefix_key
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary
from egcfg_backends_fireworks.wire import Service

__all__ = ["Server", "open_server"]

KEYED_TOKENS = 64
"""Tokens at the start of a prompt that name its cache: where they are the same, more may be."""


@frozen(kw_only=True)
class Server:
    """Everything known about a server; lives in one event loop.

    Attributes:
        client: asks the server.
        profile: what it can do, and how it is asked.
        reader: reads its rows.
        prompts: turns prompts and prefixes into what is sent.
        detokenizer: knows the texts of tokens that it names by id.
        scored: the distributions that it told.
        context_length: tokens of prompt and answer together; None: not known.
        scores_drafts: whether drafts are sent.
    """

    client: EndpointClient
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


async def open_server(
    client: EndpointClient,
    service: Service,
    options: EndpointOptions,
    tokenizer: LocalTokenizer | None,
) -> Server:
    """Probe a server, unless it was probed not long ago.

    Raises:
        UsageError, BackendError: it does not answer, or not this user.
    """
    model = options.model or ""
    routes = ServerRoutes(client, model, enabled=service.routes)
    profile = await _profile(client, service, options, routes)
    client.served, client.spelling, client.named = profile.served, profile.spelling, profile.named
    routes.known |= set(profile.routes)
    vocabulary = Vocabulary(has_ids=profile.ids_throughout)
    reader = RowReader(vocabulary, profile.form.top_k, profile.end_id)
    detokenizer = Detokenizer(vocabulary, routes)
    if profile.token_id_strings:
        reader.end_ids |= await detokenizer.end_ids()

    async def read_ids(text: str) -> Sequence[int]:
        completion = await client.complete(profile.form.body(text, top_k=1), _tells_prompt_ids)
        return completion.choices[0].prompt_ids or ()

    return Server(
        client=client,
        profile=profile,
        reader=reader,
        prompts=PromptEncoder(model, vocabulary, profile, routes, read_ids, tokenizer),
        detokenizer=detokenizer,
        context_length=options.context_length or profile.context_length,
        scores_drafts=profile.scores_drafts(options.drafts),
    )


async def _profile(
    client: EndpointClient, service: Service, options: EndpointOptions, routes: ServerRoutes
) -> ServerProfile:
    local = options.tokenizer is not None
    kept = KeptProfiles(
        (client.address, options.model, options.route, options.top_k, options.drafts, local)
    )
    fingerprint = await routes.fingerprint()
    # On this machine one server follows another at the same address: it has to name its model.
    keeps = bool(fingerprint) or not is_local(client.address)
    if keeps and not options.fresh and (known := kept.load(fingerprint)) is not None:
        return known
    profile = await probe_server(client, service, options, routes)
    if keeps:
        kept.save(profile, fingerprint)
    return profile


def _tells_prompt_ids(completion: Completion) -> None:
    # It did when it was probed.
    if not completion.choices[0].prompt_ids:
        raise MalformedResponseError("an answer without the ids of its prompt")
