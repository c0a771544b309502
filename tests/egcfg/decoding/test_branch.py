from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from egcfg.decoding.branch import Branch, resolve
from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.prompt import TextPrompt
from egcfg.interfaces.solution import Stage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def distribution(number: int) -> Logprobs:
    return Logprobs(np.array([float(number)]))


def short_list() -> Logprobs:
    return Logprobs(np.log([0.4, 0.3]), np.array([7, 8]))


def test_what_was_learnt_is_known_from_wherever_the_branch_has_come() -> None:
    branch = Branch((1, 2))
    known = [distribution(number) for number in range(4)]
    branch.learn((5, 6, 7), known)
    assert branch.next is known[0]
    assert branch.after((5, 6)) is known[2]
    assert branch.knows((5, 6, 7))
    assert not branch.knows((5, 8))
    branch.advance(5)
    assert branch.ids == (1, 2, 5)
    assert branch.next is known[1]
    assert branch.knows((6, 7))
    branch.advance(9)
    assert branch.next is None
    assert branch.ids == (1, 2, 5, 9)


def test_several_drafts_share_what_they_have_in_common() -> None:
    branch = Branch()
    first = distribution(0)
    branch.learn((1, 2), [first, distribution(1), distribution(2)])
    branch.learn((1, 3), [distribution(n) for n in range(3)])
    assert branch.next is first
    branch.advance(1)
    assert branch.knows((2,))
    assert branch.knows((3,))


def test_a_branch_with_other_tokens_knows_nothing() -> None:
    branch = Branch((1,))
    branch.learn((5,), [short_list(), short_list()])
    branch.learn_exact((5,), [9], [-4.0])
    branch.reset((2, 3))
    assert branch == Branch((2, 3))
    assert branch.next is None
    assert branch.resolved((5,)) is None


def test_exact_values_join_the_list_and_are_kept_apart_from_it() -> None:
    branch = Branch()
    branch.learn((5,), [short_list(), short_list()])
    branch.learn_exact((5,), [9], [-4.0])
    branch.learn_exact((5,), [3], [-5.0])
    for _ in range(2):  # before and after the response has come to it
        draft: tuple[int, ...] = (5,) if branch.ids == () else ()
        resolved, scored = branch.resolved(draft), branch.after(draft)
        assert resolved is not None
        assert scored is not None
        assert (resolved.logprob(9), resolved.logprob(3)) == (-4.0, -5.0)
        assert not scored.lists(9)
        branch.advance(5)
    branch.forget_exact()
    assert branch.resolved(()) is branch.next is None


def test_exact_values_are_dropped_where_the_other_branch_becomes_another() -> None:
    branch = Branch()
    branch.learn((), [short_list()])
    branch.learn_exact((), [9], [-4.0])
    branch.forget_exact()
    assert branch.resolved(()) is branch.next
    assert branch.next is not None
    assert not branch.next.lists(9)


def test_unresolved_tokens_of_all_known_positions_are_asked_for_together(run: Run) -> None:
    draft = tuple(b"abcdef")
    options = ScriptedOptions(
        script=lambda text: "abcdef"[len(text.rpartition("\n")[2]) :],
        noise=0.4,
        top_k=2,
        exact_logprobs=True,
    )
    backend = ScriptedBackend(options)
    model = Model(OpenComponent(Kind.BACKEND, backend, "the backend"), "t")
    asked: list[set[tuple[int, ...]]] = []

    async def prepared(words: str) -> Branch:
        ids = await model.encode(TextPrompt((words,)))
        branch = Branch(ids)
        [[*found]] = (await backend.score([ScoreRequest(ids, draft)])).value
        branch.learn(draft, found)
        return branch

    async def resolve_all() -> list[Guided]:
        plain, signalled = await prepared("one\n"), await prepared("two\n")
        original = backend.logprobs

        async def watched(requests: Any) -> Any:
            asked.append({request.ids for request in requests})
            return await original(requests)

        backend.logprobs = watched  # type: ignore[method-assign]
        guided = []
        for token in draft:
            known, mixed = await resolve(
                model,
                (plain, signalled),
                lambda a, b: mix(a, b, 1.5),
                lambda mixed, offset: mixed.argmax(),  # noqa: ARG005 - a greedy choice
            )
            assert known is plain.resolved(())
            assert not mixed.unresolved
            guided.append(mixed)
            plain.advance(token)
            signalled.advance(token)
        return guided

    guided = run(resolve_all())
    assert [mixed.distribution.argmax() for mixed in guided] == list(draft)
    # The first round asks about every position of the draft, on both branches.
    assert len(asked[0]) > len(draft)
    assert len(asked) < len(draft)
    assert model.usage[Stage.GUIDED].requests == len(asked)


@pytest.mark.parametrize("tokens", [[], [9]])
def test_a_dense_distribution_has_nothing_to_add(tokens: list[int]) -> None:
    dense = Logprobs(np.log([0.5, 0.5]))
    assert dense.with_values(tokens, [-4.0] * len(tokens)) is dense
