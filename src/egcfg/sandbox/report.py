"""What protects this machine from the programs that run here: layer by layer, found by trying."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping

from attrs import frozen

from egcfg.sandbox.clocks import STRETCH, waiting
from egcfg.sandbox.confined.layers import LINUX_ONLY, WORKS

__all__ = ["LAYERS", "Level", "SandboxReport"]

LAYERS = ("clean environment", "rlimits", "memory limit", *LINUX_ONLY)
"""Every layer there is; on Linux all of them work for ordinary users, unless switched off."""


class Level(enum.StrEnum):
    """How much holds in all.

    ``STRONG``: files, network and other processes are each out of reach by one layer at least.
    ``BASIC``: time, memory and output are limited, nothing else; a program can read every file of
    the user's, other installed packages such as a benchmark's solutions included. ``NONE``: not
    even that.
    """

    FULL = "full"
    STRONG = "strong"
    BASIC = "basic"
    NONE = "none"


@frozen
class SandboxReport:
    """The isolation layers of a running sandbox.

    Attributes:
        layers: layer -> "active", or why it is not.
        packages: what programs may import besides the standard library, as ``name==version``.
        reaches_others: whether a program could send a signal to another process of this user when
            it was tried.
    """

    layers: Mapping[str, str]
    packages: tuple[str, ...] = ()
    reaches_others: bool = False

    @property
    def limits_of_time(self) -> str:
        """How limits of real time are meant here, for people."""
        if waiting(os.getpid()) is not None:
            return "waits for a core do not count"
        return f"real time is stretched {STRETCH} times: waits for a core are not told here"

    @property
    def findings(self) -> dict[str, str]:
        """All of it as text, for results: the layers, and what else was found."""
        others = "within reach of programs" if self.reaches_others else "out of reach"
        more = {"other processes": others, "limits of time": self.limits_of_time}
        return {**self.layers, **more}

    @property
    def missing(self) -> tuple[str, ...]:
        """The layers that are not active."""
        return tuple(name for name in LAYERS if not self._has(name))

    @property
    def level(self) -> Level:
        """How much holds in all."""
        if not self.missing and not self.reaches_others:
            return Level.FULL
        if not (self._has("rlimits") and self._has("memory limit")):
            return Level.NONE
        files = self._has("mount namespace") or (self._has("landlock") and self._has("seccomp"))
        network = self._has("network namespace") or self._has("seccomp")
        processes = self._has("pid namespace") or self._has("seccomp")
        processes = processes and not self.reaches_others
        return Level.STRONG if files and network and processes else Level.BASIC

    def _has(self, name: str) -> bool:
        return self.layers.get(name) == WORKS
