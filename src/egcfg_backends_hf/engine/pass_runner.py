"""One pass at a time, for whoever waits: branches, candidates and drafts of all tasks in flight.

Calls are collected while a pass runs, and go into the next one. It starts when every task in flight
waits for it, except for those that are busy elsewhere for longer (a long execution): started as
soon as one waits, tasks would fall into two groups that take turns in passes half as full. The
tokens of a pass are in the order of task and position, whatever came first.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field

from egcfg.interfaces.usage import Usage
from egcfg.threads.worker_thread import WorkerThread
from egcfg_backends_hf.engine.causal_model import is_out_of_memory
from egcfg_backends_hf.engine.evaluator import Evaluator, PendingScore
from egcfg_backends_hf.engine.lanes import Lane, Lanes

__all__ = ["Call", "NotNumbersError", "PassRunner"]

PATIENCE = 0.2
"""Share of a pass's time that it waits for tasks which were answered just now."""


class NotNumbersError(ArithmeticError):
    """The model gave something that is no number."""


@define(eq=False)
class Call(ABC):
    """A question to the model that takes one or more passes.

    Attributes:
        lane: of the task that asks.
        pending: what the next pass is to find out.
        passes: passes that it took part in.
        tokens: tokens of its own that ran in them.
        failure: why it has no answer.
    """

    lane: Lane
    pending: list[PendingScore] = field(factory=list)
    passes: int = 0
    tokens: int = 0
    failure: Exception | None = None

    @abstractmethod
    def absorb(self) -> bool:
        """Take the answers to all that was pending; return whether nothing else is to be asked.

        In the worker thread, once no distribution of `pending` is missing.
        """

    @abstractmethod
    def usage(self) -> Usage:
        """What the call has cost so far."""

    def advance(self) -> bool:
        """Take what is known by now; return whether the call is over."""
        try:
            while not any(each.missing for each in self.pending):
                if self.absorb():
                    return True
        except Exception as error:  # noqa: BLE001 - raised where the call is waited for
            self.failure = error
        return self.failure is not None


class PassRunner:
    """Runs the passes of one model.

    Args:
        evaluator: runs a pass.
        worker: the thread that all of them run in.
        lanes: of all tasks.
    """

    def __init__(self, evaluator: Evaluator, worker: WorkerThread, lanes: Lanes) -> None:
        self._evaluator = evaluator
        self._worker = worker
        self._lanes = lanes
        self._waiting: dict[Call, asyncio.Future[None]] = {}
        self._changed = asyncio.Event()  # of who waits, or can be expected to
        lanes.on_end = self._changed.set
        self._driver: asyncio.Task[None] | None = None
        self._seconds = 0.0  # of the last pass

    async def run(self, call: Call) -> None:
        """Take part in passes until `call` is over.

        Raises:
            RuntimeError: memory runs out even with one token in a pass.
            NotNumbersError: a distribution that it asks for is none.
        """
        loop = asyncio.get_running_loop()
        self._waiting[call] = over = loop.create_future()
        self._changed.set()
        if self._driver is None or self._driver.done():
            self._driver = loop.create_task(self._drive())
        try:
            await over
        finally:
            self._waiting.pop(call, None)
        if call.failure is not None:
            raise call.failure

    def stop(self) -> None:
        """Cancel all calls; the pass that may be running is the last."""
        if self._driver is not None:
            self._driver.cancel()

    async def _drive(self) -> None:
        """Run passes for as long as anybody waits."""
        try:
            while await self._gather():
                self._lanes.tidy()
                calls = sorted(self._waiting, key=lambda call: call.lane.number)
                started = time.monotonic()
                try:
                    finished = await self._worker.run(self._pass, calls, self._lanes.all)
                except Exception as error:  # noqa: BLE001 - raised where the calls are waited for
                    finished = calls
                    for call in calls:
                        call.failure = error
                ended = time.monotonic()
                self._seconds = ended - started
                if any(is_out_of_memory(call.failure) for call in finished):
                    self._lanes.limit()
                for call in finished:
                    call.lane.answered_at = ended
                    over = self._waiting.pop(call, None)
                    if over is not None and not over.done():  # not cancelled meanwhile
                        over.set_result(None)
        finally:
            for over in self._waiting.values():  # the driver was stopped
                over.cancel()

    async def _gather(self) -> bool:
        """Wait until every task waits that can be expected to within a moment.

        Returns:
            Whether any waits; they may have been cancelled.
        """
        patience = PATIENCE * self._seconds
        while self._waiting:
            waiting = {call.lane for call in self._waiting}
            last = max((n.answered_at for n in self._lanes.live if n not in waiting), default=0)
            left = last + patience - time.monotonic()
            if left <= 0:
                return True
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
        return False

    def _pass(self, calls: Sequence[Call], lanes: Sequence[Lane]) -> list[Call]:
        """Run one pass; return the calls that are over. In the worker thread."""
        asking = {call.lane for call in calls}
        for lane in lanes:
            # A task that is busy elsewhere may be changing its lane.
            if lane.eviction_is_due and (lane.idle or lane in asking):
                lane.evict()
        over = [call for call in calls if call.advance()]
        if waiting := [call for call in calls if call not in over]:
            self._run(waiting, lanes)
            over += [call for call in waiting if call.advance()]
        return over

    def _run(self, calls: Sequence[Call], lanes: Sequence[Lane]) -> None:
        try:
            ran = self._evaluator.run_pass({call.lane: call.pending for call in calls}, lanes)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            newest = calls[-1]  # fails, so that the older ones go on
            newest.failure = error
            newest.lane.clear()
        else:
            for call in calls:
                call.passes += call.lane in ran
                call.tokens += ran.get(call.lane, 0)
                if any(each.broken for each in call.pending):
                    call.failure = NotNumbersError()
                    call.lane.clear()  # a masked slot takes part in sums, and 0 times NaN is NaN
