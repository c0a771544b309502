"""Limits, and what is held to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError, BudgetError, ConfigError, UsageError
from egcfg.interfaces.backend import LogprobRequest, SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.solution import Stage
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.budget import Budget, Meter, Spending, count_text
from egcfg.usage.model import Model
from egcfg.usage.prices import Prices

Run = Callable[[Coroutine[Any, Any, Any]], Any]

IDS = tuple(b"```python\n")
SAMPLE = SampleRequest(IDS, 1, SamplingParams(max_tokens=3, seed=1))

PRICES = Prices(input=2.0, cached_input=0.5, output=10.0)
SPENT = Usage(requests=7, input_tokens=1_000_000, cached_tokens=400_000, output_tokens=50_000)


@define
class Shared:
    """A ledger that others have written into."""

    elsewhere: Usage = field(factory=Usage)
    noted: list[tuple[Usage, bool]] = field(factory=list)

    def others(self) -> Usage:
        return self.elsewhere

    def note(self, usage: Usage, *, at_once: bool) -> None:
        self.noted.append((usage, at_once))


def model(meter: Meter, cls: type[ScriptedBackend] = ScriptedBackend) -> Model:
    options = ScriptedOptions(script=lambda text: "x = 1\n"[len(text) % 6 :], exact_logprobs=True)
    return Model(OpenComponent(Kind.BACKEND, cls(options), "the backend"), "t", meter)


def test_tokens_cost_what_their_kind_costs() -> None:
    assert PRICES.cost(SPENT) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.05 * 10)
    uncached = Prices(input=2.0, output=10.0)
    assert uncached.cost(SPENT) == pytest.approx(1.0 * 2 + 0.05 * 10)
    assert uncached.cost(Usage()) == 0


@pytest.mark.parametrize(
    ("budget", "reached"),
    [
        (Budget(), None),
        (Budget(max_requests=8, max_tokens=1_050_001, max_cost=1.91, prices=PRICES), None),
        (Budget(max_requests=7), "--max-requests 7 is used up: 7 spent"),
        (Budget(max_tokens=1_050_000), "--max-tokens-total 1050000 is used up: 1050000 spent"),
        (Budget(max_cost=1.5, prices=PRICES), "--max-cost 1.5 is used up: 1.9 spent"),
    ],
)
def test_a_budget_says_which_limit_is_reached_and_how_far(
    budget: Budget, reached: str | None
) -> None:
    if reached is None:
        budget.check(SPENT)
        return
    with pytest.raises(BudgetError, match=reached) as caught:
        budget.check(SPENT)
    assert str(caught.value).endswith(f"run again with a larger {caught.value.flag} to go on")


def test_a_limit_on_the_cost_needs_prices() -> None:
    with pytest.raises(ConfigError, match="--prices input="):
        Budget(max_cost=1.0)


def test_what_was_spent_is_told_beside_its_limit() -> None:
    assert Budget().describe(SPENT) == "7 requests, 1050000 tokens (400000 cached)"
    limited = Budget(max_requests=10, max_cost=2, prices=PRICES)
    assert limited.describe(SPENT) == (
        "7 of 10 requests, 1050000 tokens (400000 cached), cost 1.9 of 2"
    )
    assert Budget(max_requests=3).describe(Usage()) == "0 of 3 requests, 0 tokens"


def test_the_nearest_limit_says_how_much_is_left() -> None:
    assert Budget().share(SPENT) == 0
    assert Budget(max_requests=14, max_cost=2, prices=PRICES).share(SPENT) == pytest.approx(0.95)
    assert Budget(max_requests=7).share(SPENT) == 1


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (12, "12"), (0.0, "0"), (0.000042, "0.000042"), (0.25, "0.25"), (12.3456, "12.35")],
)
def test_amounts_are_written_as_short_as_they_can_be(amount: float, text: str) -> None:
    assert count_text(amount) == text


def test_a_meter_adds_up_what_everybody_spends() -> None:
    ledger = Shared(elsewhere=Usage(requests=5))
    meter = Meter(Budget(max_requests=10), ledger)
    meter.add(Usage(requests=2))
    ledger.elsewhere = Usage(requests=6)
    assert meter.spending == Spending(
        before=Usage(requests=5), here=Usage(requests=2), elsewhere=Usage(requests=1)
    )
    assert meter.spending.total == Usage(requests=8)
    meter.check()
    ledger.elsewhere = Usage(requests=8)
    with pytest.raises(BudgetError, match="10 spent"):
        meter.check()


def test_a_meter_keeps_at_once_what_a_limit_depends_on() -> None:
    relaxed, strict = Shared(), Shared()
    Meter(Budget(), relaxed).add(Usage(requests=1))
    Meter(Budget(max_requests=9), strict).add(Usage(requests=1))
    assert relaxed.noted == [(Usage(requests=1), False)]
    assert strict.noted == [(Usage(requests=1), True)]


def test_a_meter_that_saw_nothing_leaves_no_trace() -> None:
    ledger = Shared()
    meter = Meter(Budget(max_requests=9), ledger)
    meter.add(Usage())
    meter.settle()
    assert ledger.noted == []


def test_no_question_is_asked_after_the_end_of_a_budget(run: Run) -> None:
    meter = Meter(Budget(max_tokens=4))
    metered = model(meter)
    run(metered.sample([SAMPLE]))
    run(metered.sample([SAMPLE]))
    spent = metered.usage[Stage.SAMPLING]
    assert spent.output_tokens == meter.spending.here.output_tokens == 6
    for ask in (
        lambda: metered.sample([SAMPLE]),
        lambda: metered.score([ScoreRequest(IDS)], Stage.GUIDED),
        lambda: metered.logprobs([LogprobRequest(IDS, (1,))], Stage.GUIDED),
    ):
        with pytest.raises(BudgetError, match="--max-tokens-total 4 is used up: 6 spent"):
            run(ask())
    assert metered.usage == {Stage.SAMPLING: spent}
    assert metered.backend.instance.scored == []


def test_a_question_that_fails_is_paid_for_all_the_same(run: Run) -> None:
    class Failing(ScriptedBackend):
        async def score(self, _: object) -> Any:
            error = BackendError("gone")
            error.usage = Usage(requests=3)
            raise error

    meter = Meter()
    failing = model(meter, Failing)
    with pytest.raises(BackendError, match="gone"):
        run(failing.score([ScoreRequest(IDS)], Stage.GUIDED))
    assert meter.spending.here.requests == failing.usage[Stage.GUIDED].requests == 3
    assert meter.spending.here.seconds > 0


def test_a_limit_on_requests_that_are_never_sent_is_told(run: Run) -> None:
    metered = model(Meter(Budget(max_requests=1)))
    run(metered.score([ScoreRequest(IDS)], Stage.GUIDED))
    with pytest.raises(UsageError, match="sends no requests; limit its work by --max-tokens-total"):
        run(metered.score([ScoreRequest(IDS)], Stage.GUIDED))


def test_all_tasks_of_an_engine_draw_on_one_budget(run: Run) -> None:
    meter = Meter(Budget(max_tokens=4))
    one, other = model(meter), model(meter)
    run(one.sample([SAMPLE]))
    run(other.sample([SAMPLE]))
    assert one.usage[Stage.SAMPLING].output_tokens == 3
    with pytest.raises(BudgetError, match="6 spent"):
        run(one.sample([SAMPLE]))
