"""Finds out what a server can do by asking it, rather than by what its vendor is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.prompt import ChatMessage
from egcfg.interfaces.reasoning import opens_reasoning
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.comparison import alike, close, echoes
from egcfg_backends_fireworks.distributions import accounts_for_text, check_rows
from egcfg_backends_fireworks.faults import NotServedError, RejectedRequestError
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.profile import ServerProfile
from egcfg_backends_fireworks.responses import Choice, Completion, Row, Spelling, respelt
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.wire import Chat, Prefill, RequestForm, Service, WirePrompt

__all__ = ["FORCING_BIAS", "probe_server"]

PROMPT = "def add(a, b):\n    return a"
OTHER_PROMPT = "numbers = [1, 2, 3]\nfor number in"
CHAT = Chat(
    (ChatMessage("user", "Write a Python function that adds two numbers."),),
    "```python\ndef add(a, b):",
)
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "seed": 7}
"""How candidates are sampled: what is refused then is of no use."""
FORCING_BIAS = 100.0
"""Enough to lift any token above all others."""
TRIES = 3
"""How often a server is asked for what it does not seem to have: the answer may be a fault."""
USUAL = 20
"""Alternatives that many servers give at most, however many are asked for."""
ENOUGH = 5
"""Fewer may be those of a server that took a number for a truth: another form may bring more."""
BREAKS = 6
"""After so many requests that broke the server, it is no server of this kind."""
NO_ROUTE = frozenset({400, 404, 405, 422, 501})
KEY_REFUSED = frozenset({401, 402})


async def probe_server(
    client: EndpointClient, service: Service, routes: ServerRoutes
) -> ServerProfile:
    """Ask a server one or two dozen short questions.

    Of two routes the one is taken that tells log-probabilities, and that takes chats or scores
    drafts.

    Raises:
        UsageError, BackendError: as `EndpointClient.complete`.
    """
    options = client.options
    found: ServerProfile | None = None
    refusal: Exception | None = None
    if options.route is not Route.CHAT:
        try:
            found = await _Probe(client, service, routes).completions()
        except (RejectedRequestError, NotServedError) as error:
            if options.route is not Route.AUTO or error.status not in NO_ROUTE:
                raise
            refusal = error
    if found is not None and (options.route is Route.COMPLETIONS or _serves(found, options)):
        return found
    try:
        chat = await _Probe(client, service, routes).chat()
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
    return found.logprobs and (takes_chats or found.scores_drafts)


@frozen
class _Known:
    """A prompt whose continuation is known: what other answers are measured by.

    Attributes:
        prompt: as it is sent.
        rows: the two tokens of its greedy continuation; their distributions are the model's own.
    """

    prompt: WirePrompt
    rows: tuple[Row, ...]

    @property
    def continued(self) -> WirePrompt | None:
        """The prompt's ids and these tokens; None where they cannot be sent back."""
        ids = tuple(row.token.id for row in self.rows if row.token.id is not None)
        return self.prompt + ids if isinstance(self.prompt, tuple) and len(ids) == 2 else None


@define
class _Probe:
    """The questions to one route.

    Attributes:
        client: asks the server.
        service: what may be tried.
        routes: the server's further routes.
        form: of the requests that it takes, as far as it is known.
        temperature: at which it shows the model's own distributions.
        served: the model whose answers it says these are.
    """

    client: EndpointClient
    service: Service
    routes: ServerRoutes
    form: RequestForm = field(init=False)
    temperature: float = field(default=0.0, init=False)
    served: str | None = field(default=None, init=False)

    async def completions(self) -> ServerProfile:
        """Return what the completions route can do."""
        greedy = await self._find_form(Route.COMPLETIONS, PROMPT)
        rendered = await self.routes.render_chat([ChatMessage("user", "hi")])
        if greedy is None:
            return self._profile(template=rendered is not None)
        by_id_alone = any(row.token.content is None for row in greedy.rows)
        if by_id_alone and not await self._detokenizes(greedy):
            fields = dict(self.form.fields)
            fields.pop("return_tokens_as_token_ids", None)
            self.form = evolve(self.form, fields=fields)
            greedy = await self._continuation(PROMPT) or greedy
            by_id_alone = False
        raw, greedy = await self._raw(greedy, PROMPT)
        pieces = [row.token for row in greedy.rows]
        pieces += [piece for row in greedy.rows for piece, _ in row.alternatives]
        token_ids = all(piece.id is not None for piece in pieces) and self.client.named
        ids = await self._read_as(PROMPT, greedy) if token_ids else None
        prompt_ids = ids is not None and await self._holds(
            lambda a: a.choices[0].prompt_ids in (None, ids) and _first_alike(a, greedy.rows), ids
        )
        mixed = prompt_ids and await self._holds(
            lambda a: _first_alike(a, greedy.rows[1:]), (PROMPT, greedy.rows[0].token.id or 0)
        )
        first = _Known(ids if prompt_ids and ids is not None else PROMPT, greedy.rows)
        known = [first, *await self._another(first)]
        batches = len(known) == 2 and await self._holds(
            lambda a: _each(known, a, lambda one, c: alike(c.rows[:1], one.rows[:1])),
            *(one.prompt for one in known),
        )
        continued = [one.continued for one in known if one.continued is not None]
        echo_last = bool(continued) and await self._holds(
            lambda a: echoes(a.choices[0].rows, first.rows), continued[0], echo=2
        )
        return self._profile(
            token_ids=token_ids,
            token_id_strings=by_id_alone,
            prompt_ids=prompt_ids,
            mixed_prompts=mixed,
            multiple=await self._several(first.prompt),
            raw=raw,
            batches=batches,
            logit_bias_id=await self._logit_bias_id(first) if token_ids else None,
            token_logprobs=token_ids and await self._token_logprobs(first),
            echo_last=echo_last,
            batched_echo=echo_last
            and len(continued) == 2
            and await self._holds(
                lambda a: _each(known, a, lambda one, c: echoes(c.rows, one.rows)),
                *continued,
                echo=2,
            ),
            template=rendered is not None,
            context_length=await self.routes.context_length(),
            end_id=await self.routes.end_id() if token_ids else None,
            reasons=opens_reasoning(rendered or ""),
        )

    async def chat(self) -> ServerProfile:
        """Return what the chat route can do."""
        self.client.spelling, self.client.named = Spelling.TEXT, True  # of the other route
        greedy = await self._find_form(Route.CHAT, evolve(CHAT, prefix=""))
        if greedy is None:
            return self._profile(
                template=True, lacks=("the chat route tells no log-probabilities",)
            )
        for prefill in Prefill:
            self.form = evolve(self.form, prefill=prefill)
            if await self._continues():
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
        raw, _ = await self._raw(await self._continuation(CHAT) or greedy, CHAT)
        return self._profile(
            template=True,
            raw=raw,
            multiple=await self._several(CHAT),
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

    # --- the form of requests: what is refused is tried otherwise --------------------------------

    async def _find_form(self, route: Route, prompt: WirePrompt) -> Choice | None:
        """Find the form of requests that the route takes, and return a greedy continuation.

        Returns:
            None where it tells no log-probabilities.
        """
        service = self.service
        optional = service.chat if route is Route.CHAT else service.optional
        self.form = RequestForm(
            model=self.client.options.model or "",
            route=route,
            top_k=0,
            fields=dict(service.always),
            cache_key=service.cache_key,
        )
        if await self._find_top_k(prompt) is None:
            return None
        bare = self.form
        everything = {name: values[0] for name, values in optional.items()}
        self.form = evolve(bare, fields=bare.fields | everything)
        if not await self._takes(prompt):
            taken = bare
            for name, values in optional.items():
                for value in values:
                    self.form = evolve(taken, fields=taken.fields | {name: value})
                    if await self._takes(prompt):
                        taken = self.form
                        break
            self.form = taken
        return await self._continuation(prompt)

    async def _find_top_k(self, prompt: WirePrompt) -> Choice | None:
        """Ask for as many alternatives as are wanted, or the most that the server gives."""
        bare, failures = self.form, list[BackendError]()
        silent: dict[bool, RequestForm] = {}  # took the request, and told nothing
        best: tuple[RequestForm, Choice] | None = None
        for form in self._forms():
            if form.boolean in silent:
                continue
            self.form = form
            try:
                greedy = await self._continuation(prompt)
            except ContextOverflowError:
                raise
            except BackendError as error:
                failures.append(error)
                if sum(not isinstance(e, RejectedRequestError) for e in failures) > BREAKS:
                    break
                continue
            if greedy is None:
                silent[form.boolean] = form
                continue
            breadth = min(_breadth(greedy), form.top_k)
            if best is None or breadth > best[0].top_k:
                best = evolve(form, top_k=breadth), greedy
            if breadth >= min(form.top_k, ENOUGH):
                break
        if best is not None:
            self.form, greedy = best
            return greedy
        if not silent:
            if bare.whole_nucleus and any("top_p" in str(failure) for failure in failures):
                self.form = evolve(bare, whole_nucleus=False)
                return await self._find_top_k(prompt)
            raise failures[0]
        self.form = evolve(next(iter(silent.values()), bare), top_k=0)
        return None

    def _forms(self) -> Iterator[RequestForm]:
        wanted, known = self.client.options.top_k, self.service.top_ks
        for top_k in known if wanted is None else [wanted, *(k for k in known if k < wanted)]:
            for boolean in (False, True):
                if self.form.route is Route.CHAT and not boolean:
                    continue  # never a number there
                if self.form.route is Route.CHAT or self.service.boolean in (None, boolean):
                    yield evolve(self.form, top_k=top_k, boolean=boolean)

    async def _takes(self, prompt: WirePrompt) -> bool:
        """Whether the form is taken as scores are asked for, and as candidates are sampled."""
        scored = await self._holds(lambda _: True, prompt, max_tokens=2, temperature=0.0)
        return scored and await self._holds(lambda _: True, prompt, max_tokens=2, **SAMPLED)

    # --- questions -------------------------------------------------------------------------------

    async def _holds(
        self, check: Callable[[Completion], bool], *prompts: WirePrompt, **fields: Any
    ) -> bool:
        """Ask for the model's own distributions; whether one of a few answers is as it should be.

        A refusal is a no, whatever its status: what is asked for without the field in question
        was answered.
        """
        request = self.form.body(*prompts, **{"temperature": self.temperature} | fields)
        for _ in range(TRIES):
            try:
                if check(await self.client.complete(request, trial=True)):
                    return True
            except (BackendError, NotServedError) as error:
                _pass_on_a_refused_key(error)
                return False  # some servers break over what they do not know
        return False

    async def _continuation(self, prompt: WirePrompt, max_tokens: int = 2) -> Choice | None:
        """Return a continuation by whose rows all else is measured; None where there are none."""
        request = self.form.body(
            prompt, max_tokens=max_tokens, temperature=self.temperature, seed=7
        )
        best: Choice | None = None
        for _ in range(TRIES):
            completion = await self.client.complete(request, self._learn_spelling, trial=True)
            choice = completion.choices[0]
            self.served = self.served or completion.model
            if best is None or _breadth(choice) > _breadth(best):
                best = choice
            if _breadth(best) >= min(self.form.top_k, USUAL):
                break
        return best if best is not None and _breadth(best) else None

    def _learn_spelling(self, completion: Completion) -> None:
        """See that rows account for the text, in whichever way the server spells its tokens."""
        choice = completion.choices[0]
        if not _breadth(choice):
            return
        if not accounts_for_text(choice):
            for spelling in Spelling:
                for named in (True, False):
                    if accounts_for_text(respelt(choice, spelling, named=named)):
                        self.client.spelling, self.client.named = spelling, named
                        return
        check_rows(choice, 0)

    async def _read_as(self, text: str, answer: Choice) -> tuple[int, ...] | None:
        """Return the ids that a text is read as: a route of the server tells, or an answer."""
        tokenized = await self.routes.tokenize(text)
        return answer.prompt_ids if tokenized is None else tokenized

    async def _another(self, first: _Known) -> list[_Known]:
        """Return what is known of another prompt, in the form of the first one, if it is."""
        choice = await self._continuation(OTHER_PROMPT)
        if choice is None:
            return []
        if isinstance(first.prompt, str):
            return [_Known(OTHER_PROMPT, choice.rows)]
        ids = await self._read_as(OTHER_PROMPT, choice)
        return [] if ids is None else [_Known(ids, choice.rows)]

    async def _detokenizes(self, greedy: Choice) -> bool:
        token = greedy.rows[0].token.id
        return token is not None and await self.routes.detokenize(token) is not None

    async def _continues(self) -> bool:
        """Whether an answer's beginning is continued as it is, also where it ends in white space.

        Each token is what comes after those before it, or the server began anew.
        """
        try:
            greedy = await self._continuation(CHAT, max_tokens=6)
        except (BackendError, NotServedError) as error:
            _pass_on_a_refused_key(error)
            return False
        if greedy is None:
            return False
        contents = [row.token.content or b"" for row in greedy.rows]
        texts = [b"".join(contents[:n]).decode(errors="replace") for n in range(len(contents))]
        at = [n for n, text in enumerate(texts) if n and text[-1:].isspace()][-1:] or [1]
        for n in {1, *at} & set(range(1, len(contents))):
            longer = evolve(CHAT, prefix=CHAT.prefix + texts[n])
            if not await self._holds(lambda a: _first_alike(a, greedy.rows[n:]), longer):  # noqa: B023
                return False
        return len(contents) > 1

    async def _raw(self, greedy: Choice, prompt: WirePrompt) -> tuple[bool, Choice]:
        """Return whether neither temperature nor top-p shows in the distributions.

        Returns:
            that, and the continuation by which all else is measured.
        """
        hot = {"max_tokens": 2, "temperature": 2.0, "top_p": 0.5, "seed": 7}
        if await self._holds(lambda a: _first_alike(a, greedy.rows), prompt, **hot):
            return True, greedy
        # Temperature 0 may have made a certainty of the likeliest token.
        self.temperature = 1.0
        found = await self._continuation(prompt)
        if found is not None:
            top_k = min(self.form.top_k, max(len(row.alternatives) for row in found.rows))
            self.form = evolve(self.form, top_k=top_k)
        return False, found or greedy

    async def _several(self, prompt: WirePrompt) -> bool:
        """Whether two continuations come at once."""
        hot = {"max_tokens": 4, "temperature": 2.0, "seed": 7}
        return await self._holds(lambda a: len(a.choices) == 2, prompt, n=2, **hot)

    async def _logit_bias_id(self, known: _Known) -> int | None:
        """Force the second likeliest token, and see whether the distribution stays the same."""
        first = known.rows[0]
        others = [(p.id, value) for p, value in first.alternatives if p != first.token]
        if not others or others[0][0] is None:
            return None
        target, logprob = others[0]

        def forced(answer: Completion) -> bool:
            rows = answer.choices[0].rows
            return (
                alike(rows, known.rows[:1])
                and rows[0].token.id == target
                and close(rows[0].logprob, logprob)
            )

        bias = {target: FORCING_BIAS}
        return target if await self._holds(forced, known.prompt, logit_bias=bias) else None

    async def _token_logprobs(self, known: _Known) -> bool:
        """Whether the values of named tokens are told, others' than the likeliest ones'."""
        listed = [(p.id, value) for p, value in known.rows[0].alternatives if p.id is not None]
        wanted = dict(listed[-2:])

        def told(answer: Completion) -> bool:
            rows = answer.choices[0].rows
            values = {piece.id: value for piece, value in rows[0].alternatives} if rows else {}
            # The generated token may be listed beside them; the likeliest ones must not be.
            return len(values) <= len(wanted) + 1 < len(listed) and all(
                close(values.get(token), value) for token, value in wanted.items()
            )

        return await self._holds(told, known.prompt, token_logprobs=list(wanted))


def _pass_on_a_refused_key(error: Exception) -> None:
    if isinstance(error, NotServedError) and error.status in KEY_REFUSED:
        raise error


def _breadth(choice: Choice) -> int:
    return len(choice.rows[0].alternatives) if choice.rows else 0


def _first_alike(answer: Completion, known: Sequence[Row]) -> bool:
    return alike(answer.choices[0].rows[:1], known[:1])


def _each(
    known: Sequence[_Known], answer: Completion, check: Callable[[_Known, Choice], bool]
) -> bool:
    """Whether there is a choice for each known prompt, as it should be."""
    return len(answer.choices) == len(known) and all(map(check, known, answer.choices))
