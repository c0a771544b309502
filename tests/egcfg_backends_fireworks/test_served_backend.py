"""A Fireworks-shaped server over another backend: through it, the same texts come out."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.errors import BudgetError, ContextOverflowError
from egcfg.interfaces.backend import ScoreRequest
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.usage import Usage
from egcfg.usage.budget import Budget, Meter
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend
from egcfg_backends_fireworks.testing import ServedModel, Shape

from ..add_one import PROBLEM, PROMPT, RIGHT, WRONG, ProgramLength, decoded, scripted


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0, 1.3])
def test_the_text_is_the_same_as_in_process_however_it_is_asked_for(
    serve: Any, opened: Any, run: Any, gamma: float
) -> None:
    expected = run(decoded(scripted(), gamma))
    assert expected.code == (RIGHT if gamma > 0 else WRONG).removesuffix("```\n")
    requests, costs = {}, {}
    for echoes, speculated in ((True, 8), (False, 8), (False, 1)):
        served = ServedModel(scripted(), Shape(echoes=echoes))
        server = serve(served)
        options = EndpointOptions(model="m", base_url=server.address, speculated_tokens=speculated)
        with opened(FireworksBackend(options)) as model:
            assert model.capabilities.scores_drafts is echoes
            probed = len(served.requests)
            generation = run(decoded(model.backend, gamma))
        assert generation.response == expected.response
        assert generation.code == expected.code
        usage = generation.total_usage
        requests[echoes, speculated] = usage.requests
        costs[echoes, speculated] = usage.requests, usage.input_tokens, usage.output_tokens
        assert generation.total_usage.requests == len(served.requests) - probed
        if echoes and gamma <= 1.0:
            asked = len(served.requests) - probed
            assert asked <= 3 * (expected.response.count("\n") + 1)
    if 0.0 < gamma <= 1.0:  # beyond, further requests fetch what the lists lack
        assert requests[True, 8] < requests[False, 1]
    assert requests[False, 8] < requests[False, 1]
    if gamma == 1.0:  # a batch or an echoed draft that is lost costs more, and changes no text
        assert costs == {
            (True, 8): (12, 1308, 140),
            (False, 8): (13, 1266, 168),
            (False, 1): (46, 5834, 155),
        }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Several drafts at a time, in one request.
        ({"candidates": 5, "temperature": 2.0}, (19, 3873, 592)),
        # What the server wrote is a draft after the other prompt.
        ({"drafts": False}, (13, 1449, 141)),
    ],
    ids=str,
)
def test_echoed_drafts_are_sent_in_requests_and_tokens_that_are_known(
    serve: Any, opened: Any, run: Any, changes: dict[str, Any], expected: tuple[int, ...]
) -> None:
    local = run(decoded(scripted(), 1.0, **changes))
    server = serve(ServedModel(scripted()))
    options = EndpointOptions(model="m", base_url=server.address, speculated_tokens=8)
    with opened(FireworksBackend(options)) as model:
        generation = run(decoded(model.backend, 1.0, **changes))
    assert generation.response == local.response
    usage = generation.total_usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == expected


async def solved(address: str, **budget: Any) -> tuple[str, Usage]:
    backend = FireworksBackend(EndpointOptions(model="m", base_url=address))
    async with Engine(
        backend=backend,
        tracer=ProgramLength(),
        prompt=Worded(),  # type: ignore[arg-type]
        meter=Meter(Budget(**budget)),
    ) as engine:
        try:
            solution = await engine.solve(PROBLEM, DecodingSettings(gamma=1.0, max_tokens=80))
        finally:
            spent = engine.meter.spending.here
    return solution.generation.response, spent


@frozen
class Worded:
    """The one prompt."""

    def build(self, problem: Problem) -> Prompt:  # noqa: ARG002
        return PROMPT


def test_a_budget_of_requests_holds_to_the_last_one_the_probes_included(
    serve: Any, run: Any
) -> None:
    server = serve(ServedModel(scripted()))
    response, spent = run(solved(server.address))
    assert spent.requests == server.paths.total()
    for limit in (1, 7, spent.requests - 1):
        before = server.paths.total()
        with pytest.raises(BudgetError, match=f"{limit} is used up: {limit} spent"):
            run(solved(server.address, max_requests=limit))
        assert server.paths.total() - before == limit
    # What comes after the last request is known by then, and costs nothing.
    again, same = run(solved(server.address, max_requests=spent.requests))
    assert (again, same.requests) == (response, spent.requests)


def test_a_signal_that_does_not_fit_the_servers_context_is_cut(
    serve: Any, opened: Any, run: Any
) -> None:
    """The service does not say how long its context is: it refuses what is longer."""
    expected = run(decoded(scripted(), 1.0))
    context = len(PROMPT.unconditional().text) + len(expected.response) + 8
    server = serve(ServedModel(scripted(context)))
    with opened(FireworksBackend(EndpointOptions(model="m", base_url=server.address))) as model:
        ids = model.ids("x" * 2 * context)
        with pytest.raises(ContextOverflowError) as raised:
            model.score([ScoreRequest(ids)])
        assert (raised.value.needed, raised.value.available) == (2 * context + 1, context)
        generation = run(decoded(model.backend, 1.0))
    assert generation.signals_cut > 0
    assert generation.response.count("\n") == expected.response.count("\n")


@pytest.mark.model
def test_a_transformers_model_behind_a_server_scores_and_writes_the_same(
    serve: Any, opened: Any, tiny_llama: Path
) -> None:
    hf = pytest.importorskip("egcfg_backends_hf.backend", reason="transformers is not installed")
    chosen = hf.HFBackend.Options(model=str(tiny_llama))
    text = "def add(first, second):\n    "
    served = ServedModel(hf.HFBackend(chosen))
    options = EndpointOptions(model="m", base_url=serve(served).address)
    with (
        closing(served),
        opened(hf.HFBackend(chosen)) as local,
        opened(FireworksBackend(options)) as remote,
    ):
        ids = local.ids(text)
        here, there = ids, remote.ids(text)
        for _ in range(12):
            [[dense]] = local.score([ScoreRequest(here)])
            [[cut]] = remote.score([ScoreRequest(there)])
            assert cut.argmax() == dense.argmax()
            for token, logprob in zip(cut.ids, cut.values, strict=True):
                assert math.isclose(logprob, dense.logprob(int(token)), abs_tol=1e-6)
            here += (dense.argmax(),)
            there += (cut.argmax(),)
        draft = here[len(ids) :]
        [distributions] = remote.score([ScoreRequest(remote.ids(text), draft)])
        assert [d.argmax() for d in distributions[:-1]] == list(draft)
