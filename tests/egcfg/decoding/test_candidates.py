from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import define, evolve, field

from egcfg.decoding.candidates import Candidate, CandidatePool
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Continuation, SampleQuery
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2")],
    hidden_tests=[AssertTest("assert f(41) == 42")],
)
PROMPT = Prompt(before="Add one.\n", after="", signal_header="", layout=CodeLayout.FENCED)
ANSWER = "a = 1\nb = 2\nc = 3\nd = 4\n```\n"


@define(eq=False)
class Recording(ScriptedBackend):
    """Remembers what it was asked to sample."""

    sampled: list[SampleQuery] = field(factory=list)

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        self.sampled += queries
        return super().sample(queries)


def model(answer: str = ANSWER, noise: float = 1e-6) -> Recording:
    start = PROMPT.unconditional()
    script = lambda text: answer[len(text) - len(start) :]  # noqa: E731
    return Recording(ScriptedOptions(script=script, noise=noise))


def pool(backend: Recording, problem: Problem = PROBLEM, **values: object) -> CandidatePool:
    return CandidatePool(backend, problem, PROMPT, DecodingSettings(**values), 100)


def refresh(backend: Recording, candidates: CandidatePool, text: str) -> list[SampleQuery]:
    """Bring the pool to a response of `text`; return what was asked for."""
    ids = backend.encode(text)
    before = len(backend.sampled)
    prompt = backend.encode(PROMPT.unconditional())
    candidates.refresh(backend.start(prompt + ids), ids, text)
    return backend.sampled[before:]


def test_the_first_candidates_are_all_sampled_at_once() -> None:
    backend = model()
    candidates = pool(backend, candidates=3, horizon=2)
    [query] = refresh(backend, candidates, "")
    assert query.count == 3
    assert [c.text for c in candidates.candidates] == ["a = 1\nb = 2\n"] * 3


def test_candidates_that_the_response_follows_are_extended_by_a_line() -> None:
    backend = model()
    candidates = pool(backend, candidates=3, horizon=2)
    refresh(backend, candidates, "")
    queries = refresh(backend, candidates, "a = 1\n")
    assert [(query.count, query.params.max_lines) for query in queries] == [(1, 1)] * 3
    assert [c.text for c in candidates.candidates] == ["b = 2\nc = 3\n"] * 3
    assert len({query.params.seed for query in queries}) == 3


def test_candidates_that_diverged_are_sampled_anew_behind_the_others() -> None:
    backend = model()
    candidates = pool(backend, candidates=2, horizon=2)
    refresh(backend, candidates, "")
    other = Candidate(backend.encode("x = 9\ny = 8\n"), "x = 9\ny = 8\n", ended=False)
    candidates.candidates = (other, candidates.candidates[0])
    queries = refresh(backend, candidates, "a = 1\n")
    assert [(query.count, query.params.max_lines) for query in queries] == [(1, 1), (1, 2)]
    assert [c.text for c in candidates.candidates] == ["b = 2\nc = 3\n"] * 2


def test_without_reuse_every_candidate_is_sampled_anew() -> None:
    backend = model()
    candidates = pool(backend, candidates=3, horizon=2, reuse_candidates=False)
    refresh(backend, candidates, "")
    [query] = refresh(backend, candidates, "a = 1\n")
    assert (query.count, query.params.max_lines) == (3, 2)


def test_a_candidate_that_has_ended_is_kept_and_asked_nothing() -> None:
    backend = model("a = 1\n```\nprose")
    candidates = pool(backend, candidates=2, horizon=4)
    refresh(backend, candidates, "")
    assert all(c.ended for c in candidates.candidates)
    assert refresh(backend, candidates, "a = 1\n") == []
    assert [c.text for c in candidates.candidates] == ["```"] * 2


def test_a_stop_text_that_began_in_an_earlier_line_ends_an_extension() -> None:
    backend = model("a = 1\nb = 2\n```\nprose")
    candidates = pool(backend, candidates=1, horizon=2)
    refresh(backend, candidates, "")
    refresh(backend, candidates, "a = 1\n")
    assert [c.text for c in candidates.candidates] == ["b = 2\n```\n"]
    assert candidates.candidates[0].ended


def test_candidates_without_a_horizon_are_sampled_once() -> None:
    backend = model()
    candidates = pool(backend, candidates=2, horizon=None)
    refresh(backend, candidates, "")
    assert refresh(backend, candidates, "a = 1\nb = 2\n") == []


def test_the_distributions_of_an_extension_stand_behind_what_was_left() -> None:
    backend = model()

    def scored(queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        return [
            [
                evolve(c, scores=tuple(range(len(c.ids))))  # type: ignore[arg-type]
                for c in found
            ]
            for found in ScriptedBackend.sample(backend, queries)
        ]

    backend.sample = scored  # type: ignore[method-assign]
    candidates = pool(backend, candidates=1, horizon=2)
    refresh(backend, candidates, "")
    refresh(backend, candidates, "a = 1\n")
    [candidate] = candidates.candidates
    assert candidate.scored_from == len("b = 2\n")
    assert len(candidate.scores) == len("c = 3\n")


def test_candidates_of_a_whole_program_are_not_cut_at_its_first_print() -> None:
    whole = evolve(PROBLEM, entry_point=None, visible_tests=[StdioTest("1", "2")], scorer="stdio")
    prompt = evolve(PROMPT, layout=CodeLayout.COMPLETION)
    for problem, cut in ((whole, False), (PROBLEM, True)):
        backend = model()
        candidates = CandidatePool(backend, problem, prompt, DecodingSettings(), 100)
        [query] = refresh(backend, candidates, "")
        assert ("\nprint(" in query.params.stop) is cut


@pytest.mark.parametrize("reuse", [True, False])
def test_the_same_response_has_the_same_candidates(reuse: bool) -> None:
    def texts(seed: int) -> list[str]:
        backend = model(noise=0.4)
        candidates = pool(backend, reuse_candidates=reuse, seed=seed, temperature=1.5)
        found = []
        for text in ("", "a = 1\n", "a = 1\nb = 2\n"):
            refresh(backend, candidates, text)
            found += [c.text for c in candidates.candidates]
        return found

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)
