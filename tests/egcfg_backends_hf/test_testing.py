from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import TextPrompt
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_llama

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def encode(backend: HFBackend, run: Run, text: str) -> tuple[int, ...]:
    ids: tuple[int, ...] = run(backend.encode(TextPrompt((text,)))).value
    return ids


def test_the_seed_fixes_the_weights_and_nothing_else(tmp_path: Path, run: Run) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    scores = []
    for number, seed in enumerate((1, 1, 2)):
        folder = build_tiny_llama(tmp_path / str(number), seed=seed)
        backend = HFBackend(HFOptions(model=str(folder), device="cpu"))
        run(backend.open())
        [[found]] = run(backend.score([ScoreRequest(encode(backend, run, "x = 1"))])).value
        scores.append(found.values)
        run(backend.close())
    assert torch.equal(torch.get_rng_state(), state)
    assert scores[0].dtype == np.float64
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1.0


def test_distributions_are_neither_flat_nor_certain(backend: HFBackend, run: Run) -> None:
    ids = encode(backend, run, "def add(first, second):\n    return first + second\n")
    [scores] = run(backend.score([ScoreRequest(ids[:1], ids[1:])])).value
    likeliest = np.exp([found.values.max() for found in scores])
    assert 0.1 < np.median(likeliest) < 0.9
    assert len({found.argmax() for found in scores}) > 3


def test_continuations_have_lines_and_ends(backend: HFBackend, run: Run) -> None:
    ids = encode(backend, run, "def add(first, second):\n")
    params = SamplingParams(temperature=1.0, max_tokens=120)
    [found] = run(backend.sample([SampleRequest(ids, 8, params)])).value
    assert all(continuation.text.count("\n") > 1 for continuation in found)
    assert any(continuation.finished for continuation in found)


def test_a_newline_and_the_indent_after_it_are_one_token(backend: HFBackend, run: Run) -> None:
    ids = encode(backend, run, "if x:\n    if y:\n        z")
    pieces = [run(backend.decode([i])).value for i in ids]
    assert "\n    " in pieces
    assert "\n        " in pieces
