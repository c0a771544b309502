"""How a command's coroutine is run in this process; test_run stops whole processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from egcfg.cli.running import run_async


async def stopped_by(number: signal.Signals, left: list[str]) -> None:
    try:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)  # giving back may wait, too
        left.append("given back")


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)],
)
def test_a_signal_cancels_and_the_handlers_before_are_back(
    number: signal.Signals, error: type[BaseException]
) -> None:
    before = signal.signal(number, signal.default_int_handler)
    left: list[str] = []
    try:
        with pytest.raises(error):
            run_async(stopped_by(number, left))
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert left == ["given back"]


def test_a_signal_that_is_ignored_stays_so() -> None:
    async def ignored() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run_async(ignored()) == "done"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_value_and_an_error_come_out_as_they_are_in_any_thread() -> None:
    async def value() -> int:
        return 7

    async def error() -> None:
        raise LookupError("none")

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run_async(value())))
    thread.start()
    thread.join()
    assert found == [7]
    with pytest.raises(LookupError, match="none"):
        run_async(error())
