"""Claims: which process works on which unit, for any number of processes on any number of nodes.

The claims of a unit are the files ``<stem>.0``, ``<stem>.1``, ...; the one with the highest number
counts. Each is created exclusively, so it has exactly one owner, and none is removed or reused
before the unit is done. A claim is *dead* when its owner released it, when its owner's process is
gone (known on the same machine), or when its lease ran out because the heartbeat, which touches the
file, stopped. Taking over a dead claim n is creating n + 1: whoever succeeds owns the unit, and
nothing that others do, or do late, can change that. There is no moment at which a crash leaves a
unit claimed for longer than a lease.

Ages are differences of the file system's own clock, so that nodes' clocks may disagree.

What a lease cannot exclude: an owner that is stopped for longer than its lease and then goes on.
Both then write the same result, each as a whole.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from attrs import define, field, frozen

from egcfg.errors import RunError
from egcfg.runs.files import create_exclusively, read_whole, write_atomically

__all__ = ["LEASE", "Claim", "ClaimState", "Claims", "claims_in"]

logger = logging.getLogger(__name__)

LEASE = 120.0
"""Seconds without a heartbeat after which a claim is dead."""
CLOCK_NAME = ".clock"
RELEASED = b"{}"


@frozen
class Owner:
    """The process that owns a claim.

    Attributes:
        machine: the kernel and process-id space that `pid` belongs to.
        host: the machine's name, for people.
        pid: the process's id.
        born: when it started, in the kernel's own unit, so that a reused id is not taken for it;
            None where the kernel does not say.
    """

    machine: str
    host: str
    pid: int
    born: int | None

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        pid = os.getpid()
        return cls(machine=_machine(), host=socket.gethostname(), pid=pid, born=_born(pid))

    def gone(self) -> bool:
        """Whether the process has certainly ended: never true of one on another machine."""
        if self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.born is not None and _born(self.pid) != self.born


@frozen
class Claim:
    """The right to work on one unit.

    Attributes:
        stem: the unit's claim files without their numbers.
        number: which of them is this claim's.
    """

    stem: Path
    number: int

    @property
    def path(self) -> Path:
        """The file of this claim."""
        return _numbered(self.stem, self.number)


@define(eq=False)
class Claims:
    """The claims of this process, kept alive by a thread of its own. A context manager.

    Attributes:
        lease: seconds without a heartbeat after which a claim is dead.
    """

    lease: float = LEASE
    _held: set[Claim] = field(factory=set, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _heart: threading.Thread | None = field(default=None, init=False)

    def free(self, stem: Path) -> bool:
        """Whether no live process has the unit whose claim files are called `stem`."""
        latest = _latest(stem)
        return latest is None or self._dead(Claim(stem, latest))

    def acquire(self, stem: Path) -> Claim | None:
        """Claim the unit whose claim files are called `stem`; None: a live process has it.

        Whether the unit is still to do must be looked up *after* this returns a claim.

        Raises:
            RunError: the file system refused.
        """
        latest = _latest(stem)
        if latest is not None and not self._dead(Claim(stem, latest)):
            return None
        claim = Claim(stem, 0 if latest is None else latest + 1)
        owner = Owner.current()
        content = {"machine": owner.machine, "host": owner.host, "pid": owner.pid}
        data = orjson.dumps({**content, "born": owner.born})
        # The folder of claims, and that of the configuration.
        if not create_exclusively(claim.path, data, folders=2):
            return None
        if latest is not None:
            logger.info("took over %s: its owner is gone", stem.name)
        with self._lock:
            self._held.add(claim)
            if self._heart is None:
                self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)
                self._heart.start()
        return claim

    def release(self, claim: Claim, *, done: bool) -> None:
        """Give a claim back; where the file system refuses, the claim ends with its lease.

        Args:
            claim: what `acquire` returned.
            done: whether the unit needs no work any more: its claim files are removed.
        """
        with self._lock:
            self._held.discard(claim)
        if done:
            # Whoever still takes the unit over finds its result before working on it.
            for number in range(claim.number, -1, -1):
                with contextlib.suppress(OSError):
                    _numbered(claim.stem, number).unlink()
            return
        try:
            write_atomically(claim.path, RELEASED, folders=0)
        except RunError as error:
            # Whatever made us give up matters more than this does.
            logger.warning("could not give back %s: %s", claim.stem.name, error)

    def close(self) -> None:
        """Give all claims back as not done, and end the heartbeat."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
        for claim in tuple(self._held):
            self.release(claim, done=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _dead(self, claim: Claim) -> bool:
        try:
            content = read_whole(claim.path)
            # Opened a moment ago, so that these times are the server's.
            touched = claim.path.stat().st_mtime
        except FileNotFoundError:
            # Its owner has just finished: the unit's result is there, or the next to look claims.
            return False
        except OSError as error:
            raise RunError(f"cannot read {claim.path}: {error.strerror}") from error
        if content == RELEASED:
            return True
        owner = _read_owner(content)
        if owner is not None and owner.gone():
            return True
        return _clock(claim.stem.parent) - touched > self.lease

    def _beat(self) -> None:
        while not self._stop.wait(self.lease / 6):
            with self._lock:
                held = tuple(self._held)
            for claim in held:
                # A missed beat is no harm: the lease spans several. Lost for good, the claim dies.
                with contextlib.suppress(OSError):
                    os.utime(claim.path)


class ClaimState(enum.StrEnum):
    """What a claim says to who only watches."""

    RUNNING = "running"
    STALE = "stale"  # its owner is gone, or has been silent for a lease
    RELEASED = "released"  # given back, not done


def claims_in(folder: Path, now: float, lease: float = LEASE) -> dict[str, ClaimState]:
    """Return the state of each claim in a folder, by the unit's name; nothing is written.

    Args:
        folder: the claim files.
        now: the present time; on another machine's files, as far as the clocks agree.
        lease: seconds without a heartbeat after which a claim is dead.
    """
    latest: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name, _, digits = entry.name.rpartition(".")
            if name and digits.isdecimal():
                latest[name] = max(latest.get(name, 0), int(digits))
    found = {}
    for name, number in latest.items():
        path = _numbered(folder / name, number)
        with contextlib.suppress(OSError):  # given back meanwhile
            content, touched = path.read_bytes(), path.stat().st_mtime
            owner = _read_owner(content)
            if content == RELEASED:
                found[name] = ClaimState.RELEASED
            elif (owner is not None and owner.gone()) or now - touched > lease:
                found[name] = ClaimState.STALE
            else:
                found[name] = ClaimState.RUNNING
    return found


def _numbered(stem: Path, number: int) -> Path:
    return stem.with_name(f"{stem.name}.{number}")


def _latest(stem: Path) -> int | None:
    """Return the highest number among the claim files of `stem`."""
    number = 0
    while _numbered(stem, number).exists():
        number += 1
    return number - 1 if number else None


def _read_owner(content: bytes) -> Owner | None:
    """Return the owner that a claim names; None while it is not written yet: its lease decides."""
    try:
        fields = orjson.loads(content)
        return Owner(fields["machine"], fields["host"], int(fields["pid"]), fields["born"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _clock(folder: Path) -> float:
    """Return the present time of the file system that holds `folder`."""
    path = folder / CLOCK_NAME
    try:
        path.touch()
        return path.stat().st_mtime
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; change its rights") from error


def _machine() -> str:
    """Return a name of this kernel and process-id space: containers may share a host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> int | None:
    """Return when a process started; None where it has ended or the kernel does not say."""
    process = Path(f"/proc/{pid}")
    try:
        stat = (process / "stat").read_text(encoding="utf-8", errors="replace")
        threads = len(list((process / "task").iterdir()))
    except OSError:
        return None
    # The process's own name, in parentheses, may hold anything; starttime is the 22nd field.
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended only with its last thread: until then its files and locks are open.
    return None if fields[0] == "Z" and threads == 1 else int(fields[19])
