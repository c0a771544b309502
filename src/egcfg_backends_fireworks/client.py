"""Asks a server until it answers: the one owner of retries, deadlines and request counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, TypeVar

import tenacity
from attrs import define, evolve, field

from egcfg.errors import BackendError, UsageError
from egcfg.interfaces.backend import Answer, Usage, check_budget
from egcfg_backends_fireworks.faults import RejectedRequestError, TransientFault, overflow_of
from egcfg_backends_fireworks.limit import AdaptiveLimit
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.responses import (
    Completion,
    MalformedResponseError,
    Spelling,
    continued_text,
    parse_completion,
    parse_json_object,
    respelt,
)
from egcfg_backends_fireworks.transport import Transport
from egcfg_backends_fireworks.wire import PATHS, prompt_tokens

__all__ = ["EndpointClient", "counted"]

UNIDENTIFIED_ATTEMPTS = 3
"""Attempts at most where no answer was an endpoint's so far: the address may be wrong."""
TRIAL_ATTEMPTS = 5
"""Attempts at what a server need not be able to do: some break over what they do not know."""
TRIAL_WAIT_S = 0.5
"""The longest wait between those, where the server does not ask for a longer one."""
T = TypeVar("T")


@define
class _Tally:
    """What the requests of one piece of work cost so far."""

    usage: Usage = field(factory=Usage)


_TALLY: ContextVar[_Tally | None] = ContextVar("egcfg_backends_fireworks_tally", default=None)


async def counted(work: Awaitable[T]) -> Answer[T]:
    """Return what `work` comes to, and what the requests that it made cost.

    Those of tasks that it starts are counted too, and nobody else's: a task inherits the context
    of whoever starts it.

    Whatever `work` raises, its cancellation included, says as its `usage` what was spent.
    """
    tally, outer = _Tally(), _TALLY.get()
    _TALLY.set(tally)
    try:
        return Answer(await work, tally.usage)
    except BaseException as error:
        error.usage = tally.usage  # type: ignore[attr-defined]  # exceptions take any attribute
        raise
    finally:
        _TALLY.set(outer)


def _tally() -> _Tally:
    tally = _TALLY.get()
    assert tally is not None  # requests are made inside of `counted`
    return tally


def _spend(usage: Usage) -> None:
    _tally().usage += usage


@define
class EndpointClient:
    """A transport with patience. Its requests are made inside of `counted` only.

    Attributes:
        transport: makes one attempt.
        address: where the API is, its version included.
        options: attempts, waits and deadlines.
        sleep: waits between attempts.
        clock: tells the seconds that the deadline counts.
        limit: how many requests may be in flight.
        spelling: how the server spells its tokens.
        named: whether it names rows after their own tokens.
        served: the model whose answers are taken; None: any.
    """

    transport: Transport
    address: str
    options: EndpointOptions
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    limit: AdaptiveLimit = field(init=False, repr=False)
    spelling: Spelling = field(default=Spelling.TEXT, init=False)
    named: bool = field(default=True, init=False)
    served: str | None = field(default=None, init=False)
    _identified: bool = field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.limit = AdaptiveLimit(self.options.max_concurrency, self.sleep, self.clock)

    async def complete(
        self,
        request: dict[str, Any],
        check: Callable[[Completion], None] = lambda _: None,
        *,
        trial: bool = False,
    ) -> Completion:
        """Return a validated completion.

        Args:
            request: the body: of the chat route where it has messages.
            check: raises MalformedResponseError on an answer that does not fit the request, which
                is then sent again.
            trial: whether the server may not be able to answer; it is then soon given up.

        Raises:
            UsageError: the endpoint will not serve this user (401, 402, 403, 404).
            BudgetError: a budget allows no further request.
            ContextOverflowError: the prompt is too long.
            RejectedRequestError: the request itself is refused.
            BackendError: no usable answer within the attempts and the deadline.
        """
        path = PATHS[Route.CHAT if "messages" in request else Route.COMPLETIONS]

        async def attempt() -> Completion:
            body = await self.transport.send(self.address + path, request)
            completion = self._read(body, request)
            if self.served and completion.model not in (None, self.served):
                raise MalformedResponseError(
                    f"an answer of the model {completion.model!r} instead of {self.served!r}"
                )
            check(completion)
            return completion

        completion = await self._with_retries(attempt, trial=trial)
        reported = completion.usage
        # Some servers count the first prompt and the first choice only. Echoed rows are no output.
        rows = sum(min(len(c.rows), request["max_tokens"]) for c in completion.choices)
        _spend(
            evolve(
                reported,
                input_tokens=max(reported.input_tokens, prompt_tokens(request)),
                output_tokens=max(reported.output_tokens, rows),
            )
        )
        return completion

    def _read(self, body: bytes, request: dict[str, Any]) -> Completion:
        completion = parse_completion(body)
        choices = [respelt(c, self.spelling, named=self.named) for c in completion.choices]
        if messages := request.get("messages"):
            last = messages[-1]
            prefix = last["content"] if last["role"] == "assistant" else ""
            prefix = prefix or request.get("response_prefix", "")
            choices = [continued_text(choice, prefix) for choice in choices]
        return evolve(completion, choices=tuple(choices))

    async def route(
        self,
        path: str,
        body: dict[str, Any] | None,
        read: Callable[[dict[str, Any]], T],
        *,
        trial: bool,
    ) -> T | None:
        """Return what a further route of the server answers; None where it has no such route.

        Args:
            path: below the server's root, such as ``/tokenize``.
            body: what to post; None: the route is read.
            read: returns what is wanted of the answer, or raises MalformedResponseError.
            trial: whether the server may not have the route. Many have a web page for every path.

        Raises:
            BackendError: the server did not answer, though it has the route.
        """
        url = self.address.removesuffix("/v1") + path

        async def attempt() -> T:
            return read(parse_json_object(await self.transport.send(url, body)))

        try:
            return await self._with_retries(attempt, trial=trial)
        except (UsageError, RejectedRequestError):
            return None
        except BackendError:
            if not trial:
                raise
            return None

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]], *, trial: bool = False) -> T:
        deadline = self.clock() + self.options.timeout_s
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientFault),
            stop=lambda state: (
                state.attempt_number >= self._most_attempts(state, trial)
                # A wait that would end after the deadline is not begun.
                or self.clock() + state.upcoming_sleep >= deadline
            ),
            wait=lambda state: self._wait(state, trial),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return await retrying(self._once, attempt, deadline)
        except TransientFault as fault:
            made = retrying.statistics["attempt_number"]
            raise BackendError(
                f"the endpoint gave no usable answer in {made} "
                f"attempt{'s' if made > 1 else ''}; the last: {fault.reason}; "
                "check the server, or raise -o backend.max_attempts and -o backend.timeout_s"
            ) from None

    async def _once(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(max(deadline - self.clock(), 0.0)):
                    sent = await held.enter_async_context(self.limit.slot())
            except TimeoutError:
                raise TransientFault("no turn among the requests in flight") from None
            limit = min(self.options.attempt_timeout_s, deadline - self.clock())
            if limit <= 0:
                raise TransientFault("no turn among the requests in flight")
            check_budget(_tally().usage)
            _spend(Usage(requests=1))
            try:
                # The SDKs' own timeouts start anew with every byte: a slow drip outlives them.
                async with asyncio.timeout(limit):
                    answer = await attempt()
            except TimeoutError:
                raise TransientFault(f"no complete answer within {limit:.3g} s") from None
            except MalformedResponseError as error:
                reason = self.transport.redact(str(error))
                if error.body and (overflow := overflow_of(error.body)):
                    raise overflow from None
                raise TransientFault(reason, unidentified=True) from None
            except TransientFault as fault:
                if fault.overloaded:
                    self.limit.pushed_back(sent, self._asked_wait(fault))
                raise
            self.limit.answered()
            self._identified = True
            return answer

    def _most_attempts(self, state: tenacity.RetryCallState, trial: bool) -> int:
        fault = state.outcome.exception() if state.outcome is not None else None
        most = self.options.max_attempts
        if not isinstance(fault, TransientFault):
            return most
        if not self._identified and fault.refused:
            return 1  # nobody is there
        if not self._identified and fault.unidentified:
            most = min(most, UNIDENTIFIED_ATTEMPTS)
        if trial and not fault.overloaded:
            most = min(most, TRIAL_ATTEMPTS)
        return most

    def _asked_wait(self, fault: BaseException | None) -> float:
        asked = fault.retry_after if isinstance(fault, TransientFault) else None
        return min(asked or 0.0, self.options.max_retry_after_s)

    def _wait(self, state: tenacity.RetryCallState, trial: bool) -> float:
        options = self.options
        doubling = tenacity.wait_exponential(options.backoff_s, max=options.max_backoff_s)
        jitter = tenacity.wait_random(0, options.backoff_s / 2)
        fault = state.outcome.exception() if state.outcome is not None else None
        wait = doubling(state) + jitter(state)
        if trial and not (isinstance(fault, TransientFault) and fault.overloaded):
            wait = min(wait, TRIAL_WAIT_S)
        return max(wait, self._asked_wait(fault))
