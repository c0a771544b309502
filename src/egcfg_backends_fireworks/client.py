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
from egcfg.interfaces.backend import Answer, Usage
from egcfg_backends_fireworks.faults import RejectedRequestError, TransientFault
from egcfg_backends_fireworks.limit import AdaptiveLimit
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.responses import (
    Completion,
    MalformedResponseError,
    parse_completion,
    parse_json_object,
)
from egcfg_backends_fireworks.transport import SdkTransport
from egcfg_backends_fireworks.wire import prompt_tokens

__all__ = ["EndpointClient", "counted"]

UNIDENTIFIED_ATTEMPTS = 3
"""Attempts at most where no answer was an endpoint's so far: the address may be wrong."""
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


def _spend(usage: Usage) -> None:
    tally = _TALLY.get()
    assert tally is not None  # requests are made inside of `counted`
    tally.usage += usage


@define
class EndpointClient:
    """A transport with patience. Its requests are made inside of `counted` only.

    Attributes:
        transport: makes one attempt.
        options: attempts, waits and deadlines.
        sleep: waits between attempts.
        clock: tells the seconds that the deadline counts.
        limit: how many requests may be in flight.
    """

    transport: SdkTransport
    options: EndpointOptions
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    limit: AdaptiveLimit = field(init=False, repr=False)
    _identified: bool = field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.limit = AdaptiveLimit(self.options.max_concurrency, self.sleep, self.clock)

    async def complete(
        self,
        request: dict[str, Any],
        check: Callable[[Completion], None] = lambda _: None,
        attempts: int | None = None,
    ) -> Completion:
        """Return a validated completion.

        Args:
            request: the fields of the request's body.
            check: raises MalformedResponseError on an answer that does not fit the request, which
                is then sent again.
            attempts: fewer than the options say, where the server may not be able to answer.

        Raises:
            UsageError: the endpoint will not serve this user (401, 402, 403, 404).
            ContextOverflowError: the prompt is too long.
            RejectedRequestError: the request itself is refused.
            BackendError: no usable answer within the attempts and the deadline.
        """

        async def attempt() -> Completion:
            completion = parse_completion(await self.transport.complete(request))
            check(completion)
            return completion

        completion = await self._with_retries(attempt, attempts)
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

    async def route(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return what a further route of the server answers; None where it has no such route.

        Args:
            path: below the server's root, such as ``/tokenize``.
            body: what to post; None: the route is read.

        Raises:
            BackendError: the server did not answer at all.
        """

        async def attempt() -> dict[str, Any] | None:
            if body is None:
                answer = await self.transport.get(path)
            else:
                answer = await self.transport.post(path, body)
            try:
                return parse_json_object(answer)
            except MalformedResponseError:
                return None  # a web page for every path, as many servers have

        try:
            return await self._with_retries(attempt)
        except (UsageError, RejectedRequestError):
            return None

    async def _with_retries(
        self, attempt: Callable[[], Awaitable[T]], attempts: int | None = None
    ) -> T:
        deadline = self.clock() + self.options.timeout_s
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientFault),
            stop=lambda state: (
                state.attempt_number >= self._most_attempts(state, attempts)
                # A wait that would end after the deadline is not begun.
                or self.clock() + state.upcoming_sleep >= deadline
            ),
            wait=self._wait,
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
            _spend(Usage(requests=1))
            try:
                # The SDKs' own timeouts start anew with every byte: a slow drip outlives them.
                async with asyncio.timeout(limit):
                    answer = await attempt()
            except TimeoutError:
                raise TransientFault(f"no complete answer within {limit:.3g} s") from None
            except MalformedResponseError as error:
                reason = self.transport.redact(str(error))
                raise TransientFault(reason, unidentified=True) from None
            except TransientFault as fault:
                if fault.overloaded:
                    self.limit.pushed_back(sent, self._asked_wait(fault))
                raise
            self.limit.answered()
            self._identified = True
            return answer

    def _most_attempts(self, state: tenacity.RetryCallState, attempts: int | None) -> int:
        fault = state.outcome.exception() if state.outcome is not None else None
        most = min(self.options.max_attempts, attempts or self.options.max_attempts)
        if isinstance(fault, TransientFault) and not self._identified:
            if fault.refused:
                return 1  # nobody is there
            if fault.unidentified:
                return min(most, UNIDENTIFIED_ATTEMPTS)
        return most

    def _asked_wait(self, fault: BaseException | None) -> float:
        asked = fault.retry_after if isinstance(fault, TransientFault) else None
        return min(asked or 0.0, self.options.max_retry_after_s)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        options = self.options
        doubling = tenacity.wait_exponential(options.backoff_s, max=options.max_backoff_s)
        jitter = tenacity.wait_random(0, options.backoff_s / 2)
        fault = state.outcome.exception() if state.outcome is not None else None
        return max(doubling(state) + jitter(state), self._asked_wait(fault))
