"""A backend as one task asks it: answers are checked, counted, and booked on that task alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from attrs import evolve

import egcfg.usage.model
from egcfg.errors import (
    BackendError,
    CapabilityError,
    ContextOverflowError,
    EgcfgError,
    PluginError,
)
from egcfg.interfaces.backend import (
    Answer,
    Continuation,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import TextPrompt
from egcfg.interfaces.solution import Stage
from egcfg.interfaces.usage import FREE, Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.budget import Meter
from egcfg.usage.model import Model

Run = Callable[[Coroutine[Any, Any, Any]], Any]

IDS = (97, 98)
GOOD = Logprobs(np.log(np.full(8, 1 / 8)))
SAMPLE = SampleRequest(IDS, 2, SamplingParams(max_tokens=2))


class Odd(ScriptedBackend):
    """Answers every question by what it is told to answer, or raises it."""

    answer: Any

    async def _answered(self, *_: object) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    encode = decode = count_tokens = score = sample = logprobs = _answered


def asking(answer: object, meter: Meter | None = None, top_k: int | None = None) -> Model:
    backend = Odd(ScriptedOptions(script=lambda _: "", top_k=top_k))
    backend.answer = answer
    component = OpenComponent(Kind.BACKEND, backend, "the backend 'odd' of odd 1.0")
    return Model(component, "t/1", meter or Meter())


def refused(run: Run, question: Coroutine[Any, Any, Any]) -> str:
    """Return what the error says beside component and task."""
    with pytest.raises(PluginError) as caught:
        run(question)
    before, said, after = str(caught.value).partition(
        "the backend 'odd' of odd 1.0 is broken on task t/1: "
    )
    assert (before, said != "") == ("", True)
    assert "\n" not in after
    assert after.endswith("; report it to its authors")
    return after.removesuffix("; report it to its authors")


def logprobs(*shares: float) -> Logprobs:
    with np.errstate(divide="ignore"):
        return Logprobs(np.log(np.array(shares)))


# --- distributions ------------------------------------------------------------------------------

LOG_3_SHARES = np.log(np.full(12, 3 / 12))


@pytest.mark.parametrize(
    ("distribution", "said"),
    [
        (None, "score gave NoneType, not Logprobs"),
        (np.zeros(3), "score gave ndarray, not Logprobs"),
        (Logprobs([-1.0, -2.0]), "score gave list, not one row of log-probabilities"),
        (
            Logprobs(np.array([-1, -2])),
            "score gave an array of int64 of shape (2,), not one row of log-probabilities",
        ),
        (
            Logprobs(np.array([None, -2.0])),
            "score gave an array of object of shape (2,), not one row of log-probabilities",
        ),
        (
            Logprobs(np.empty(0)),
            "score gave an array of float64 of shape (0,), not one row of log-probabilities",
        ),
        (
            Logprobs(np.array(-1.0)),
            "score gave an array of float64 of shape (), not one row of log-probabilities",
        ),
        (
            Logprobs(np.full((1, 4), -1.5)),
            "score gave an array of float64 of shape (1, 4), not one row of log-probabilities",
        ),
        (Logprobs(np.array([-1.0, np.nan, -2.0])), "score gave nan as a log-probability"),
        (Logprobs(np.array([-1.0, np.inf, -2.0])), "score gave inf as a log-probability"),
        (Logprobs(np.array([2.5, -1.0])), "score gave 2.5 as a log-probability"),
        (Logprobs(np.array([1e4, -1.0])), "score gave 10000.0 as a log-probability"),
        (Logprobs(np.full(4, -np.inf)), "score gave -inf as a log-probability"),
        (Logprobs(np.array([0.5, 0.3, 0.2])), "score gave 0.5 as a log-probability"),
        (
            Logprobs(np.full(1000, 0.001)),
            "score gave probabilities that add up to 1e+03; they must be normalised",
        ),
        (
            Logprobs(LOG_3_SHARES),
            "score gave probabilities that add up to 3; they must be normalised",
        ),
        (
            Logprobs(np.array([-1.0, -2.0]), np.arange(3)),
            "score gave an array of int64 of shape (3,) as the ids of "
            "an array of float64 of shape (2,)",
        ),
        (
            Logprobs(np.array([-1.0, -2.0]), [4, 5]),  # type: ignore[arg-type]
            "score gave list as the ids of an array of float64 of shape (2,)",
        ),
        (
            Logprobs(np.array([-1.0, -2.0]), np.arange(2)),
            "score gave a cut distribution, but its top_k is None",
        ),
    ],
)
def test_what_is_no_distribution_is_never_a_result(run: Run, distribution: Any, said: str) -> None:
    model = asking(Answer([[distribution]]))
    assert refused(run, model.score([ScoreRequest(IDS)], Stage.GUIDED)) == said
    if "add up" not in said:  # summed up over the vocabulary only once per request
        model = asking(Answer([[GOOD], [GOOD, distribution]]))
        requests = [ScoreRequest(IDS), ScoreRequest(IDS, (99,))]
        assert refused(run, model.score(requests, Stage.GUIDED)) == said


def test_the_probabilities_of_a_cut_distribution_are_added_up_as_well(run: Run) -> None:
    model = asking(Answer([[Logprobs(LOG_3_SHARES, np.arange(12))]]), top_k=12)
    said = refused(run, model.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert said == "score gave probabilities that add up to 3; they must be normalised"


@pytest.mark.parametrize("numbers", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_of_any_width_are_checked_as_arrays_are(run: Run, numbers: str) -> None:
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, numbers)
    good = Logprobs(torch.log_softmax(torch.arange(50.0), 0).to(dtype))
    [[same]] = run(asking(Answer([[good]])).score([ScoreRequest(IDS)], Stage.GUIDED))
    assert same is good
    for values, said in (
        (torch.full((8,), torch.nan), "nan as a log-probability"),
        (torch.full((8,), -torch.inf), "-inf as a log-probability"),
        (torch.full((8,), -0.5), "probabilities that add up to 4.8"),
        (torch.zeros(2, 2), f"an array of torch.{numbers} of shape (2, 2), not one row"),
    ):
        model = asking(Answer([[Logprobs(values.to(dtype))]]))
        told = refused(run, model.score([ScoreRequest(IDS)], Stage.GUIDED))
        assert told.startswith(f"score gave {said}")


def test_what_a_device_holds_is_checked_by_one_copy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    copies = []

    def to_device(array: Any, device: str) -> Any:  # "meta" is a device that cannot be read
        copies.append((array.device.type, len(array)))
        return torch.full(array.shape, -1.0, device=device)

    monkeypatch.setattr(egcfg.usage.model, "to_device", to_device)
    row = Logprobs(torch.zeros(50, device="meta"))
    requests = [ScoreRequest(IDS, (99,)), ScoreRequest(IDS)]
    run(asking(Answer([[row, row], [row]])).score(requests, Stage.GUIDED))
    assert copies == [("meta", 3 + 2)]


def test_arrays_of_two_libraries_are_no_answer(run: Run) -> None:
    torch = pytest.importorskip("torch")
    model = asking(Answer([[GOOD], [Logprobs(torch.log(torch.tensor([0.5, 0.5])))]]))
    said = refused(run, model.score([ScoreRequest(IDS), ScoreRequest(IDS)], Stage.GUIDED))
    assert said == "score gave arrays of several libraries in one answer"


@pytest.mark.parametrize(
    "distribution",
    [
        logprobs(1.0, 0.0, 0.0),
        logprobs(0.5, 0.5),
        Logprobs(np.array([0.004, -6.0])),  # 16-bit numbers are coarse
        Logprobs(np.array([-3.0]), np.array([7])),
        Logprobs(np.array([-1.0, -np.inf], np.float32), np.array([7, 9], np.uint32)),
    ],
)
def test_what_is_a_distribution_comes_through_as_it_is(run: Run, distribution: Logprobs) -> None:
    top_k = None if distribution.dense else 5
    model = asking(Answer([[distribution, distribution]]), top_k=top_k)
    [[first, second]] = run(model.score([ScoreRequest(IDS, (99,))], Stage.GUIDED))
    assert first is second is distribution


# --- the form of answers ------------------------------------------------------------------------

SCORE = (ScoreRequest(IDS, (99,)), ScoreRequest(IDS))
CONTINUATION = Continuation(ids=(97,), text="a")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "score gave NoneType, not an Answer"),
        ([[GOOD, GOOD], [GOOD]], "score gave list, not an Answer"),
        (Answer(None), "score gave NoneType to 2 requests"),
        (Answer([], None), "score gave NoneType as its usage"),  # type: ignore[arg-type]
        (Answer([]), "score gave 0 answers to 2 requests"),
        (Answer([[GOOD, GOOD]]), "score gave 1 answer to 2 requests"),
        (Answer([[GOOD, GOOD], [GOOD], [GOOD]]), "score gave 3 answers to 2 requests"),
        (Answer(iter([[GOOD, GOOD], [GOOD]])), "score gave list_iterator to 2 requests"),
        (Answer([[GOOD], [GOOD]]), "score gave 1 distribution for a draft of 1 tokens, not 2"),
        (
            Answer([[GOOD, GOOD], [GOOD, GOOD]]),
            "score gave 2 distributions for a draft of 0 tokens, not 1",
        ),
        (Answer([None, [GOOD]]), "score gave NoneType for a draft of 1 tokens, not 2"),
        (Answer([GOOD, GOOD]), "score gave Logprobs for a draft of 1 tokens, not 2"),
    ],
)
def test_scores_that_do_not_fit_the_requests_are_refused(
    run: Run, answer: object, said: str
) -> None:
    assert refused(run, asking(answer).score(SCORE, Stage.GUIDED)) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "sample gave NoneType, not an Answer"),
        (Answer(None), "sample gave NoneType to 1 requests"),
        (Answer([[CONTINUATION] * 2] * 2), "sample gave 2 answers to 1 requests"),
        (Answer([[CONTINUATION]]), "sample gave 1 continuation, not 2"),
        (Answer([[]]), "sample gave 0 continuations, not 2"),
        (Answer([None]), "sample gave NoneType, not 2"),
        (Answer([["a", "b"]]), "sample gave something else than a Continuation"),
        (Answer([[CONTINUATION, None]]), "sample gave something else than a Continuation"),
        (
            Answer([[CONTINUATION, Continuation(ids=[97], text="a")]]),  # type: ignore[arg-type]
            "sample gave something else than a Continuation",
        ),
        (
            Answer([[CONTINUATION, Continuation(ids=(97,), text=None)]]),  # type: ignore[arg-type]
            "sample gave something else than a Continuation",
        ),
    ],
)
def test_continuations_that_do_not_fit_the_requests_are_refused(
    run: Run, answer: object, said: str
) -> None:
    assert refused(run, asking(answer).sample([SAMPLE])).startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "logprobs gave NoneType, not an Answer"),
        (Answer([]), "logprobs gave 0 answers to 1 requests"),
        (Answer([[-1.0]]), "logprobs gave 1 value for 2 tokens"),
        (Answer([[-1.0] * 3]), "logprobs gave 3 values for 2 tokens"),
        (Answer([None]), "logprobs gave NoneType for 2 tokens"),
        (Answer([[-1.0, float("nan")]]), "logprobs gave nan, which is no log-probability"),
        (Answer([[float("inf"), -1.0]]), "logprobs gave inf, which is no log-probability"),
        (Answer([[0.4, -1.0]]), "logprobs gave 0.4, which is no log-probability"),
        (Answer([[-1.0, None]]), "logprobs gave None, which is no log-probability"),
        (Answer([["-1", -1.0]]), "logprobs gave '-1', which is no log-probability"),
    ],
)
def test_exact_values_that_do_not_fit_the_requests_are_refused(
    run: Run, answer: object, said: str
) -> None:
    model = asking(answer)
    assert refused(run, model.logprobs([LogprobRequest(IDS, (1, 2))], Stage.GUIDED)) == said


@pytest.mark.parametrize(
    ("method", "value", "said"),
    [
        ("encode", None, "encode gave NoneType, not token ids"),
        ("encode", "text", "encode gave str, not token ids"),
        ("encode", 7, "encode gave int, not token ids"),
        ("encode", [1.0], "encode gave list, not token ids"),
        ("decode", None, "decode gave NoneType, not text"),
        ("decode", b"text", "decode gave bytes, not text"),
        ("count_tokens", None, "count_tokens gave NoneType, not a number"),
        ("count_tokens", "7", "count_tokens gave str, not a number"),
    ],
)
def test_texts_and_tokens_of_another_type_are_refused(
    run: Run, method: str, value: object, said: str
) -> None:
    given = {"encode": TextPrompt(("x",)), "decode": IDS, "count_tokens": "x"}[method]
    assert refused(run, getattr(asking(Answer(value)), method)(given)) == said
    assert refused(run, getattr(asking(value), method)(given)) == (
        f"{method} gave {type(value).__name__}, not an Answer"
    )


def test_token_ids_may_be_any_whole_numbers(run: Run) -> None:
    for given in ([1, 2], (1, 2), np.array([1, 2]), iter([1, 2])):
        ids = run(asking(Answer(given)).encode(TextPrompt(("x",))))
        assert ids == (1, 2)
        assert {type(token) for token in ids} == {int}
    values = [np.float32(-1.5), -2]
    answer = asking(Answer([values])).logprobs([LogprobRequest(IDS, (1, 2))], Stage.GUIDED)
    assert run(answer) == [values]


def test_what_a_backend_raises_is_told_with_its_task(run: Run) -> None:
    error = ZeroDivisionError("division by zero")
    question = asking(error).score(SCORE, Stage.GUIDED)
    assert refused(run, question) == "score raised ZeroDivisionError: division by zero"
    for refusal in (
        BackendError("down"),
        CapabilityError("no drafts"),
        ContextOverflowError(9, 8),
    ):
        with pytest.raises(EgcfgError) as caught:
            run(asking(refusal).score(SCORE, Stage.GUIDED))
        assert caught.value is refusal


# --- what is booked -----------------------------------------------------------------------------

SPENT = Usage(requests=2, input_tokens=30, output_tokens=4, seconds=999.0)


def test_what_an_answer_cost_is_booked_on_its_task_and_stage(run: Run) -> None:
    meter = Meter()
    answer = Answer([[GOOD]], SPENT)
    one, other = asking(answer, meter), asking(answer, meter)
    run(one.score([ScoreRequest(IDS)], Stage.SIGNAL))
    run(one.score([ScoreRequest(IDS)], Stage.GUIDED))
    run(one.score([ScoreRequest(IDS)], Stage.GUIDED))
    run(other.score([ScoreRequest(IDS)], Stage.PREFIX))
    asked = {stage: usage.requests for stage, usage in one.usage.items()}
    assert asked == {Stage.SIGNAL: 2, Stage.GUIDED: 4}
    assert other.usage.keys() == {Stage.PREFIX}
    total = sum([*one.usage.values(), *other.usage.values()], FREE)
    assert total.input_tokens == 4 * 30
    assert evolve(meter.spending.here, seconds=0.0) == evolve(total, seconds=0.0)
    # Seconds are measured here, whatever the backend says.
    assert total.seconds == pytest.approx(meter.spending.here.seconds)
    assert total.seconds < 900


def test_an_answer_from_the_backends_own_table_costs_nothing(run: Run) -> None:
    meter = Meter()
    model = asking(Answer([[GOOD]]), meter)
    run(model.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert model.usage == {}
    assert meter.spending.here == Usage()


@pytest.mark.parametrize("value", [[[GOOD], [GOOD]], None])
def test_an_answer_that_is_refused_was_paid_for(run: Run, value: object) -> None:
    model = asking(Answer(value, SPENT))
    refused(run, model.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert model.usage[Stage.GUIDED].requests == 2


def test_an_error_says_what_was_spent_on_it(run: Run) -> None:
    error = BackendError("down")
    error.usage = SPENT
    model = asking(error)
    with pytest.raises(BackendError, match="down"):
        run(model.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert model.usage[Stage.GUIDED].requests == 2
    bare = asking(BackendError("down"))
    with pytest.raises(BackendError, match="down"):
        run(bare.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert bare.usage == {}


def test_a_call_that_is_cancelled_is_paid_for(run: Run) -> None:
    error = asyncio.CancelledError()
    error.usage = SPENT  # type: ignore[attr-defined]
    model = asking(error)
    with pytest.raises(asyncio.CancelledError):
        run(model.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert model.usage[Stage.GUIDED].requests == 2


def test_tasks_in_flight_at_once_are_booked_apart(run: Run) -> None:
    """Each pays for its own requests, in whatever order answers come."""

    class Slow(ScriptedBackend):
        async def score(self, requests: Sequence[ScoreRequest]) -> Any:
            for _ in range(len(requests[0].ids) % 3 + 1):
                await asyncio.sleep(0)
            return Answer([[GOOD]], Usage(requests=1, input_tokens=len(requests[0].ids)))

    backend = OpenComponent(Kind.BACKEND, Slow(ScriptedOptions(script=lambda _: "")), "slow")
    models = [Model(backend, f"t/{n}") for n in range(5)]

    async def ask(model: Model, tokens: int) -> None:
        for _ in range(4):
            await model.score([ScoreRequest((1,) * tokens)], Stage.GUIDED)

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(model, n + 1) for n, model in enumerate(models)))

    run(all_at_once())
    spent = [model.usage[Stage.GUIDED] for model in models]
    assert [usage.input_tokens for usage in spent] == [4 * (n + 1) for n in range(5)]
    assert [usage.requests for usage in spent] == [4] * 5
