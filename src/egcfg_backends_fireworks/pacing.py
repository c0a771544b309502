"""How many requests may be in flight: fewer when the service pushes back, more as it recovers.

One pace for all who use an endpoint with the same key on this machine: tasks, threads and processes
meet in a folder of their user's. A request holds the lock of one of its slot files, which the
kernel gives back even if the process is killed; what the service has asked for is in another file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from attrs import define, field
from filelock import FileLock, Timeout

from egcfg.errors import ConfigError

__all__ = ["Pace", "pace_folder"]

POLL_S = 0.005
"""Between two looks for a free slot: what another process gives back wakes nobody here."""
FORGOTTEN_S = 300.0
"""After so long without a word from the service, what it asked for before is out of date."""
POLL_LOCK_S = 0.001
"""Between two tries to read or write what the service has asked for."""


def pace_folder(address: str, key: str) -> Path:
    """Return the folder in which the users of an endpoint meet, made if it is not there yet.

    Raises:
        ConfigError: it cannot be written, or belongs to another user.
    """
    base = Path(tempfile.gettempdir()) / f"egcfg-{os.getuid()}"
    # One key's limits are not another's. Keys are too long to be guessed from their hash.
    name = hashlib.sha256(f"{address}\n{key}".encode()).hexdigest()[:32]
    folder = base / "endpoints" / name
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        if base.is_symlink() or base.stat().st_uid != os.getuid():
            raise ConfigError(f"{base} is another user's; set TMPDIR to a folder of your own")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder}: {error.strerror}; set TMPDIR to a folder of your own"
        ) from error
    return folder


@define
class _State:
    """What the service has last asked for.

    Attributes:
        limit: requests that may be in flight; the fraction is the way to one more.
        not_before: no request is sent before this time.
        changed: when this was written.
    """

    limit: float
    not_before: float
    changed: float


@define
class Pace:
    """Additive increase, multiplicative decrease, for all requests to one endpoint together.

    Belongs to one event loop; those of other loops and processes meet it in its folder.

    Attributes:
        folder: where the endpoint's users meet (`pace_folder`).
        most: requests in flight at most.
        sleep: waits.
        clock: tells seconds, the same ones in every process of this machine.
    """

    folder: Path
    most: int
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _turns: asyncio.Semaphore = field(init=False, repr=False)
    _looking: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Whoever cannot get a slot anyhow need not look for one again and again.
        self._turns = asyncio.Semaphore(self.most)

    async def limit(self) -> int:
        """Return how many requests may be in flight now, of all users together."""
        async with self._locked():
            return int(self._read().limit)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until one more request may be sent, and hold its place."""
        async with self._turns:
            async with self._looking:  # one for all: looking keeps the event loop busy
                while (held := _free_slot(self.folder, await self.limit())) is None:
                    await asyncio.sleep(POLL_S)
            try:
                while (wait := await self._wait()) > 0:
                    await self.sleep(wait)
                yield
            finally:
                held.release()

    async def answered(self) -> None:
        """Note that the service kept up: one more request per round of answers."""
        async with self._locked():
            state = self._read()
            if state.limit < self.most:
                state.limit += 1.0 / state.limit
                self._write(state)

    async def pushed_back(self, wait: float) -> None:
        """Note that the service was overloaded: half as many, and none for `wait` seconds."""
        async with self._locked():
            state = self._read()
            state.limit = max(1.0, state.limit / 2.0)
            state.not_before = max(state.not_before, self.clock() + wait)
            self._write(state)

    async def _wait(self) -> float:
        async with self._locked():
            return self._read().not_before - self.clock()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        # Others hold it for microseconds, unless the kernel stops them meanwhile.
        while (lock := _taken(self.folder / "lock")) is None:
            await asyncio.sleep(POLL_LOCK_S)
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> _State:
        now = self.clock()
        fresh = _State(float(self.most), now, now)
        try:
            limit, not_before, changed = orjson.loads(self._file.read_bytes())
        except (OSError, ValueError, TypeError):
            return fresh  # not written yet, or only in part by a process that was killed
        if not 0 <= now - changed <= FORGOTTEN_S:
            return fresh  # also what was written before the machine was started anew
        return _State(min(max(limit, 1.0), float(self.most)), not_before, changed)

    def _write(self, state: _State) -> None:
        self._file.write_bytes(orjson.dumps([state.limit, state.not_before, self.clock()]))

    @property
    def _file(self) -> Path:
        return self.folder / "state"


def _free_slot(folder: Path, limit: int) -> FileLock | None:
    """Return the lock of one of the first `limit` slots, now held; None: all are taken."""
    slots = (_taken(folder / f"slot-{number}") for number in range(limit))
    return next((lock for lock in slots if lock is not None), None)


def _taken(path: Path) -> FileLock | None:
    """Return the lock of a file, now held; None: somebody else holds it."""
    # A lock object counts its own holders; only a new one asks the kernel.
    lock = FileLock(path, thread_local=False, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
