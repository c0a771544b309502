"""Results folders of recorded units, friendly and hostile ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from egcfg.decoding.settings import PAPER, DecodingSettings
from egcfg.interfaces.method import Attempt, Configuration
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Prompt
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import (
    Alternative,
    FinishReason,
    Generation,
    LineStep,
    Signal,
    SignalEntry,
    TokenChoice,
)
from egcfg.interfaces.tracer import EventKind, RaisedValue, Trace, TraceEvent, Value
from egcfg.interfaces.usage import Usage
from egcfg.records.entries import UnitEntry
from egcfg.records.recorder import Recorder
from egcfg.reports.aggregate import no_prices
from egcfg.reports.page.overview import Overview, overview
from egcfg.runs.results import Result, ResultStats, TestVerdict
from egcfg.runs.store import ResultsFolder
from egcfg.sandbox.types import Outcome

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e\u0000'\"&"
CONFIG = "ns2t0.75d2_chat_ln"


def trace_of(source: str, odd: str = "") -> Trace:
    """Return a run of a function that adds up and, at an odd number, fails."""
    events = [
        TraceEvent(
            *(),
            index=0,
            kind=EventKind.CALL,
            activation=1,
            depth=2,
            function="f",
            line=1,
            delta={"x": Value("int", f"3{odd}")},
        ),
        TraceEvent(index=1, kind=EventKind.LINE, activation=1, depth=2, function="f", line=2),
        TraceEvent(
            index=2,
            kind=EventKind.LINE,
            activation=1,
            depth=2,
            function="f",
            line=3,
            delta={"total": Value("int", "9")},
        ),
    ]
    if odd:
        raised = RaisedValue(type="ValueError", message=odd)
        events.append(
            TraceEvent(
                index=3,
                kind=EventKind.EXCEPTION,
                activation=1,
                depth=2,
                function="f",
                line=3,
                raised=raised,
            )
        )
        return Trace(
            source=source, call="f(3)", events=events, outcome=Outcome.EXCEPTION, raised=raised
        )
    return Trace(source=source, call="f(3)", events=events, result=Value("int", "9"), stdout="hi")


def recorded(task: str, gamma: float, *, odd: str = "") -> bytes:
    """Return the record of a unit whose second line guidance changed."""
    recorder = Recorder(
        UnitEntry(task_id=task, gamma=gamma, config=CONFIG, description=f"Square. {odd}")
    )
    prompt = Prompt(before="Square.", after="", chat=True, response_prefix="```python\n")
    configuration = Configuration(settings=DecodingSettings(gamma=gamma))
    number = recorder.decoding(configuration, prompt, PAPER, task)
    good = f"def f(x):\n    total = x * x\n    return total  # {odd}".strip(" #")
    bad = "def f(x):\n    total = x + x\n    return total"
    signal = Signal(
        entries=(
            SignalEntry(program=good, samples=2, traces=(trace_of(good),)),
            SignalEntry(program=bad, samples=1, traces=(trace_of(bad, odd or "no"),)),
        ),
        text="what happened",
        tokens=20,
    )
    changed = TokenChoice(
        id=5,
        text=f" x * x{odd}",
        unconditional_id=6,
        unconditional_text=f" x + x{odd}",
        logprob_unconditional=-2.25,
        logprob_guided=-0.5,
        logprob_conditional=-0.25,
        likeliest_unconditional=(Alternative(text=" x + x", logprob=-0.125),),
        likeliest_conditional=(Alternative(text=f" x * x{odd}", logprob=-0.25),),
    )
    texts = ["def f(x):\n", "    total =", f" x * x{odd}\n", "    return total\n```"]
    for index, text in enumerate(texts):
        guided = gamma != 0 and index in (1, 2)
        recorder.decoded(
            number,
            LineStep(
                index=index,
                in_code=True,
                text=text,
                tokens=(changed,) if guided and index == 2 else (),
                signal=signal if guided else None,
                fresh=index == 1,
                decisions=(f"gate: {odd}",) if odd else (),
            ),
        )
    code = "def f(x):\n    total = x * x" + odd + "\n    return total"
    generation = Generation(
        response="```python\n" + "".join(texts), code=code, ids=(1, 2), finish=FinishReason.CODE_END
    )
    recorder.decoded(number, generation)
    recorder.attempt(Attempt(program=code, stage="decode", generation=generation), 120, None)
    passed = TestResult(name=f"assert f(3) == 9 {odd}", status=TestStatus.PASSED, seconds=0.0)
    recorder.note("noted", {"what": odd})
    recorder.call("ask", ChatPrompt((ChatMessage("user", odd),)), 0.5, 9, [], task)
    recorder.verdicts(code, Score(results=(passed,)), Score(results=(passed,)))
    return recorder.content()


def write_results(
    results: Path,
    tasks: int = 3,
    *,
    odd: str = "",
    records: bool = True,
    gammas: tuple[float, ...] = (0, 1),
) -> Path:
    """Write results of tasks at gamma 0 and 1, recorded or not, and return their folder."""
    folder = ResultsFolder(results, "mbpp", f"org/tiny{odd.replace('/', '')[:9]}")
    for number in range(tasks):
        task = f"t/{number}{odd[:40]}"
        for gamma in map(float, gammas):
            passed = (number + int(gamma)) % 3 != 0
            path = folder.record_path(CONFIG, task, gamma)
            if records:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(recorded(task, gamma, odd=odd))
            name = f"assert f(3) == 9 {odd}"
            result = Result(
                code=f"def f(x):\n    return x * x{odd}",
                tests={name: TestVerdict(passed=passed, error=None if passed else f"is {odd}")},
                passed=passed,
                accuracy=float(passed),
                stats=ResultStats(
                    input_tokens=100 + number,
                    output_tokens=20 + int(50 * gamma),
                    seconds=1.5,
                    usage={"guided": Usage(forward_passes=9)},
                ),
                finish="code_end",
                tests_seen=(name,),
                attempts=({"stage": "decode", "passed": passed, "tokens": 120 + int(50 * gamma)},),
                record=path.name if records else None,
            )
            folder.write(CONFIG, task, gamma, result)
    return results


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes results of as many tasks as it is told."""
    return partial(write_results, tmp_path / "results")


@pytest.fixture(scope="session")
def three_tasks(tmp_path_factory: pytest.TempPathFactory) -> Overview:
    """Return three tasks, read and drawn once, whose files no test changes."""
    return overview(write_results(tmp_path_factory.mktemp("three") / "results"), no_prices)
