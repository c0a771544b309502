"""Finds out what a server can do by asking it, rather than by what its vendor is called."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen

from egcfg.errors import BackendError, CapabilityError
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.requests import Requests
from egcfg_backends_fireworks.responses import Choice, Completion, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes

__all__ = ["STEERING_BIAS", "Echo", "ServerProfile", "probe_server"]

PROMPT = "def add(a, b):\n    return a"
TOP_KS = (100, 20, 5, 1)
"""Fallbacks for servers that refuse a request for more alternatives than they give."""
TOLERANCE = 0.25
"""Nats by which two evaluations of the same token may differ: batching changes rounding."""
STEERING_BIAS = 100.0
"""Enough to lift any token above all others."""
T = TypeVar("T")


class Echo(enum.StrEnum):
    """What a server makes of ``echo``, which asks for the prompt's own log-probabilities."""

    RIGHT = "right"
    SHIFTED = "shifted by one"
    WRONG = "wrong"
    IGNORED = "ignored"
    REFUSED = "refused"


@frozen(kw_only=True)
class ServerProfile:
    """The outcome of a probe.

    Attributes:
        model: the model's name, as asked for.
        top_k: alternatives per token that the server gives.
        extras: whether it takes sampling parameters beyond OpenAI's (``top_k``, ``min_p``).
        token_ids: whether it names tokens by the model's ids, alternatives included.
        prompt_ids: whether it takes token ids as a prompt, to the same effect as their text.
        tokenizes: whether it turns text into token ids (``/tokenize``).
        multiple: whether one request brings several continuations (``n``).
        seeded: whether the same seed brought the same continuations.
        raw: whether log-probabilities do not depend on the temperature.
        steering_id: a token that ``logit_bias`` can force while the log-probabilities stay as they
            are; None: the server cannot do that.
        echo: what the server makes of ``echo``.
        echo_last: whether it can echo just the end of a prompt, rightly.
        chat_template: whether it renders chats as text (``/apply-template``).
        context_length: tokens of prompt and answer together; None: it does not say.
        end_id: the model's end-of-sequence token; None: it does not say.
    """

    model: str
    top_k: int
    extras: bool
    token_ids: bool
    prompt_ids: bool
    tokenizes: bool
    multiple: bool
    seeded: bool
    raw: bool
    steering_id: int | None
    echo: Echo
    echo_last: bool
    chat_template: bool
    context_length: int | None
    end_id: int | None

    @property
    def ids_throughout(self) -> bool:
        """Whether prompts go out as token ids: the server names them, and takes them."""
        return self.token_ids and self.prompt_ids


async def probe_server(
    client: EndpointClient, requests: Requests, routes: ServerRoutes
) -> tuple[ServerProfile, Requests]:
    """Ask a server half a dozen short questions.

    Returns:
        What it can do, and `requests` narrowed to what it takes.

    Raises:
        CapabilityError: it gives no log-probabilities of alternatives.
        UsageError, BackendError: as `EndpointClient.complete`.
    """
    requests, greedy = await _greedy(client, requests)
    first = greedy.rows[0]
    pieces = [row.token for row in greedy.rows] + [piece for piece, _ in first.alternatives]
    token_ids = all(piece.id is not None for piece in pieces)

    tokenized = await routes.tokenize(PROMPT)
    prompt = greedy.prompt_ids if tokenized is None else tokenized
    prompt_ids = False
    if token_ids and prompt is not None:
        by_ids = await _supported(_with_rows(client, requests.completion(prompt)))
        prompt_ids = by_ids is not None and _same(_first_row(by_ids), first)

    hot = requests.completion(PROMPT, max_tokens=4, temperature=2.0, n=2, seed=7)
    drawn = await _supported(_with_rows(client, hot))
    again = None if drawn is None else await _supported(_with_rows(client, hot))
    if drawn is None:
        drawn = await _supported(_with_rows(client, hot | {"n": 1}))
    echoed = await _echo(client, requests, greedy, 0)

    return (
        ServerProfile(
            model=requests.model,
            top_k=min(len(first.alternatives), requests.top_k),
            extras=requests.extras,
            token_ids=token_ids,
            prompt_ids=prompt_ids,
            tokenizes=tokenized is not None,
            multiple=drawn is not None and len(drawn.choices) == 2,
            seeded=drawn is not None and again is not None and _texts(drawn) == _texts(again),
            raw=drawn is not None and _same(_first_row(drawn), first),
            steering_id=await _steering_id(client, requests, first) if token_ids else None,
            echo=echoed,
            echo_last=await _echo(client, requests, greedy, 2) is Echo.RIGHT,
            chat_template=await routes.render_chat([{"role": "user", "content": "hi"}]) is not None,
            context_length=await routes.context_length(requests.model),
            end_id=await routes.end_id(),
        ),
        requests,
    )


async def _greedy(client: EndpointClient, requests: Requests) -> tuple[Requests, Choice]:
    """Return the requests that the server takes, and its greedy continuation of the prompt."""
    refusal: RejectedRequestError | None = None
    for top_k in (requests.top_k, *(k for k in TOP_KS if k < requests.top_k)):
        for extras in (True, False) if requests.dialect.extras else (False,):
            narrowed = evolve(requests, top_k=top_k, extras=extras)
            try:
                return narrowed, await _ask_greedily(client, narrowed)
            except RejectedRequestError as error:
                refusal = error
    assert refusal is not None  # the loops run at least once
    raise refusal


async def _ask_greedily(client: EndpointClient, requests: Requests) -> Choice:
    request = requests.completion(PROMPT, max_tokens=2)
    choice = (await _with_rows(client, request)).choices[0]
    if choice.rows and choice.rows[0].alternatives:
        return choice
    raise CapabilityError(
        f"the endpoint gives no log-probabilities for {requests.model}; guided decoding needs "
        "them: choose a model or server whose completions have `logprobs`"
    )


async def _with_rows(client: EndpointClient, request: dict[str, Any]) -> Completion:
    """Ask up to three times for rows: their absence may be a fault, or what the server is like."""
    for _ in range(2):
        completion = await client.complete(request)
        if all(choice.rows and choice.rows[0].alternatives for choice in completion.choices):
            return completion
    return await client.complete(request)


async def _steering_id(client: EndpointClient, requests: Requests, first: Row) -> int | None:
    """Force the second likeliest token, and see whether the distribution stays the same."""
    if len(first.alternatives) < 2:
        return None
    target, logprob = first.alternatives[1]
    if target.id is None:
        return None
    request = requests.completion(PROMPT, bias={target.id: STEERING_BIAS})
    steered = await _supported(_with_rows(client, request))
    row = None if steered is None else _first_row(steered)
    if row is None or row.token.id != target.id or not _same(row, first):
        return None
    return target.id if _close([row.logprob], [logprob]) else None


async def _echo(client: EndpointClient, requests: Requests, greedy: Choice, last: int) -> Echo:
    """Send the prompt with its greedy continuation: that one's log-probabilities are known.

    Args:
        client: asks the server.
        requests: words the request.
        greedy: the two tokens that continue the prompt.
        last: how many of the prompt's tokens to echo; 0: all.
    """
    text = "".join(row.token.text or "" for row in greedy.rows)
    if text != greedy.text or len(greedy.rows) != 2:
        return Echo.IGNORED
    request = requests.completion(PROMPT + text, echo=last)
    try:
        rows = (await client.complete(request)).choices[0].rows
    except BackendError:  # refused, or answered in a way that nothing can be read from
        return Echo.REFUSED
    if len(rows) <= 2 or (last and len(rows) > last + 1):
        return Echo.IGNORED
    # One new token was asked for, whose row is the last; the two known ones stand before it.
    known = [row.logprob for row in greedy.rows]
    if _close([row.logprob for row in rows[-3:-1]], known) and _same(rows[-3], greedy.rows[0]):
        return Echo.RIGHT
    early, late = rows[-4:-3], rows[-2:-1]
    if any(_same(row, greedy.rows[0]) for row in (*early, *late)):
        return Echo.SHIFTED
    return Echo.WRONG


async def _supported(question: Awaitable[T]) -> T | None:
    """Return the answer, None where the server refuses the question."""
    try:
        return await question
    except RejectedRequestError:
        return None


def _first_row(completion: Completion) -> Row | None:
    rows = completion.choices[0].rows
    return rows[0] if rows else None


def _same(row: Row | None, other: Row) -> bool:
    """Whether two rows tell the same distribution, up to rounding."""
    if row is None or not row.alternatives:
        return False
    (piece, logprob), (expected, value) = row.alternatives[0], other.alternatives[0]
    return piece == expected and math.isclose(logprob, value, abs_tol=TOLERANCE)


def _close(values: Sequence[float | None], expected: Sequence[float | None]) -> bool:
    return len(values) == len(expected) and all(
        value is not None and other is not None and math.isclose(value, other, abs_tol=TOLERANCE)
        for value, other in zip(values, expected, strict=True)
    )


def _texts(completion: Completion) -> list[str]:
    return [choice.text for choice in completion.choices]
