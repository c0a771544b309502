"""What crosses between a device and the host, counted where there is no device.

torch's "meta" device has shapes, types and operators of its own, but no numbers: whatever would
wait for one of them fails there, and so does an operator whose tensors lie on two devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from egcfg.guidance.cfg import ClassifierFreeGuidance
from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg_backends_hf.engine import evaluator
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.engine.evaluator import PendingScore, TreeEvaluator
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.slot_cache import GROWTH
from egcfg_backends_hf.engine.token_choice import Choice
from egcfg_backends_hf.engine.tree_trial import enable_trees
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

VOCABULARY = 384

PROMPT = tuple(range(10, 10 + 100))


class Uploads(TorchFunctionMode):
    """Counts what is made of the host's numbers or tensors on another device."""

    count = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_meta:
            of_host = any(isinstance(a, torch.Tensor) and not a.is_meta for a in args)
            self.count += of_host or function in (torch.tensor, torch.as_tensor)
        return result


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> CausalModel:
    """The tiny model, its numbers gone once it was found out how it attends."""
    model = CausalModel(load_model(HFOptions(model=str(tiny_llama), device="cpu")).model)
    assert enable_trees(model) is None
    model.model.to("meta")  # type: ignore[arg-type]
    model.on_host = False
    return model


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the host read of a device, all of which gave zeros."""
    tensors: list[torch.Tensor] = []

    def to_host(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(evaluator, "to_host", to_host)
    return tensors


def ask(lanes: Sequence[Lane], ids: Callable[[Lane], tuple[int, ...]]) -> dict[Lane, Any]:
    """Return what lanes ask about: three distributions each, tokens chosen by every other one."""
    work = {}
    for lane in lanes:
        pending = PendingScore(ScoreRequest(ids(lane), (60, 70)))
        if lane.number % 2:
            pending.choices = [Choice(0.7 * (lane.number % 3), 0.95, 0.3)] * 3
        work[lane] = [pending]
    return work


def test_a_pass_copies_a_few_numbers_back_once_and_waits_for_nothing_else(
    model: CausalModel, read: list[torch.Tensor]
) -> None:
    runs = TreeEvaluator(model)
    lanes = [Lane(number) for number in range(4)]
    for step in range(0, GROWTH, 16):  # the buffers grow on the way
        work = ask(lanes, lambda lane: (*range(10, 30 + lane.number), *range(50, 50 + step)))  # noqa: B023
        read.clear()
        passes = model.passes
        with Uploads() as uploads:
            runs.run_pass(work, lanes)
        assert model.passes == passes + 1
        rows = 4 * 3
        assert [tensor.numel() for tensor in read] == [rows + 2 * 3]
        # Where the tokens go, which slots they see, and how tokens are chosen; none per layer.
        assert uploads.count == 3
        for [pending] in work.values():
            assert not pending.missing
            for distribution in pending.answer():
                assert distribution.values.is_meta
                assert distribution.values.shape == (VOCABULARY,)


def test_a_lane_that_begins_as_another_one_uploads_its_slots_once(
    model: CausalModel, read: list[torch.Tensor]
) -> None:
    runs = TreeEvaluator(model)
    lanes = [Lane(0), Lane(2)]
    runs.run_pass(ask(lanes[:1], lambda _: PROMPT), lanes)
    with Uploads() as uploads:
        runs.run_pass(ask(lanes[1:], lambda _: (*PROMPT, 50)), lanes)
    assert lanes[1].computed(PROMPT) == len(PROMPT)
    assert len(read) == 2
    assert uploads.count == 1 + 2


def test_guidance_waits_for_nothing() -> None:
    one, other = (Logprobs(torch.zeros(VOCABULARY, device="meta")) for _ in range(2))
    guided = ClassifierFreeGuidance(ClassifierFreeGuidance.Options()).mix(one, other, 1.5)
    assert isinstance(guided.distribution.values, torch.Tensor)
    assert guided.distribution.values.is_meta
