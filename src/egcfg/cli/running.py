"""Runs a command's coroutine: Ctrl-C and SIGTERM stop it cleanly, a second one at once.

And what commands that solve do with an engine before they work.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from egcfg.cli.status import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from egcfg.engine import Engine
    from egcfg.usage.budget import Meter

__all__ = ["model_name", "run_async", "use_meter"]

T = TypeVar("T")

STATUS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
SHOW_CURSOR = b"\x1b[?25h"


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own and return its value.

    The first SIGINT or SIGTERM cancels it, so that it gives back what it holds: claims, the
    sandbox, connections. A second one ends the process at once. A signal that was ignored on entry,
    as SIGINT is in what a shell starts in the background, stays ignored.

    Raises:
        KeyboardInterrupt: it was stopped by SIGINT.
        SystemExit: it was stopped by SIGTERM.
    """
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STATUS}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # signals go to the main thread

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # this one

        def stop(number: int, _frame: FrameType | None) -> None:
            if received:
                _end_at_once(number)
            received.append(number)
            loop.call_soon_threadsafe(task.cancel)

        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:
                # Not the loop's own handler, which waits for a coroutine that holds the loop.
                signal.signal(number, stop)
        return await coroutine

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if signal.SIGTERM in received:
            sys.exit(TERMINATED)
        if signal.SIGINT in received:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end_at_once(number: int) -> None:
    """End the process; what it claimed is taken over by whoever sees that it is gone."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)  # a progress bar hides it
    os._exit(STATUS[signal.Signals(number)])


async def model_name(engine: Engine) -> str:
    """Return the model's name in results; opens the model where nothing else tells it.

    Raises:
        EgcfgError: as `egcfg.config.components.model_label` and `egcfg.engine.Engine.open`.
    """
    from egcfg.config.components import model_label

    return model_label(engine.config) or (await engine.open()).model_name


def use_meter(engine: Engine, meter: Meter) -> Meter:
    """Let an engine count with `meter`, what it spent on opening its model included."""
    meter.add(engine.meter.spending.here)
    engine.meter = meter
    return meter
