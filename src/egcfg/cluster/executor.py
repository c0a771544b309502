"""Solves units on the actors of a Ray cluster, for the claim loop of `egcfg.runs.runner`.

The driver claims units and writes their results, as every process of a run does, so that the nodes
need no shared folder. Where actors run, and on how many nodes, is Ray's to say: one that is placed
late, or on a node that the autoscaler has added, takes part from then on. An actor that dies loses
what it had in flight, which others take, and another one is asked for in its place. A node that
cannot do the work as the driver would is named, with the reason, and left out.

Keys of endpoints are read from the environment of each node: nothing of the driver's environment is
sent, neither in a ``runtime_env`` nor otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, evolve, field

from egcfg.bench import MadeAttempt
from egcfg.cluster import actor
from egcfg.cluster.protocol import Opening, Step, UnitRequest
from egcfg.config import RunConfig
from egcfg.errors import BackendError, ClusterError, EgcfgError, MissingExtraError, summarize
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.interfaces.usage import Usage
from egcfg.records.recorder import Recorder
from egcfg.usage.budget import Meter

__all__ = ["RayExecutor"]

logger = logging.getLogger(__name__)

DEATHS = 3
"""Actors that a unit may cost, and that may die in one place without having solved anything."""
SECONDS_TO_REACH = 5.0
SECONDS_TO_JOIN = 30.0
SECONDS_BEFORE_WORD = 15.0
SECONDS_BETWEEN_SHARES = 1.0


@define(eq=False)
class _Worker:
    """An actor with an open model.

    Attributes:
        handle: Ray's.
        node: the name of the node that it runs on.
        tasks: how many units it takes at once.
        free: how many more it takes now.
        spent: by it, as far as the driver's meter knows.
        has_solved: whether it has brought a unit any further.
        alive: whether it is to be asked.
    """

    handle: Any
    node: str
    tasks: int
    free: int
    spent: Usage = field(factory=Usage)
    has_solved: bool = False
    alive: bool = True
    counting: asyncio.Lock = field(factory=asyncio.Lock)


@define(eq=False)
class RayExecutor:
    """Solves units on actors. An asynchronous context manager, which ends them.

    Attributes:
        config: the run's.
        meter: counts what all actors spend.
        provenances: by prompt builder, what determines the text.
    """

    config: RunConfig
    meter: Meter
    provenances: Mapping[str, Mapping[str, Any]]
    _ray: Any = field(default=None, init=False)
    _workers: list[_Worker] = field(factory=list, init=False)
    _keepers: list[asyncio.Task[None]] = field(factory=list, init=False)
    _keeping: int = field(default=0, init=False)
    _changed: asyncio.Condition = field(factory=asyncio.Condition, init=False)
    _left_out: dict[str, str] = field(factory=dict, init=False)
    _said: set[tuple[str, str]] = field(factory=set, init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    async def open(self) -> int:
        """Connect, ask for the actors, and return how many units they take together.

        That is how many there will be; it returns as soon as one of them has its model open.

        Raises:
            MissingExtraError: Ray is not installed.
            ClusterError: there is no cluster, or none of its nodes can take part.
        """
        self._ray = await _connected(self.config.ray_address)
        actors, resources = self._placement()
        # By value: see `egcfg.cluster.actor`.
        self._ray.cloudpickle.register_pickle_by_value(actor)
        kind = self._ray.remote(actor.NodeActor).options(max_restarts=0, **resources)
        self._keeping = actors
        self._keepers = [asyncio.create_task(self._keep(kind)) for _ in range(actors)]
        waiting = asyncio.create_task(_say_what_is_awaited(actors, resources))
        try:
            first = await self._take(None)
        finally:
            waiting.cancel()
        await self._give_back(first)
        return actors * first.tasks

    async def solve(
        self,
        problem: Problem,
        *,
        configurations: Sequence[Configuration],
        attempts_stand: bool,
        recorder: Recorder | None,
    ) -> AsyncGenerator[LineStep | MadeAttempt | Solution, None]:
        """Yield each attempt at a unit, and last the judged solution; see `Engine.solve_steps`.

        A unit whose actor dies is begun anew on another one.

        Raises:
            BackendError: the actors of the unit died, one after another.
            ClusterError: no node is left.
            EgcfgError: as `Engine.solve_steps`.
        """
        request = UnitRequest(
            problem=problem,
            configurations=configurations,
            attempts_stand=attempts_stand,
            entry=None if recorder is None else recorder.unit,
        )
        number, deaths = next(self._numbers), 0
        worker: _Worker | None = None
        while True:
            worker = await self._take(worker)
            try:
                step: Step = await self._ask(worker.handle.advance.remote(number, request))
                await self._count(worker)
            except self._ray.exceptions.RayActorError as error:
                worker.alive = False
                deaths += 1
                logger.warning("task %s was lost with %s", problem.task_id, worker.node)
                if deaths == DEATHS:
                    raise BackendError(
                        f"{deaths} actors died at it, the last one on {worker.node}; "
                        "Ray's logs there say why"
                    ) from error
                continue
            finally:
                await self._give_back(worker)
            worker.has_solved = True
            if recorder is not None and step.record is not None:
                recorder.adopt(step.record)
            yield step.step
            if step.is_last:
                return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all actors, and leave the cluster."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._ray is not None:
            await asyncio.to_thread(self._ray.shutdown)

    def _placement(self) -> tuple[int, dict[str, float]]:
        """Return how many actors to ask for, and what each takes.

        Raises:
            ClusterError: the nodes that there are now have no place for one.
        """
        config = self.config
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        device = config.device or ("cuda" if gpus else "cpu")
        cores = [node["CPU"] for node in nodes if node.get("CPU")]
        if device.startswith("cpu"):
            # Where nobody says, a node is one actor's.
            cpus = config.ray_cpus or int(min(cores, default=0))
            places = sum(int(each // cpus) for each in cores) if cpus else 0
            resources: dict[str, float] = {"num_cpus": cpus}
        else:
            places = gpus
            resources = {"num_cpus": config.ray_cpus or 1, "num_gpus": 1}
        actors = config.ray_actors or places
        if not actors or not resources["num_cpus"]:
            what = "GPU" if "num_gpus" in resources else f"{config.ray_cpus or 'CPU'} CPUs"
            raise ClusterError(
                f"no node of the cluster has a {what} for an actor; give another --device or "
                "--ray-cpus, or --ray-actors where nodes are still to come"
            )
        return actors, resources

    async def _keep(self, kind: Any) -> None:
        """Have an actor, and another one whenever it dies; count what it spends."""
        deaths = 0
        worker: _Worker | None
        try:
            while deaths < DEATHS:
                handle, worker = kind.remote(), None
                try:
                    worker = await self._opened(handle)
                    if worker is None:
                        return
                    while worker.alive:
                        await self._count(worker)
                        await asyncio.sleep(SECONDS_BETWEEN_SHARES)
                except self._ray.exceptions.RayActorError as error:
                    node = "a node" if worker is None else worker.node
                    logger.warning("an actor on %s died; another one is asked for", node)
                    self._left_out[node] = f"its actor died {DEATHS} times: {summarize(error)}"
                finally:
                    self._ray.kill(handle)
                    if worker is not None:
                        worker.alive = False
                        deaths = 0 if worker.has_solved else deaths
                deaths += 1
        finally:
            self._keeping -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _opened(self, handle: Any) -> _Worker | None:
        """Let an actor open its model; None: its node cannot take part."""
        opening = Opening(
            config=_with_absolute_paths(self.config),
            budget=self.meter.budget,
            provenances=self.provenances,
        )
        answer = await self._ask(handle.open.remote(actor.versions(), pickle.dumps(opening)))
        node = answer["node"]
        if refused := answer.get("refused"):
            self._left_out[node] = refused
            self._say_once(answer["id"], logging.WARNING, f"node {node} is left out: {refused}")
            return None
        lacks = ", ".join(f"{name} ({why})" for name, why in answer["missing"].items())
        level = logging.WARNING if lacks else logging.INFO
        text = f"node {node} takes part{'; its sandbox lacks ' if lacks else ''}{lacks}"
        self._say_once(answer["id"], level, text)
        worker = _Worker(handle, node, answer["tasks"], free=answer["tasks"])
        async with self._changed:
            self._workers.append(worker)
            self._changed.notify_all()
        return worker

    def _say_once(self, node_id: str, level: int, text: str) -> None:
        if (node_id, text) not in self._said:  # it may have many actors
            self._said.add((node_id, text))
            logger.log(level, "%s", text)

    async def _take(self, last: _Worker | None) -> _Worker:
        """Wait for the worker that has a unit begun, as long as it lives, or for any other."""
        async with self._changed:
            while True:
                self._workers = [each for each in self._workers if each.alive]
                able = [last] if last is not None and last.alive else self._workers
                worker = max(able, key=lambda each: each.free, default=None)
                if worker is not None and worker.free:
                    worker.free -= 1
                    return worker
                if not self._keeping:
                    for keeper in self._keepers:
                        if keeper.done() and not keeper.cancelled():
                            keeper.result()
                    reasons = "; ".join(f"{node}: {why}" for node, why in self._left_out.items())
                    raise ClusterError(f"no node of the cluster can take part: {reasons}")
                await self._changed.wait()

    async def _give_back(self, worker: _Worker) -> None:
        async with self._changed:
            worker.free += 1
            self._changed.notify_all()

    async def _count(self, worker: _Worker) -> None:
        """Count what an actor has spent, and tell it what all others have."""
        async with worker.counting:  # one answer after the other
            elsewhere = self.meter.spending.total - worker.spent
            spent = await self._ask(worker.handle.share.remote(elsewhere))
            if spent != worker.spent:
                self.meter.add(spent - worker.spent)
                worker.spent = spent

    async def _ask(self, answer: Any) -> Any:
        try:
            return await answer
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EgcfgError):
                raise error.cause from None
            raise


async def _connected(address: str) -> Any:
    """Return the package ``ray``, connected to a cluster.

    Raises:
        MissingExtraError: it is not installed.
        ClusterError: there is no such cluster, or it does not answer, or it refuses.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "ray is missing, which --executor ray needs; install it with: pip install 'egcfg[ray]'"
        ) from error
    advice = "start one with `ray start --head`, or give --ray-address HOST:PORT"
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address:
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host, int(port)), SECONDS_TO_REACH
            )
            writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Ray cluster answers at {address} ({summarize(error)}); {advice}"
            ) from error
    outcome: Future[None] = Future()

    def connect() -> None:
        try:
            ray.init(address, logging_level=logging.ERROR)
        except BaseException as error:  # noqa: BLE001 - told to who waits
            told: Any = outcome.set_exception, error
        else:
            told = outcome.set_result, None
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            told[0](told[1])

    # Ray waits for minutes; and in the main thread it would take the signals' handlers.
    threading.Thread(target=connect, name="ray", daemon=True).start()
    try:
        await asyncio.wait_for(asyncio.wrap_future(outcome), SECONDS_TO_JOIN)
    except TimeoutError as error:
        raise ClusterError(
            f"the Ray cluster at {address} does not answer within {SECONDS_TO_JOIN:g} s; {advice}"
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {summarize(error)}; {advice}") from error
    return ray


async def _say_what_is_awaited(actors: int, resources: Mapping[str, float]) -> None:
    await asyncio.sleep(SECONDS_BEFORE_WORD)
    each = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
    logger.info("waiting for the first of %d actors (%s) to have its model open", actors, each)


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return a configuration whose files do not hang on the working folder, which is another one
    on the nodes."""
    model, data = config.model, config.data
    if model is not None and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().absolute())
    return evolve(config, model=model, data=None if data is None else data.absolute())
