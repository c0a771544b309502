"""A server that has been probed: what it can do, how it is asked, and what it told so far."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import field, frozen

from egcfg.errors import BackendError
from egcfg_backends_fireworks.address import is_local
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.distributions import END_TEXTS, RowReader
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.probe import probe_server
from egcfg_backends_fireworks.profile import KeptProfiles, ServerProfile
from egcfg_backends_fireworks.prompt_encoder import PromptEncoder
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
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
        context_length: tokens of prompt and answer together; None: not known.
        scored: the distributions that it told.
    """

    client: EndpointClient
    profile: ServerProfile
    reader: RowReader
    prompts: PromptEncoder
    context_length: int | None
    scored: ScoredPrefixes = field(factory=ScoredPrefixes, init=False, repr=False)
    _session: str = field(factory=lambda: uuid.uuid4().hex, init=False, repr=False)

    async def ask(
        self,
        prefixes: Sequence[tuple[int, ...]],
        check: Callable[[int, Choice], None],
        *,
        together: bool,
        n: int = 1,
        **fields: Any,
    ) -> list[Choice]:
        """Return the server's answer to each prefix, or `n` of them to a single one.

        Args:
            prefixes: at least one.
            check: is given each choice's number; raises MalformedResponseError on one that does not
                fit, and all are asked for again.
            together: whether they go out as one request; otherwise as one each, at the same time.
            n: choices of each.
            fields: more of `RequestForm.body`.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        if len(prefixes) > 1 and not together:

            def check_single(number: int) -> Callable[[int, Choice], None]:
                return lambda _, choice: check(number, choice)

            singles = await gather(
                self.ask([prefix], check_single(number), together=True, n=n, **fields)
                for number, prefix in enumerate(prefixes)
            )
            return [choice for choices in singles for choice in choices]
        prompts = [await self.prompts.wire(prefix) for prefix in prefixes]

        def check_all(completion: Completion) -> None:
            choices = completion.choices
            if len(choices) != len(prompts) * n:
                raise MalformedResponseError(
                    f"{len(choices)} answers instead of {len(prompts) * n}"
                )
            for number, choice in enumerate(choices):
                prompt = prompts[number // n]
                all_ids = isinstance(prompt, tuple) and not isinstance(prompt[0], str)
                if all_ids and choice.prompt_ids not in (None, prompt):
                    raise MalformedResponseError("an answer to another prompt")
                check(number, choice)

        # Prompts that begin alike bear the same key, whatever they are for.
        start = prefix_key(prefixes[0][:KEYED_TOKENS]).hex()
        body = self.profile.form.body(
            *prompts, n=n, cache_key=f"egcfg-{self._session}-{start}", **fields
        )
        choices = (await self.client.complete(body, check_all)).choices
        tokens = [row.token for choice in choices for row in choice.rows]
        await self.learn(t.id for t in tokens if t.content is None and t.id is not None)
        return list(choices)

    async def learn(self, ids: Iterable[int]) -> None:
        """See that the vocabulary has the texts of tokens, which some servers name by id alone.

        Raises:
            BackendError: the server does not tell them.
        """
        vocabulary, routes = self.reader.vocabulary, self.prompts.routes
        unknown = [token for token in dict.fromkeys(ids) if vocabulary.content(token) is None]
        texts = await gather(routes.detokenize(token) for token in unknown)
        for token, text in zip(unknown, texts, strict=True):
            if text is None:
                raise BackendError("the endpoint stopped detokenizing; check the server")
            vocabulary.learn(token, text.encode())

    async def learn_end_ids(self) -> None:
        """Learn which of the widespread end-of-sequence tokens this model has."""
        texts = sorted(text.decode() for text in END_TEXTS)
        read = await gather(self.prompts.routes.tokenize(text) for text in texts)
        # Text that is no token of its own is split; a beginning token may come before it.
        ends = {ids[-1]: text for ids, text in zip(read, texts, strict=True) if ids}
        await self.learn(ends)
        content = self.reader.vocabulary.content
        self.reader.end_ids |= {t for t, text in ends.items() if content(t) == text.encode()}


async def open_server(
    client: EndpointClient, service: Service, tokenizer: LocalTokenizer | None
) -> Server:
    """Probe a server, unless it was probed not long ago.

    Raises:
        UsageError, BackendError: it does not answer, or not this user.
    """
    options = client.options
    model = options.model or ""
    routes = ServerRoutes(client, model, enabled=service.routes)
    kept = KeptProfiles(
        (client.address, model, options.route, options.top_k, options.tokenizer is not None)
    )
    fingerprint = await routes.fingerprint()
    # On this machine one server follows another at the same address: it has to name its model.
    keeps = bool(fingerprint) or not is_local(client.address)
    profile = kept.load(fingerprint) if keeps and not options.fresh else None
    if profile is None:
        profile = await probe_server(client, service, routes)
        if keeps:
            kept.save(profile, fingerprint)
    client.served, client.spelling, client.named = profile.served, profile.spelling, profile.named
    routes.known |= set(profile.routes)
    vocabulary = Vocabulary(has_ids=profile.ids_throughout)
    reader = RowReader(vocabulary, profile.form.top_k, profile.end_id)

    async def read_ids(text: str) -> Sequence[int]:
        body = profile.form.body(text, top_k=1)
        return (await client.complete(body, _tells_prompt_ids)).choices[0].prompt_ids or ()

    server = Server(
        client=client,
        profile=profile,
        reader=reader,
        prompts=PromptEncoder(model, vocabulary, profile, routes, read_ids, tokenizer),
        context_length=options.context_length or profile.context_length,
    )
    if profile.token_id_strings:
        await server.learn_end_ids()
    return server


def _tells_prompt_ids(completion: Completion) -> None:
    # It did when it was probed.
    if not completion.choices[0].prompt_ids:
        raise MalformedResponseError("an answer without the ids of its prompt")
