"""Faults of services, alone and all together: the texts are the same as without them."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.errors import UsageError
from egcfg.interfaces.backend import LogprobRequest, SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.usage import Usage
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid
from egcfg.runs.runner import run as run_units
from egcfg.runs.store import ResultsFolder
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend
from egcfg_backends_fireworks.testing import FAULTS, Answer, Faulty, ServedModel, Shape
from egcfg_backends_fireworks.testing.faults import Fault
from egcfg_backends_fireworks.wire import Prefill

from ..running_once import RunningOnce

KEY = "fw-very-secret-0123456789"
PATIENCE = {
    "backoff_s": 0.001,
    "max_backoff_s": 0.01,
    "max_retry_after_s": 0.02,
    "max_attempts": 40,
}
SLOW = ("slow drip", "stall")  # each costs all of an attempt's time
TELLING = {
    "key in an error": lambda _: Answer(f"<html>Bearer {KEY}</html>".encode(), 500),
    "key in a 200": lambda _: Answer(f'{{"error": "no such key {KEY}"}}'.encode()),
}
# So many that every fault is among a fifth of the requests: fewer where no drafts are echoed.
TASKS = {"Fireworks": 16, "tokenizing": 20, "chat": 20}


def script(text: str) -> str:
    """What the model wants to write: another program where it sees a signal."""
    numbers = re.findall(r"Add (\d+)\.", text)
    if not numbers:  # no task, but what a probe asks about
        return "xy"[len(text) % 2 :]
    sign = "+" if "Signal:" in text else "-"
    program = f"def f(x):\n return x{sign}{numbers[-1]}\n```\n"
    return program[len(text.rpartition("```python\n")[2]) :]


@frozen
class PlainPrompt:
    """Words a problem in as few tokens as a guided prompt can have."""

    chat: bool

    def build(self, problem: Problem) -> Prompt:
        return Prompt(
            before=f"{problem.description}\n",
            after="Answer:\n",
            chat=self.chat,
            signal_header="Signal:\n",
            response_prefix="```python\n",
        )


def problems(count: int) -> list[Problem]:
    return [
        Problem(
            task_id=f"t/{number}",
            description=f"Add {number}.",
            entry_point="f",
            visible_tests=[AssertTest(f"assert f(1) == {number + 1}")],
        )
        for number in range(count)
    ]


KINDS = {
    "Fireworks": Shape(),
    "tokenizing": Shape(echoes=False, routes=True, most_alternatives=20),
    "chat": Shape(
        completions="ignored",
        chat="boolean",
        most_alternatives=20,
        prefill=Prefill.LAST,
        names="text",
        takes_ids="",
        echoes=False,
    ),
}


def served(kind: str = "Fireworks") -> ServedModel:
    scripted = ScriptedBackend(ScriptedOptions(script=script, noise=0.1))
    return ServedModel(scripted, KINDS[kind])


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tracer() -> RunningOnce:
    """What goes wrong with services is all that runs differ in: their programs are the same."""
    return RunningOnce()


def twice(fault: Fault) -> Fault:
    """Return a fault that answers as it should from the third time on."""
    left = iter(range(2))
    return lambda answer: answer if next(left, None) is None else fault(answer)


@frozen
class Outcome:
    """What a run of many tasks came to.

    Attributes:
        responses: the texts by task.
        usage: requests, tokens and seconds by task.
    """

    responses: dict[str, str | None]
    usage: dict[str, Usage]


async def run_tasks(
    address: str,
    folder: Path,
    sandbox: Sandbox,
    tracer: RunningOnce,
    attempt_timeout_s: float = 20.0,
    kind: str = "Fireworks",
) -> Outcome:
    config = SignalConfig.parse("ns2t0.7d1_ln")
    grid = Grid(problems=problems(TASKS[kind]), configs=[config], gammas=[1])
    results = ResultsFolder(folder, "sums", "m")
    backend: EndpointBackend
    given: dict[str, Any] = {"model": "m", "attempt_timeout_s": attempt_timeout_s, **PATIENCE}
    if kind == "Fireworks":
        backend = FireworksBackend(EndpointOptions(base_url=address, **given))
    else:
        backend = OpenAIBackend(EndpointOptions(base_url=f"{address}/v1", **given))
    async with Engine(
        backend=backend,
        tracer=tracer,
        prompt=PlainPrompt(chat=kind == "chat"),  # type: ignore[arg-type]
        sandbox=sandbox,
    ) as engine:
        capabilities = (await engine.open()).capabilities
        assert capabilities.scores_drafts is (kind == "Fireworks")
        assert capabilities.text is not (kind == "chat")

        def solve(problem: Problem, *, configurations: Any, attempts_stand: bool, **_: Any) -> Any:
            # By the engine's own prompt builder, whatever the grid's is called.
            settings = configurations[0].settings
            return engine.solve_steps(problem, settings, attempts_stand=attempts_stand)

        settings = DecodingSettings(max_tokens=60)
        summary = await run_units(grid, results, solve, settings=settings)
    assert (summary.finished, summary.failures) == (TASKS[kind], ())
    found = {r.task_id: r.result for r in summary.files if r.result}
    return Outcome(
        responses={task: result.response for task, result in found.items()},
        usage={t: result.stats.total_usage for t, result in found.items() if result.stats},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_under_a_fifth_of_faults_all_tasks_come_out_the_same(
    kind: str,
    serve: Any,
    run: Any,
    tmp_path: Path,
    sandbox: Sandbox,
    tracer: RunningOnce,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    quiet, spoilt = served(kind), served(kind)
    address = serve(quiet, others=quiet.others).address
    calm = run(run_tasks(address, tmp_path / "calm", sandbox, tracer, kind=kind))
    caplog.set_level(logging.DEBUG)
    faults = {**FAULTS, **TELLING, **{name: twice(FAULTS[name]) for name in SLOW}}
    if not spoilt.shape.echoes:
        del faults["shifted echo"]
    faulty = Faulty(spoilt, spoilt.others, faults=faults, seed=3)
    server = serve(faulty, others=faulty.other)
    stormy = run(run_tasks(server.address, tmp_path / "stormy", sandbox, tracer, 1.0, kind))

    assert faulty.happened.keys() == faults.keys()
    assert len(calm.responses) == TASKS[kind]
    assert stormy.responses == calm.responses
    assert any(f"return x+{TASKS[kind] - 1}" in (text or "") for text in calm.responses.values())
    # Every request was answered once, however often it was sent.
    for task, usage in calm.usage.items():
        again = stormy.usage[task]
        assert (again.input_tokens, again.output_tokens) == (
            usage.input_tokens,
            usage.output_tokens,
        )
    asked = sum(usage.requests for usage in stormy.usage.values())
    assert asked > sum(usage.requests for usage in calm.usage.values())
    assert asked <= server.paths.total()

    assert set(server.keys) == {f"Bearer {KEY}"}  # it was sent, so it could have shown
    shown = capfd.readouterr()
    logged = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("asyncio"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    written = [path.read_bytes().decode(errors="replace") for path in files]
    assert len(files) > 2 * TASKS[kind]
    for text in (logged, shown.out, shown.err, *written, *map(str, files)):
        assert KEY not in text


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone_changes_no_answer(serve: Any, opened: Any, name: str) -> None:
    calm = answers(serve(served()).address, opened)
    share, timeout = (0.1, 0.4) if name in SLOW else (0.3, 20.0)
    faulty = Faulty(served(), share=share, faults={name: FAULTS[name]}, seed=1)
    assert answers(serve(faulty).address, opened, timeout) == calm
    assert faulty.happened[name] > 0


def answers(address: str, opened: Any, attempt_timeout_s: float = 20.0) -> list[Any]:
    """Ask for a bit of everything."""
    options = EndpointOptions(
        model="m", base_url=address, attempt_timeout_s=attempt_timeout_s, **PATIENCE
    )
    found: list[Any] = []
    with opened(FireworksBackend(options)) as backend:
        found.append(backend.capabilities)
        for number in range(3):
            branches = [
                backend.ids(f"Add {number}.\n{signal}Answer:\n```python\n")
                for signal in ("", "Signal:\n")
            ]
            params = SamplingParams(max_lines=1, seed=number)
            [samples] = backend.sample([SampleRequest(branches[0], 2, params)])
            drafts = [sample.ids for sample in samples] + [()]
            scores = backend.score([ScoreRequest(b, draft) for b in branches for draft in drafts])
            found += [sample.ids for sample in samples]
            found += [(d.ids.tolist(), d.values.tolist()) for some in scores for d in some]
            found.append(backend.logprobs([LogprobRequest(branches[0], (100, 101))]))
    return found


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refused_user_stops_the_run_at_once_and_sees_no_key(
    serve: Any, run: Any, tmp_path: Path, sandbox: Sandbox, tracer: RunningOnce, status: int
) -> None:
    model, refused = served(), False

    def answer(request: dict[str, Any]) -> Answer:
        nonlocal refused
        refused = len(model.requests) > 60
        body = f'{{"error": {{"message": "no credit on {KEY}"}}}}'.encode()
        return Answer(body, status) if refused else model(request)

    server = serve(answer)
    with pytest.raises(UsageError, match=f"status {status}") as raised:
        run(run_tasks(server.address, tmp_path, sandbox, tracer))
    assert refused
    assert server.paths["/v1/completions"] == len(model.requests) + 1
    assert KEY not in "".join(traceback.format_exception(raised.value))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
