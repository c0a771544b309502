"""Finds out what a server can do by asking it, rather than by what its vendor is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from egcfg.errors import BackendError
from egcfg.interfaces.prompt import ChatMessage
from egcfg.interfaces.reasoning import opens_reasoning
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.comparison import Echo, alike, close, echo_kind
from egcfg_backends_fireworks.faults import NotServedError, RejectedRequestError
from egcfg_backends_fireworks.form_finder import TRIES, FormFinder
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.profile import ServerProfile
from egcfg_backends_fireworks.responses import Choice, Completion, Row, Spelling
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.wire import Chat, Prefill, Service, WirePrompt

__all__ = ["FORCING_BIAS", "probe_server"]

PROMPT = "def add(a, b):\n    return a"
OTHER_PROMPT = "numbers = [1, 2, 3]\nfor number in"
CHAT = Chat(
    (ChatMessage("user", "Write a Python function that adds two numbers."),),
    "```python\ndef add(a, b):",
)
FORCING_BIAS = 100.0
"""Enough to lift any token above all others."""
NO_ROUTE = frozenset({404, 405, 501})


@frozen
class _Known:
    """A prompt whose continuation is known: what other answers are measured by.

    Attributes:
        prompt: as it is sent.
        rows: the two tokens of its greedy continuation; their distributions are the model's own.
        continued: the prompt and these tokens; None where they are not to be sent back.
    """

    prompt: WirePrompt
    rows: tuple[Row, ...]
    continued: WirePrompt | None


async def probe_server(
    client: EndpointClient,
    service: Service,
    options: EndpointOptions,
    routes: ServerRoutes,
) -> ServerProfile:
    """Ask a server one or two dozen short questions.

    What is not found is looked for again, so that a faulty answer makes no run slow. Of two routes
    the one is taken that tells log-probabilities, and that takes chats or scores drafts.

    Raises:
        UsageError, BackendError: as `EndpointClient.complete`.
    """
    found: ServerProfile | None = None
    refusal: NotServedError | BackendError | None = None
    if options.route is not Route.CHAT:
        try:
            found = await _Probe(client, service, options, routes=routes).completions()
        except (RejectedRequestError, NotServedError) as error:
            if options.route is not Route.AUTO or error.status not in NO_ROUTE | {400, 422}:
                raise
            refusal = error
    if found is not None and (options.route is Route.COMPLETIONS or _serves(found, options)):
        return found
    try:
        chat = await _Probe(client, service, options, routes=routes).chat()
    except (NotServedError, BackendError) as error:
        if found is None:
            raise refusal or error from None
        return found
    if found is None or chat.logprobs or not found.logprobs:
        return chat
    return evolve(found, lacks=(*found.lacks, *chat.lacks))


def _serves(found: ServerProfile, options: EndpointOptions) -> bool:
    """Whether the completions route does what the chat route could not do better."""
    takes_chats = found.template or options.tokenizer is not None
    return found.logprobs and (takes_chats or found.scores_drafts(options.drafts))


@define
class _Probe(FormFinder):
    """The questions to one route.

    Attributes:
        routes: the server's further routes.
    """

    routes: ServerRoutes = field(kw_only=True)

    async def completions(self) -> ServerProfile:
        """Return what the completions route can do."""
        greedy = await self.find_form(Route.COMPLETIONS, PROMPT)
        rendered = await self.routes.render_chat([ChatMessage("user", "hi")])
        if greedy is None:
            return self._profile(template=rendered is not None)
        without_text = any(row.token.content is None for row in greedy.rows)
        if without_text and not await self._detokenizes(greedy):
            fields = dict(self.form.fields)
            fields.pop("return_tokens_as_token_ids", None)
            self.form = evolve(self.form, fields=fields)
            greedy = await self.continuation(PROMPT) or greedy
            without_text = False
        raw, greedy = await self._raw(greedy, PROMPT)
        pieces = [row.token for row in greedy.rows]
        pieces += [piece for row in greedy.rows for piece, _ in row.alternatives]
        token_ids = all(piece.id is not None for piece in pieces) and self.client.named
        tokenized = await self.routes.tokenize(PROMPT) if token_ids else None
        ids = greedy.prompt_ids if tokenized is None else tokenized
        prompt_ids = mixed = False
        if token_ids and ids is not None:
            prompt_ids = await self.confirmed(lambda: self._reads(ids, greedy))
            mixed = prompt_ids and await self.confirmed(lambda: self._reads_mixed(greedy))
        first = _known(ids if prompt_ids and ids is not None else PROMPT, greedy)
        second = await self._other(first)
        multiple, seeded = await self._several(first.prompt)
        echo, last = Echo.IGNORED, 0
        if first.continued is not None and prompt_ids:
            echo = await self._echo(first, 0)
            last = 2 if await self._echo(first, 2) is Echo.RIGHT else 0
        right = bool(last) or echo is Echo.RIGHT
        pair = None if second is None else (first, second)
        return self._profile(
            token_ids=token_ids,
            token_id_strings=without_text,
            prompt_ids=prompt_ids,
            mixed_prompts=mixed,
            multiple=multiple,
            seeded=seeded,
            raw=raw,
            batches=pair is not None and await self.confirmed(lambda: self._batch(pair)),
            logit_bias_id=await self._logit_bias_id(first) if token_ids else None,
            token_logprobs=token_ids and await self.confirmed(lambda: self._token_logprobs(first)),
            echo=echo,
            echo_last=bool(last),
            batched_echo=right
            and pair is not None
            and await self.confirmed(lambda: self._batched_echo(pair, last)),
            template=rendered is not None,
            context_length=await self.routes.context_length(),
            end_id=await self.routes.end_id() if token_ids else None,
            reasons=opens_reasoning(rendered or ""),
        )

    async def chat(self) -> ServerProfile:
        """Return what the chat route can do."""
        self.client.spelling, self.client.named = Spelling.TEXT, True  # of the other route
        without_prefix = evolve(CHAT, prefix="")
        greedy = await self.find_form(Route.CHAT, without_prefix)
        if greedy is None:
            return self._profile(
                template=True, lacks=("the chat route tells no log-probabilities",)
            )
        for prefill in Prefill:
            self.form = evolve(self.form, prefill=prefill)
            if await self.confirmed(self._continues):
                break
        else:
            self.form = evolve(self.form, prefill=None, top_k=0)
            return self._profile(
                template=True,
                lacks=(
                    "the chat route does not go on from the beginning of an answer as it is, "
                    "which guidance needs",
                ),
            )
        raw, _ = await self._raw(await self.continuation(CHAT) or greedy, CHAT)
        multiple, seeded = await self._several(CHAT)
        return self._profile(
            template=True,
            raw=raw,
            multiple=multiple,
            seeded=seeded,
            context_length=await self.routes.context_length(),
        )

    def _profile(self, **found: Any) -> ServerProfile:
        return ServerProfile(
            form=self.form,
            served=self.served,
            spelling=self.client.spelling,
            named=self.client.named,
            routes=tuple(sorted(self.routes.known)),
            **found,
        )

    async def _detokenizes(self, greedy: Choice) -> bool:
        token = greedy.rows[0].token.id
        return token is not None and await self.routes.detokenize(token) is not None

    async def _continues(self) -> bool:
        """Whether an answer's beginning is continued as it is, also where it ends in white space.

        Each token is what comes after those before it, or the server began anew.
        """
        greedy = await self.continuation(CHAT, max_tokens=6)
        if greedy is None:
            return False
        contents = [row.token.content or b"" for row in greedy.rows]
        texts = [b"".join(contents[:n]).decode(errors="replace") for n in range(len(contents))]
        at = [n for n, text in enumerate(texts) if n and text[-1:].isspace()][-1:] or [1]
        for n in {1, *at} & set(range(1, len(contents))):
            known = evolve(CHAT, prefix=CHAT.prefix + texts[n])
            answer = await self.answer(self.body(known))
            if not alike(answer.choices[0].rows[:1], greedy.rows[n : n + 1]):
                return False
        return len(contents) > 1

    async def _raw(self, greedy: Choice, prompt: WirePrompt) -> tuple[bool, Choice]:
        """Return whether neither temperature nor top-p shows in the distributions.

        Returns:
            that, and the continuation by which all else is measured.
        """
        hot = self.form.body(prompt, max_tokens=2, temperature=2.0, top_p=0.5, seed=7)

        async def same() -> bool:
            return alike((await self.answer(hot)).choices[0].rows[:1], greedy.rows[:1])

        if await self.confirmed(same):
            return True, greedy
        # Temperature 0 may have made a certainty of the likeliest token.
        self.temperature = 1.0
        found = await self.continuation(prompt)
        if found is not None:
            top_k = min(self.form.top_k, max(len(row.alternatives) for row in found.rows))
            self.form = evolve(self.form, top_k=top_k)
        return False, found or greedy

    async def _reads(self, ids: tuple[int, ...], greedy: Choice) -> bool:
        """Whether token ids are read as the text that they stand for."""
        choice = (await self.answer(self.body(ids))).choices[0]
        return choice.prompt_ids in (None, ids) and alike(choice.rows, greedy.rows[:1])

    async def _reads_mixed(self, greedy: Choice) -> bool:
        """Whether ids after a text are read as such."""
        token = greedy.rows[0].token.id
        if token is None or len(greedy.rows) < 2:
            return False
        rows = (await self.answer(self.body((PROMPT, token)))).choices[0].rows
        return alike(rows, greedy.rows[1:2])

    async def _other(self, first: _Known) -> _Known | None:
        """Return what is known of another prompt, in the form of the first one."""
        choice = await self.continuation(OTHER_PROMPT)
        if choice is None:
            return None
        prompt: WirePrompt | None = OTHER_PROMPT
        if not isinstance(first.prompt, str):
            tokenized = await self.routes.tokenize(OTHER_PROMPT)
            prompt = choice.prompt_ids if tokenized is None else tokenized
        return None if prompt is None else _known(prompt, choice)

    async def _several(self, prompt: WirePrompt) -> tuple[bool, bool]:
        """Return whether two continuations come at once, and whether the same ones come again."""
        request = self.form.body(prompt, max_tokens=4, temperature=2.0, n=2, seed=7)
        try:
            sampled = await self.answer(request)
            again = await self.answer(request)
        except BackendError:
            return False, False
        return len(sampled.choices) == 2, _texts(sampled) == _texts(again)

    async def _batch(self, known: Sequence[_Known]) -> bool:
        """Whether several prompts in one request are answered like single ones."""
        choices = (await self.answer(self.body(*(each.prompt for each in known)))).choices
        return len(choices) == len(known) and all(
            alike(choice.rows, each.rows[:1]) for choice, each in zip(choices, known, strict=True)
        )

    async def _batched_echo(self, known: Sequence[_Known], last: int) -> bool:
        """Whether the same is true of echoed prompts."""
        prompts = [each.continued for each in known if each.continued is not None]
        if len(prompts) < len(known):
            return False
        choices = (await self.answer(self.body(*prompts, echo=last))).choices
        return len(choices) == len(known) and all(
            echo_kind(choice.rows, each.rows, last) is Echo.RIGHT
            for choice, each in zip(choices, known, strict=True)
        )

    async def _echo(self, known: _Known, last: int) -> Echo:
        """Send a prompt with its continuation, and see what comes back for the latter.

        Args:
            known: the prompt.
            last: how many of its tokens to echo; 0: all.
        """
        assert known.continued is not None  # looked at by the caller
        request = self.body(known.continued, echo=last)
        kind = Echo.REFUSED
        for _ in range(TRIES):
            try:
                answer = await self.client.complete(request, trial=True)
            except BackendError:
                break
            kind = echo_kind(answer.choices[0].rows, known.rows, last)
            if kind is Echo.RIGHT:
                break
        return kind

    async def _logit_bias_id(self, known: _Known) -> int | None:
        """Force the second likeliest token, and see whether the distribution stays the same."""
        first = known.rows[0]
        others = [(p.id, value) for p, value in first.alternatives if p != first.token]
        if not others or others[0][0] is None:
            return None
        target, logprob = others[0]
        request = self.body(known.prompt, logit_bias={target: FORCING_BIAS})

        async def forced() -> bool:
            rows = (await self.answer(request)).choices[0].rows
            return (
                alike(rows, known.rows[:1])
                and rows[0].token.id == target
                and close(rows[0].logprob, logprob)
            )

        return target if await self.confirmed(forced) else None

    async def _token_logprobs(self, known: _Known) -> bool:
        """Whether the values of named tokens are told, others' than the likeliest ones'."""
        listed = [(p.id, value) for p, value in known.rows[0].alternatives if p.id is not None]
        wanted = dict(listed[-2:])
        request = self.body(known.prompt, token_logprobs=list(wanted))
        rows = (await self.client.complete(request, trial=True)).choices[0].rows
        told = {piece.id: value for piece, value in rows[0].alternatives} if rows else {}
        # The generated token may be listed beside them; the likeliest ones must not be.
        return len(told) <= len(wanted) + 1 < len(listed) and all(
            close(told.get(token), value) for token, value in wanted.items()
        )


def _known(prompt: WirePrompt, choice: Choice) -> _Known:
    text = "".join(row.token.text or "" for row in choice.rows)
    ids = tuple(row.token.id for row in choice.rows if row.token.id is not None)
    continued: WirePrompt | None = None
    if isinstance(prompt, tuple):
        continued = prompt + ids if len(ids) == 2 else None
    elif isinstance(prompt, str) and text and text == choice.text:
        continued = prompt + text
    return _Known(prompt, choice.rows, continued if len(choice.rows) == 2 else None)


def _texts(completion: Completion) -> list[str]:
    return [choice.text for choice in completion.choices]
