"""What runs on a node: a model and a sandbox, which solve units step by step.

The class is sent to the nodes by value, so that a node without egcfg, or with another one, can say
so itself: when loaded, this module imports the standard library alone, and what passes before the
versions are known to agree is plain values and bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import platform
import socket
from collections.abc import AsyncGenerator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egcfg.cluster.protocol import Step, UnitRequest
    from egcfg.interfaces.usage import Usage

__all__ = ["NodeActor", "versions"]


def versions() -> dict[str, str]:
    """Return what must be the same on all nodes: Python's version, and egcfg's with its code's."""
    found = {"Python": platform.python_version(), "egcfg": "not installed"}
    spec = importlib.util.find_spec("egcfg")
    if spec is not None and spec.origin is not None:
        # The version's name stays from one commit to the next.
        digest = hashlib.sha256()
        root = Path(spec.origin).parents[1]
        for file in sorted(root.glob("egcfg*/**/*.py")):
            digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
        try:
            found["egcfg"] = f"{version('egcfg')} ({digest.hexdigest()[:12]})"
        except PackageNotFoundError:
            found["egcfg"] = digest.hexdigest()[:12]
    return found


class NodeActor:
    """Holds one model; any number of units may be in work at once."""

    def __init__(self) -> None:
        self._units: dict[int, tuple[AsyncGenerator[Any, None], Any]] = {}

    async def open(self, expected: dict[str, str], packed: bytes) -> dict[str, Any]:
        """Open sandbox and model, if this node has what the driver has.

        Args:
            expected: the driver's `versions`.
            packed: a pickled `egcfg.cluster.protocol.Opening`.

        Returns:
            The ``node``'s name and ``id``; why it is ``refused``, or its sandbox's ``missing``
            layers with the reasons, and how many ``tasks`` the model takes at once.
        """
        import ray

        context = ray.get_runtime_context()
        answer: dict[str, Any] = {"node": socket.gethostname(), "id": context.get_node_id()}
        here = versions()
        if differing := [
            f"{name} {here[name]} there, {wanted} here"
            for name, wanted in expected.items()
            if here[name] != wanted
        ]:
            why = f"{'; '.join(differing)}; install the same on all nodes"
            return {**answer, "refused": why}
        from egcfg.cluster.protocol import open_on_node
        from egcfg.errors import EgcfgError

        try:
            self._engine, self._ledger, opened = await open_on_node(pickle.loads(packed))
        except EgcfgError as error:
            return {**answer, "refused": str(error)}
        return {**answer, **opened}

    async def advance(self, number: int, request: UnitRequest) -> Step:
        """Go on with a unit, or begin it, up to its next attempt or its solution.

        Raises:
            EgcfgError: as `egcfg.engine.Engine.solve_steps`.
        """
        from egcfg.cluster.protocol import next_step

        if number not in self._units:
            self._units[number] = request.begin(self._engine)
        steps, recorder = self._units[number]
        step = None
        try:
            step = await next_step(steps, recorder)
        finally:
            if step is None or step.is_last:
                del self._units[number]
        return step

    async def share(self, spent_elsewhere: Usage) -> Usage:
        """Be told what all others have spent on the run's results; return what was spent here."""
        self._ledger.spent_elsewhere = spent_elsewhere
        return self._engine.meter.spending.here
