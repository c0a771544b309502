"""Watches one execution from outside its process: its limits, its output, its end.

It never runs a line of the program. What the program sends is bytes to it, and no more of them
than the limits allow.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from attrs import frozen

from egcfg.sandbox.clocks import STRETCH, cpu_seconds, waiting
from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.program import READY
from egcfg.sandbox.processes import ProgramProcess

__all__ = ["Answer", "Watch"]

PIPE_CHUNK = 1 << 16
LONGEST_REPORT = 16 << 20
REPORT_START = len(READY) + frames.HEADER.size
END_BYTES = 1 << 12
# Most programs have ended by then. Until then no output is read: it waits in the pipes, and the
# program for a reader if they are full.
SHORT_SECONDS = 0.02
# How often a longer one is looked at: a wait for a core that is not over is known that exactly.
LOOK_SECONDS = 0.1
# And how soon again, where what is left of a limit does not get less for want of a core.
SOON_SECONDS = 0.005
# What a program may still take to report when its judge has said all there is to say.
LAST_SECONDS = 0.25
# How long a process may take to end once it is told to.
GRACE_SECONDS = 30.0


@frozen(kw_only=True)
class Answer:
    """What came of one execution.

    Attributes:
        how: how it ended, in one word: "reported", "timeout", "memory", "output", "killed" or
            "left" (by ``os._exit(0)``); or, with no statement about the program, "sandbox_error"
            (the sandbox failed) or "lost" (so did the process that was to tell its end).
        detail: more about it, for people.
        seconds: wall time.
        cpu_seconds: processor time.
        report: the program's own report, untrusted.
        stdout: bytes, untrusted.
        stderr: bytes, untrusted.
        memory: the instrument's memory without its trailing zeros, untrusted.
    """

    how: str
    detail: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    report: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    memory: bytes = b""


class Watch:
    """One execution on the running event loop: its process, and what is read from it.

    Attributes:
        answer: what came of it; done once nothing more is to come.
        judge: watches what asks this one, which has not used its time while that was at work.
    """

    def __init__(
        self,
        process: ProgramProcess,
        request: dict[str, Any],
        *,
        ends_at_once: bool,
    ) -> None:
        """Own a process that waits; nothing is sent before `start`.

        Args:
            process: the process; `close` closes it.
            request: what it is to run.
            ends_at_once: whether killing it ends everything that it started, and leaves no file.
        """
        self._process = process
        self._request = request
        self._limits: dict[str, Any] = request["limits"]
        self._keeps_output: bool = request["keep_output"]
        self._wall_seconds: float = self._limits["wall_seconds"]
        self._ends_at_once = ends_at_once
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer] = self._loop.create_future()
        self.judge: Watch | None = None
        self._judge_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._started = 0.0
        self._seen = (0.0, 0.0, 0.0)  # when looked at last; processor time and waits by then
        self._waits_now = 0.0  # for how long it has waited for a core that it has not got yet
        self._ending = False
        self._seconds = 0.0
        self._cpu_seconds = 0.0
        self._status = 0
        self._ended: str | None = None
        self._detail = ""
        self._report = bytearray()
        self._output: dict[int, list[bytes]] = {process.stdout: [], process.stderr: []}
        self._output_bytes = dict.fromkeys(self._output, 0)
        self._pipes = {process.stdout, process.stderr, process.report}
        self._leash = process.leash.fileno()
        self._watched: set[int] = set()  # the descriptors that the loop calls back for

    async def start(self) -> None:
        """Send the request, and watch from then on.

        Raises:
            OSError: the process is gone.
        """
        await self._process.start(self._request)
        self._started = time.monotonic()
        self._seen = (self._started, 0.0, 0.0)
        self._watch(self._process.report)
        seconds = min(SHORT_SECONDS, self._wall_seconds, self._limits["cpu_seconds"])
        self._timer = self._loop.call_later(seconds, self._go_on)

    def hurry(self) -> None:
        """Give the program a moment to report: nobody asks it anything any more."""
        if self.answer.done() or self._ending:
            return
        self._wall_seconds = min(self._wall_seconds, self._wall_used() + LAST_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LAST_SECONDS, self._go_on)

    def close(self) -> None:
        """End the process, if it is not over, and close its descriptors."""
        self._stop()
        self._process.close()

    def _receive(self, descriptor: int) -> None:
        """Take what has come from a descriptor."""
        try:
            if descriptor == self._leash:
                self._receive_end()
            else:
                self._receive_output(descriptor)
        except Exception as error:  # noqa: BLE001 - it is for whoever waits for the answer
            self._stop()
            if not self.answer.done():
                self.answer.set_exception(error)

    def _receive_output(self, descriptor: int) -> None:
        """Read from a pipe; end the process if that is all that is wanted of it, or too much.

        How a process would have ended makes no difference to a complete report, so its end is not
        waited for where killing it is enough.
        """
        self._read(descriptor)
        if self._complete and self._ends_at_once:
            self._seconds = time.monotonic() - self._started
            self._cpu_seconds = cpu_seconds(self._process.pid)
            self._process.kill()
            self._conclude()
        elif self._complete or self._process.report not in self._pipes:
            # Without a report to write to, it has nothing left to say.
            self._end()
        elif self._too_much_output:
            self._force("output", self._limit_of_output)
        elif len(self._report) > LONGEST_REPORT:
            self._force("killed", "its report is too long")

    def _go_on(self) -> None:
        """Watch a program that is not over at once: its output and its time, too."""
        for descriptor in self._pipes - self._watched:
            self._watch(descriptor)
        self._check_time()

    def _check_time(self) -> None:
        """End the process if it has taken too long; look again when it may have."""
        wall = self._wall_seconds - self._wall_used()
        cpu = self._limits["cpu_seconds"] - cpu_seconds(self._process.pid)
        if wall <= 0:
            self._force("timeout", "it took too much wall time")
        elif cpu <= 0:
            self._force("timeout", "it took too much processor time")
        else:
            seconds = max(SOON_SECONDS, min(wall, cpu, LOOK_SECONDS))
            self._timer = self._loop.call_later(seconds, self._check_time)

    def _wall_used(self) -> float:
        """Return the real time that counts: no waits for a core or the judge, as far as told."""
        now = time.monotonic()
        elapsed = now - self._started
        waits = waiting(self._process.pid)
        if waits is None:
            return elapsed / STRETCH
        last, last_cpu, last_waits = self._seen
        self._seen = (now, cpu_seconds(self._process.pid), waits.seconds)
        progress = self._seen[1] - last_cpu + waits.seconds - last_waits
        # The kernel counts a wait when it is over. One that is not began after the last progress.
        self._waits_now = max(0.0, now - last - progress) + (0.0 if progress else self._waits_now)
        if not waits.is_runnable:
            self._waits_now = 0.0
        if self.judge is not None:
            self._judge_seconds = max(self._judge_seconds, self.judge._busy_seconds())
        idle = waits.seconds + self._waits_now + self._judge_seconds
        return max(elapsed - idle, elapsed / STRETCH)

    def _busy_seconds(self) -> float:
        """Return for how long it has run or waited for a core; 0 once it is gone."""
        waits = waiting(self._process.pid)
        return cpu_seconds(self._process.pid) + (waits.seconds if waits is not None else 0.0)

    @property
    def _complete(self) -> bool:
        """Whether the whole report is there."""
        if len(self._report) < REPORT_START or not self._report.startswith(READY):
            return False
        return len(self._report) >= self._report_end()

    @property
    def _too_much_output(self) -> bool:
        """Whether it printed more than it may. Only standard output counts, and only if read."""
        printed = self._output_bytes[self._process.stdout]
        return self._keeps_output and printed > self._limits["output_bytes"]

    @property
    def _limit_of_output(self) -> str:
        return f"it printed more than {self._limits['output_bytes']} bytes"

    def _report_end(self) -> int:
        (length,) = frames.HEADER.unpack_from(self._report, len(READY))
        return REPORT_START + int(length)

    def _read(self, descriptor: int) -> None:
        while True:
            try:
                piece = os.read(descriptor, PIPE_CHUNK)
            except BlockingIOError:
                return
            if not piece:
                self._pipes.discard(descriptor)
                self._unwatch(descriptor)
                return
            if descriptor == self._process.report:
                self._report += piece
                if len(self._report) > LONGEST_REPORT or self._complete:
                    return
            else:
                rest = self._limits["output_bytes"] - self._output_bytes[descriptor]
                self._output_bytes[descriptor] += len(piece)
                if rest > 0:
                    self._output[descriptor].append(piece[:rest])
                if len(piece) > rest:
                    return  # what a program goes on to print must not hold the loop

    def _force(self, how: str, detail: str) -> None:
        self._ended, self._detail = how, detail
        self._end()

    def _end(self) -> None:
        """Have the process ended; what is over once all of it is gone."""
        self._ending = True
        self._seconds = time.monotonic() - self._started
        self._process.end()
        self._stop()
        self._watch(self._leash)
        self._timer = self._loop.call_later(GRACE_SECONDS, self._lose, "no answer came in time")

    def _receive_end(self) -> None:
        """Take the account of how the process ended: everything that it started is gone now."""
        try:
            body = frames.receive(self._process.leash, END_BYTES)
        except (OSError, frames.FrameError):
            body = None
        if body is None:
            self._lose("an execution ended without an answer")
            return
        end = json.loads(body)
        self._status, self._cpu_seconds = end["status"], end["cpu_seconds"]
        self._conclude()

    def _conclude(self) -> None:
        """Make the answer of all that has come."""
        for descriptor in list(self._pipes):
            self._read(descriptor)
        how, detail = self._verdict()
        stderr = b"".join(self._output[self._process.stderr])
        if how == "sandbox_error":
            detail = f"{detail}: {stderr.decode('utf-8', 'replace')[-2000:]}"
        self._finish(
            Answer(
                how=how,
                detail=detail,
                seconds=self._seconds,
                cpu_seconds=self._cpu_seconds,
                report=bytes(self._report[REPORT_START : self._report_end()])
                if how == "reported"
                else b"",
                stdout=b"".join(self._output[self._process.stdout]),
                stderr=stderr,
                memory=self._process.used_memory(),
            )
        )

    def _lose(self, detail: str) -> None:
        self._finish(Answer(how="lost", detail=detail))

    def _finish(self, answer: Answer) -> None:
        self._stop()
        if not self.answer.done():  # whoever waits for it may have been cancelled meanwhile
            self.answer.set_result(answer)

    def _watch(self, descriptor: int) -> None:
        self._loop.add_reader(descriptor, self._receive, descriptor)
        self._watched.add(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor in self._watched:
            self._loop.remove_reader(descriptor)
            self._watched.remove(descriptor)

    def _stop(self) -> None:
        """Watch nothing any more, and no time."""
        for descriptor in tuple(self._watched):
            self._unwatch(descriptor)
        if self._timer is not None:
            self._timer.cancel()

    def _verdict(self) -> tuple[str, str]:
        """Return (how, detail): a forced end first, then the report, then the kernel's account."""
        if not self._report.startswith(READY):
            return "sandbox_error", self._detail or _status_text(self._status)
        if self._too_much_output:
            return "output", self._limit_of_output
        if self._ended is not None:
            return self._ended, self._detail
        if self._complete:
            return "reported", ""
        if os.WIFSIGNALED(self._status):
            if self._cpu_seconds >= self._limits["cpu_seconds"]:
                return "timeout", "it took too much processor time"
            return "killed", _status_text(self._status)
        if len(self._report) == len(READY):
            how = "killed" if self._status else "left"
            return how, f"it left by itself, {_status_text(self._status)}"
        return "killed", "its report is cut off"


def _status_text(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
