"""What crosses between a device and the host in a pass, counted where there is no device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from egcfg.interfaces.backend import ScoreRequest
from egcfg_backends_hf.engine import causal_model, evaluator
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.engine.evaluator import PendingScore, TreeEvaluator
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.token_choice import Choice
from egcfg_backends_hf.engine.tree_trial import enable_trees
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

VOCABULARY = 384

WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
"""Operators that wait for all that was asked of a device before, whose results the host needs."""


class Crossings(TorchDispatchMode):
    """Counts operators that wait, and what is copied from the host."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if name in WAITING or masks:
            self.counts["waits"] += 1
        if name == "lift_fresh":  # a tensor made of the host's numbers
            self.counts["uploads"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> CausalModel:
    """The tiny model, as if the host's memory were another device's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_model, "HOST", ())
        model = CausalModel(load_model(HFOptions(model=str(tiny_llama), device="cpu")).model)
    assert enable_trees(model) is None
    return model


def test_a_pass_copies_a_few_numbers_back_once_and_waits_for_nothing_else(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[torch.Tensor] = []
    to_host = causal_model.to_host

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        copied.append(tensor)
        return to_host(tensor)

    monkeypatch.setattr(evaluator, "to_host", counted)
    runs = TreeEvaluator(model)
    lanes = [Lane(number) for number in range(4)]
    for step in range(5):
        work = {}
        for lane in lanes:
            ids = (*range(10, 30 + lane.number), *range(50, 50 + step))
            pending = [PendingScore(ScoreRequest(ids, (60 + step, 70)))]
            if lane.number % 2:  # it samples
                choice = Choice(0.7 * (lane.number % 3), 0.95, 0.3)
                pending[0].choices = [choice] * 3
            work[lane] = pending
        copied.clear()
        passes = model.passes
        with Crossings() as crossings:
            runs.run_pass(work, lanes)
        assert model.passes == passes + 1
        rows = 4 * 3
        assert [tensor.numel() for tensor in copied] == [rows + 2 * 3]
        assert crossings.counts["waits"] == 0
        # Where the tokens go, which slots they see, and how tokens are chosen; none per layer.
        assert crossings.counts["uploads"] == 3
        for pending in work.values():
            assert not pending[0].missing
            for distribution in pending[0].answer():
                assert isinstance(distribution.values, torch.Tensor)
                assert distribution.values.shape == (VOCABULARY,)
