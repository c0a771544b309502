"""Going back to an earlier line: where to, and without which token."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve

from egcfg.decoding.rollback import Checkpoint, Rollback
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.solution import SignalEntry, TokenChoice
from egcfg.interfaces.tracer import Trace, Value


def entry(result: str, share: float = 0.0, samples: int = 1) -> SignalEntry:
    trace = Trace(source="", call="f(1)", result=Value("int", result))
    return SignalEntry(program=result, samples=samples, traces=(trace,), share=share)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, tokens=step, text="x" * step, counts={})


VARIED = [entry("1"), entry("2")]
DEAD = [entry("1"), evolve(entry("1"), program="another")]


def test_it_goes_back_to_the_last_line_whose_outcomes_varied_and_from_there_further_back() -> None:
    rollback = Rollback(2)
    for step in (1, 2):
        assert rollback.look(VARIED, checkpoint(step)) is None
    back = rollback.look(DEAD, checkpoint(3))
    assert back is not None
    assert back.step == 2
    back = rollback.look(DEAD, checkpoint(2))
    assert back is not None
    assert back.step == 1
    assert rollback.look(VARIED, checkpoint(1)) is None
    assert rollback.look(DEAD, checkpoint(4)) is None  # twice at most


@pytest.mark.parametrize(
    "entries",
    [
        [],
        VARIED,
        [entry("1", share=1.0)],
        [entry("1", samples=0)],  # the solution so far is no candidate
    ],
)
def test_it_goes_on_where_no_dead_end_is_seen(entries: list[SignalEntry]) -> None:
    rollback = Rollback(1)
    rollback.look(VARIED, checkpoint(1))
    assert rollback.look(entries, checkpoint(2)) is None


def test_it_goes_on_where_nothing_varied_before() -> None:
    assert Rollback(1).look(DEAD, checkpoint(2)) is None


def choice(token: int, logprob: float) -> TokenChoice:
    return TokenChoice(
        id=token,
        text=chr(token),
        unconditional_id=token,
        unconditional_text=chr(token),
        logprob_unconditional=logprob,
        logprob_guided=logprob,
    )


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_least_sure_token_of_the_line_is_ruled_out_where_it_stood(library: str) -> None:
    array = pytest.importorskip(library).asarray
    rollback = Rollback(1)
    line = [choice(0, -0.1), choice(1, -0.9), choice(2, -0.2)]
    assert rollback.rule_out((7, 8), line).id == 1
    likely = Logprobs(array(np.log([0.2, 0.5, 0.3])))
    guided = Guided(likely)
    assert rollback.allowed((7, 8), likely, guided) is guided
    allowed = rollback.allowed((7, 8, 0), likely, guided)
    assert allowed.distribution.argmax() == 2
    assert allowed.certain
    # A second line from there rules out another token of it.
    rollback.rule_out((7, 8, 0), [choice(2, -0.7)])
    assert rollback.allowed((7, 8, 0), likely, guided).distribution.argmax() == 0


def test_of_lists_the_next_is_taken_and_counts_as_uncertain() -> None:
    rollback = Rollback(1)
    rollback.rule_out((), [choice(5, -0.1)])
    listed = Logprobs(np.log([0.6, 0.3]), np.array([5, 9]))
    allowed = rollback.allowed((), listed, Guided(listed))
    assert allowed.distribution.argmax() == 9
    assert not allowed.certain


def test_where_nothing_else_is_plausible_the_unconditional_distribution_decides() -> None:
    rollback = Rollback(1)
    rollback.rule_out((), [choice(1, -0.1)])
    only = Logprobs(np.array([-np.inf, 0.0, -np.inf]))
    unconditional = Logprobs(np.log([0.1, 0.7, 0.2]))
    assert rollback.allowed((), unconditional, Guided(only)).distribution.argmax() == 2
    # With no other token at all, it comes again.
    assert rollback.allowed((), only, Guided(only)).distribution.argmax() == 1
