"""Finds out what a server can do by asking it, rather than by what its vendor is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve, frozen

from egcfg.errors import BackendError, CapabilityError
from egcfg.interfaces.prompt import ChatMessage
from egcfg.interfaces.reasoning import opens_reasoning
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.comparison import Echo, alike, close, echo_kind
from egcfg_backends_fireworks.distributions import check_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.responses import Choice, Completion, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.wire import RequestBuilder, WirePrompt

__all__ = ["FORCING_BIAS", "ServerProfile", "probe_server"]

PROMPT = "def add(a, b):\n    return a"
OTHER_PROMPT = "numbers = [1, 2, 3]\nfor number in"
TOP_KS = (100, 20, 5, 1)
"""Fallbacks for servers that refuse a request for more alternatives than they give."""
TRIES = 3
"""How often a server is asked for what it does not seem to have."""
OPTIONAL_ATTEMPTS = 3
"""Attempts at what a server need not be able to do, each of these times."""
FORCING_BIAS = 100.0
"""Enough to lift any token above all others."""


@frozen(kw_only=True)
class ServerProfile:
    """The outcome of a probe.

    Attributes:
        model: the model's name, as asked for.
        top_k: alternatives per token that the server gives.
        extras: whether it takes sampling parameters beyond OpenAI's (``top_k``, ``min_p``).
        token_ids: whether it names tokens by the model's ids, alternatives included.
        token_id_strings: whether it names them as ``token_id:N``, and tells their texts only on a
            route of its own (``/detokenize``).
        prompt_ids: whether it takes token ids as a prompt, to the same effect as their text.
        tokenizes: whether it turns text into token ids (``/tokenize``).
        multiple: whether one request brings several continuations (``n``).
        seeded: whether the same seed brought the same continuations.
        raw: whether log-probabilities are the model's own, whatever temperature and top-p.
        batches: whether one request may hold several prompts, each answered as if it were alone.
        logit_bias_id: a token that ``logit_bias`` can force while the log-probabilities stay as
            they are; None: the server cannot do that.
        echo: what the server makes of ``echo``.
        echo_last: whether it can echo just the end of a prompt, rightly.
        batched_echo: whether it echoes rightly for several prompts in one request.
        text_echo: whether it does so for text, too, and tells which ids it read it as.
        chat_template: whether it renders chats as text, or as tokens.
        context_length: tokens of prompt and answer together; None: it does not say.
        end_id: the model's end-of-sequence token; None: it does not say.
        reasons: whether its template leaves a reasoning block open for the answer.
    """

    model: str
    top_k: int
    extras: bool
    token_ids: bool
    token_id_strings: bool
    prompt_ids: bool
    tokenizes: bool
    multiple: bool
    seeded: bool
    raw: bool
    batches: bool
    logit_bias_id: int | None
    echo: Echo
    echo_last: bool
    batched_echo: bool
    text_echo: bool
    chat_template: bool
    context_length: int | None
    end_id: int | None
    reasons: bool = False

    @property
    def ids_throughout(self) -> bool:
        """Whether prompts go out as token ids: the server names them, and takes them."""
        return self.token_ids and self.prompt_ids


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
    client: EndpointClient, requests: RequestBuilder, routes: ServerRoutes
) -> tuple[ServerProfile, RequestBuilder]:
    """Ask a server a dozen short questions.

    What is not found is looked for again, so that a faulty answer makes no run slow.

    Returns:
        What it can do, and `requests` narrowed to what it takes.

    Raises:
        CapabilityError: it gives no log-probabilities of alternatives.
        UsageError, BackendError: as `EndpointClient.complete`.
    """
    requests, greedy = await _greedy(client, requests)
    token = greedy.rows[0].token
    if _without_text(greedy) and (token.id is None or await routes.detokenize(token.id) is None):
        requests, greedy = await _greedy(client, evolve(requests, token_id_strings=False))
    pieces = [row.token for row in greedy.rows]
    pieces += [piece for row in greedy.rows for piece, _ in row.alternatives]
    token_ids = all(piece.id is not None for piece in pieces)
    raw = await _confirmed(lambda: _Checks(client, requests).same_when_hot(greedy))
    checks = _Checks(client, requests, 0.0 if raw else 1.0)
    if not raw:
        # Temperature 0 may have made a certainty of the likeliest token.
        greedy = await _continuation(client, requests, temperature=1.0)
    tokenized = await routes.tokenize(PROMPT)
    ids = greedy.prompt_ids if tokenized is None else tokenized
    prompt_ids = False
    if token_ids and ids is not None:
        prompt_ids = await _confirmed(lambda: checks.reads(ids, greedy))
    first = _known(ids if prompt_ids and ids is not None else PROMPT, greedy)
    second = await checks.other(first, routes)
    sampled, seeded = await checks.several(first)

    echo, echo_last = Echo.IGNORED, False
    if first.continued is not None:
        echo = await checks.echo(first, 0)
        echo_last = await checks.echo(first, 2) is Echo.RIGHT
    last = 2 if echo_last else 0
    right = echo_last or echo is Echo.RIGHT
    pair = None if second is None else (first, second)
    rendered = await routes.render_chat([ChatMessage("user", "hi")])
    return (
        ServerProfile(
            model=requests.model,
            top_k=min(len(greedy.rows[0].alternatives), requests.top_k),
            extras=requests.extras,
            token_ids=token_ids,
            token_id_strings=_without_text(greedy),
            prompt_ids=prompt_ids,
            tokenizes=tokenized is not None,
            multiple=sampled == 2,
            seeded=seeded,
            raw=raw,
            batches=pair is not None and await _confirmed(lambda: checks.batch(pair)),
            logit_bias_id=await checks.logit_bias_id(first) if token_ids else None,
            echo=echo,
            echo_last=echo_last,
            batched_echo=right
            and pair is not None
            and await _confirmed(lambda: checks.batched_echo(pair, last)),
            # A server with a route for that need not be asked.
            text_echo=right
            and prompt_ids
            and tokenized is None
            and await _confirmed(lambda: checks.text_echo(first, greedy.text, last)),
            chat_template=rendered is not None,
            context_length=await routes.context_length(requests.model),
            end_id=await routes.end_id(),
            reasons=opens_reasoning(rendered or ""),
        ),
        requests,
    )


async def _greedy(
    client: EndpointClient, requests: RequestBuilder
) -> tuple[RequestBuilder, Choice]:
    """Return the requests that the server takes, and its greedy continuation of the prompt."""
    refusal: RejectedRequestError | None = None
    for top_k in (requests.top_k, *(k for k in TOP_KS if k < requests.top_k)):
        for extras in (True, False) if requests.dialect.extras else (False,):
            narrowed = evolve(requests, top_k=top_k, extras=extras)
            try:
                return narrowed, await _continuation(client, narrowed)
            except RejectedRequestError as error:
                refusal = error
    assert refusal is not None  # the loops run at least once
    raise refusal


async def _continuation(
    client: EndpointClient, requests: RequestBuilder, temperature: float = 0.0
) -> Choice:
    request = requests.completion(PROMPT, max_tokens=2, temperature=temperature, seed=7)
    best: Choice | None = None

    def check(completion: Completion) -> None:
        # All else is measured by these rows.
        if completion.choices[0].rows and completion.choices[0].rows[0].alternatives:
            check_rows(completion.choices[0], 0)

    for _ in range(TRIES):
        choice = (await _with_rows(client, request, check)).choices[0]
        if choice.rows and (best is None or _breadth(choice) > _breadth(best)):
            best = choice
        if best is not None and _breadth(best) >= requests.top_k:
            break
    if best is not None and _breadth(best):
        return best
    raise CapabilityError(
        f"the endpoint gives no log-probabilities for {requests.model}; guided decoding needs "
        "them: choose a model or server whose completions have `logprobs`"
    )


def _breadth(choice: Choice) -> int:
    return len(choice.rows[0].alternatives)


async def _with_rows(
    client: EndpointClient,
    request: dict[str, Any],
    check: Callable[[Completion], None] = lambda _: None,
    attempts: int | None = None,
) -> Completion:
    """Ask up to three times for rows: their absence may be a fault, or what the server is like."""
    for _ in range(TRIES - 1):
        completion = await client.complete(request, check, attempts)
        if all(choice.rows and choice.rows[0].alternatives for choice in completion.choices):
            return completion
    return await client.complete(request, check, attempts)


@frozen
class _Checks:
    """What is tried out; a server may refuse each of it.

    Attributes:
        client: asks the server.
        requests: words what it is asked.
        temperature: at which it shows the model's own distributions.
    """

    client: EndpointClient
    requests: RequestBuilder
    temperature: float = 0.0

    async def same_when_hot(self, greedy: Choice) -> bool:
        """Whether neither temperature nor top-p shows in the distributions."""
        request = self.requests.completion(PROMPT, max_tokens=2, temperature=2.0, top_p=0.5, seed=7)
        return alike((await self._answer(request)).choices[0].rows[:1], greedy.rows[:1])

    async def reads(self, ids: tuple[int, ...], greedy: Choice) -> bool:
        """Whether token ids are read as the text that they stand for."""
        choice = (await self._answer(self._word(ids))).choices[0]
        return choice.prompt_ids in (None, ids) and alike(choice.rows, greedy.rows[:1])

    async def other(self, first: _Known, routes: ServerRoutes) -> _Known | None:
        """Return what is known of another prompt, in the form of the first one."""
        prompt: WirePrompt | None = OTHER_PROMPT
        request = self._word(OTHER_PROMPT, max_tokens=2)
        choice = (await _with_rows(self.client, request)).choices[0]
        if not isinstance(first.prompt, str):
            tokenized = await routes.tokenize(OTHER_PROMPT)
            prompt = choice.prompt_ids if tokenized is None else tokenized
        return None if prompt is None or not choice.rows else _known(prompt, choice)

    async def several(self, known: _Known) -> tuple[int, bool]:
        """Return how many of two continuations came, and whether the same ones came again."""
        request = self.requests.completion(known.prompt, max_tokens=4, temperature=2.0, n=2, seed=7)
        try:
            sampled = await self._answer(request)
            again = await self._answer(request)
        except BackendError:
            return 1, False
        return len(sampled.choices), _texts(sampled) == _texts(again)

    async def batch(self, known: tuple[_Known, ...]) -> bool:
        """Whether several prompts in one request are answered like single ones."""
        choices = (await self._answer(self._word(*(each.prompt for each in known)))).choices
        return len(choices) == len(known) and all(
            alike(choice.rows, each.rows[:1]) for choice, each in zip(choices, known, strict=True)
        )

    async def batched_echo(self, known: tuple[_Known, ...], last: int) -> bool:
        """Whether the same is true of echoed prompts."""
        prompts = [each.continued for each in known if each.continued is not None]
        if len(prompts) < len(known):
            return False
        choices = (await self._answer(self._word(*prompts, echo=last))).choices
        return len(choices) == len(known) and all(
            echo_kind(choice.rows, each.rows, last) is Echo.RIGHT
            for choice, each in zip(choices, known, strict=True)
        )

    async def text_echo(self, known: _Known, continuation: str, last: int) -> bool:
        """Whether text is echoed like ids, with the ids of all of it; two at once."""
        prompts = (PROMPT, PROMPT + continuation)
        request = self._word(*prompts, echo=last, prompt_ids=True)
        choices = (await self._answer(request)).choices
        return [choice.prompt_ids for choice in choices] == [known.prompt, known.continued] and (
            echo_kind(choices[1].rows, known.rows, last) is Echo.RIGHT
        )

    async def echo(self, known: _Known, last: int) -> Echo:
        """Send a prompt with its continuation, and see what comes back for the latter.

        Args:
            known: the prompt.
            last: how many of its tokens to echo; 0: all.
        """
        assert known.continued is not None  # looked at by the caller
        request = self._word(known.continued, echo=last)
        kind = Echo.REFUSED
        for _ in range(TRIES):
            try:
                answer = await self.client.complete(request, attempts=OPTIONAL_ATTEMPTS)
            except RejectedRequestError:
                break
            except BackendError:
                continue  # answered in a way that nothing can be read from
            kind = echo_kind(answer.choices[0].rows, known.rows, last)
            if kind is Echo.RIGHT:
                break
        return kind

    async def logit_bias_id(self, known: _Known) -> int | None:
        """Force the second likeliest token, and see whether the distribution stays the same."""
        first = known.rows[0]
        others = [(p.id, value) for p, value in first.alternatives if p != first.token]
        if not others or others[0][0] is None:
            return None
        target, logprob = others[0]
        request = self._word(known.prompt, logit_bias={target: FORCING_BIAS})

        async def steered() -> bool:
            rows = (await self._answer(request)).choices[0].rows
            return (
                alike(rows, known.rows[:1])
                and rows[0].token.id == target
                and close(rows[0].logprob, logprob)
            )

        return target if await _confirmed(steered) else None

    def _word(self, *prompts: WirePrompt, **fields: Any) -> dict[str, Any]:
        return self.requests.completion(*prompts, temperature=self.temperature, **fields)

    async def _answer(self, request: dict[str, Any]) -> Completion:
        return await _with_rows(self.client, request, attempts=OPTIONAL_ATTEMPTS)


def _without_text(choice: Choice) -> bool:
    return any(row.token.content is None for row in choice.rows)


def _known(prompt: WirePrompt, choice: Choice) -> _Known:
    text = "".join(row.token.text or "" for row in choice.rows)
    ids = tuple(row.token.id for row in choice.rows if row.token.id is not None)
    continued: WirePrompt | None = None
    if not isinstance(prompt, str):
        continued = prompt + ids if len(ids) == 2 else None
    elif text and text == choice.text:
        continued = prompt + text
    return _Known(prompt, choice.rows, continued if len(choice.rows) == 2 else None)


async def _confirmed(check: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether one of a few answers is yes; a refusal is a no."""
    for _ in range(TRIES):
        try:
            if await check():
                return True
        except RejectedRequestError:
            return False
        except BackendError:
            continue  # some servers break over what they do not know
    return False


def _texts(completion: Completion) -> list[str]:
    return [choice.text for choice in completion.choices]
