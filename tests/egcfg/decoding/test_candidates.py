from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from attrs import define, evolve, field

from egcfg.decoding.candidates import Candidate, CandidatePool, Drafts
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Answer, Continuation, SampleRequest
from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

from ...add_one import PROBLEM

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PROMPT = Prompt(before="Add one.\n", after="", signal_header="", layout=CodeLayout.FENCED)
START = PROMPT.unconditional().text
ANSWER = "a = 1\nb = 2\nc = 3\nd = 4\n```\n"


@define(eq=False)
class Recording(ScriptedBackend):
    """Remembers what it was asked to sample."""

    sampled: list[SampleRequest] = field(factory=list)

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        self.sampled += requests
        return await super().sample(requests)


def encode(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def backend(answer: str = ANSWER, noise: float = 1e-6) -> Recording:
    script = lambda text: answer[len(text) - len(START) :]  # noqa: E731
    return Recording(ScriptedOptions(script=script, noise=noise))


def pool(
    backend: Recording, problem: Problem = PROBLEM, prompt: Prompt = PROMPT, **values: Any
) -> CandidatePool:
    model = Model(OpenComponent(Kind.BACKEND, backend, "the backend"), problem.task_id)
    return CandidatePool(model, problem, prompt, DecodingSettings(**values), 100)


Resample = Callable[[Recording, CandidatePool, str], list[SampleRequest]]


@pytest.fixture
def resample(run: Run) -> Resample:
    """Bring a pool to a response of some text; return what was asked for."""

    def resample_one(
        backend: Recording, candidates: CandidatePool, text: str
    ) -> list[SampleRequest]:
        before = len(backend.sampled)
        run(candidates.resample(encode(START), encode(text), text))
        return backend.sampled[before:]

    return resample_one


def test_the_first_candidates_are_all_sampled_at_once(resample: Resample) -> None:
    scripted = backend()
    candidates = pool(scripted, candidates=3, horizon=2)
    [request] = resample(scripted, candidates, "")
    assert request.count == 3
    assert [c.text for c in candidates.candidates] == ["a = 1\nb = 2\n"] * 3


def test_candidates_that_the_response_follows_are_extended_by_a_line(resample: Resample) -> None:
    scripted = backend()
    candidates = pool(scripted, candidates=3, horizon=2)
    resample(scripted, candidates, "")
    requests = resample(scripted, candidates, "a = 1\n")
    assert [(request.count, request.params.max_lines) for request in requests] == [(1, 1)] * 3
    assert [c.text for c in candidates.candidates] == ["b = 2\nc = 3\n"] * 3
    assert len({request.params.seed for request in requests}) == 3


def test_candidates_that_diverged_are_sampled_anew_after_the_others(resample: Resample) -> None:
    scripted = backend()
    candidates = pool(scripted, candidates=2, horizon=2)
    resample(scripted, candidates, "")
    other = Candidate(encode("x = 9\ny = 8\n"), "x = 9\ny = 8\n", ended=False)
    candidates.candidates = (other, candidates.candidates[0])
    requests = resample(scripted, candidates, "a = 1\n")
    assert [(request.count, request.params.max_lines) for request in requests] == [(1, 1), (1, 2)]
    assert [c.text for c in candidates.candidates] == ["b = 2\nc = 3\n"] * 2


def test_without_reuse_every_candidate_is_sampled_anew(resample: Resample) -> None:
    scripted = backend()
    candidates = pool(scripted, candidates=3, horizon=2, reuse_candidates=False)
    resample(scripted, candidates, "")
    [request] = resample(scripted, candidates, "a = 1\n")
    assert (request.count, request.params.max_lines) == (3, 2)


def test_a_candidate_that_has_ended_is_kept_and_asked_nothing(resample: Resample) -> None:
    scripted = backend("a = 1\n```\nprose")
    candidates = pool(scripted, candidates=2, horizon=4)
    resample(scripted, candidates, "")
    assert all(c.ended for c in candidates.candidates)
    assert resample(scripted, candidates, "a = 1\n") == []
    assert [c.text for c in candidates.candidates] == ["```"] * 2


def test_a_stop_text_that_began_in_an_earlier_line_ends_an_extension(resample: Resample) -> None:
    scripted = backend("a = 1\nb = 2\n```\nprose")
    candidates = pool(scripted, candidates=1, horizon=2)
    resample(scripted, candidates, "")
    resample(scripted, candidates, "a = 1\n")
    assert [c.text for c in candidates.candidates] == ["b = 2\n```\n"]
    assert candidates.candidates[0].ended


def test_candidates_without_a_horizon_are_sampled_once(resample: Resample) -> None:
    scripted = backend()
    candidates = pool(scripted, candidates=2, horizon=None)
    resample(scripted, candidates, "")
    assert resample(scripted, candidates, "a = 1\nb = 2\n") == []


def test_candidates_of_a_whole_program_are_not_cut_at_its_first_print(resample: Resample) -> None:
    whole = evolve(PROBLEM, entry_point=None, visible_tests=[StdioTest("1", "2")], scorer="stdio")
    prompt = evolve(PROMPT, layout=CodeLayout.COMPLETION)
    for problem, cut in ((whole, False), (PROBLEM, True)):
        scripted = backend()
        candidates = pool(scripted, problem, prompt)
        [request] = resample(scripted, candidates, "")
        assert ("\nprint(" in request.params.stop) is cut


@pytest.mark.parametrize("reuse", [True, False])
def test_the_same_response_has_the_same_candidates(resample: Resample, reuse: bool) -> None:
    def texts(seed: int) -> list[str]:
        scripted = backend(noise=0.4)
        candidates = pool(scripted, reuse_candidates=reuse, seed=seed, temperature=1.5)
        found = []
        for text in ("", "a = 1\n", "a = 1\nb = 2\n"):
            resample(scripted, candidates, text)
            found += [c.text for c in candidates.candidates]
        return found

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)


# --- candidates as drafts -----------------------------------------------------------------------


def drafts(run: Run, *texts: str) -> Drafts:
    made = Drafts()
    model = Model(OpenComponent(Kind.BACKEND, backend(), "the backend"), "t")
    candidates = tuple(Candidate(encode(text), text) for text in texts)
    run(made.update(model, candidates))
    return made


def lines(made: Drafts, remaining: int = 50) -> list[str]:
    return [bytes(line).decode() for line in made.lines(remaining)]


def test_drafts_are_the_distinct_first_lines(run: Run) -> None:
    made = drafts(run, "x = 1\ny = 2\n", "x = 1\nz", "x = 10", "x = 1", "")
    assert lines(made) == ["x = 1\n", "x = 10"]
    assert lines(made, 0) == lines(made, -1) == []
    assert lines(made, 3) == ["x ="]


def test_drafts_follow_the_response_into_their_next_lines(run: Run) -> None:
    made = drafts(run, "x = 1\ny = 2\n", "x = 1\nz", "y")
    for token in encode("x ="):
        made.advance(token)
    assert lines(made) == [" 1\n"]
    for token in encode(" 1\n"):
        made.advance(token)
    assert lines(made) == ["y = 2\n", "z"]
    made.advance(ord("?"))
    assert lines(made) == []


def test_drafts_of_a_new_signal_replace_those_before(run: Run) -> None:
    made = drafts(run, "x = 1\n")
    model = Model(OpenComponent(Kind.BACKEND, backend(), "the backend"), "t")
    run(made.update(model, (Candidate(encode("y"), "y"),)))
    assert lines(made) == ["y"]
