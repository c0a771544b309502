from __future__ import annotations

from egcfg_backends_hf.engine.backoff import PASSES, Backoff


def passes_until_an_attempt(backoff: Backoff) -> int:
    return next(number for number in range(1, 100 * PASSES) if backoff.succeeded())


def test_attempts_that_fail_are_made_ever_more_rarely_and_others_are_not() -> None:
    backoff = Backoff()
    for _ in range(5):  # one after another, until a pass is small enough: no attempt failed
        backoff.failed()
    waits = []
    for fails in (False, False, True, True, False):
        waits.append(passes_until_an_attempt(backoff))
        if fails:
            backoff.failed()
    assert [wait // PASSES for wait in waits] == [1, 1, 1, 2, 4]
