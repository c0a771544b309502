from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from egcfg.interfaces.backend import SampleQuery, SamplingParams, ScoreQuery
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_llama


def open_tiny(folder: Path, seed: int) -> HFBackend:
    return HFBackend(HFOptions(model=str(build_tiny_llama(folder, seed=seed)), device="cpu"))


def test_the_seed_fixes_the_weights_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    scores = []
    for number, seed in enumerate((1, 1, 2)):
        backend = open_tiny(tmp_path / str(number), seed)
        [[found]] = backend.score([ScoreQuery(backend.start(backend.encode("x = 1")))])
        scores.append(found.logprobs)
    assert torch.equal(torch.get_rng_state(), state)
    assert scores[0].dtype == np.float64
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1.0


def test_distributions_are_neither_flat_nor_certain(backend: HFBackend) -> None:
    ids = backend.encode("def add(first, second):\n    return first + second\n")
    [scores] = backend.score([ScoreQuery(backend.start(ids[:1]), ids[1:])])
    likeliest = np.exp([found.logprobs.max() for found in scores])
    assert 0.1 < np.median(likeliest) < 0.9
    assert len({found.argmax() for found in scores}) > 3


def test_continuations_have_lines_and_ends(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode("def add(first, second):\n"))
    params = SamplingParams(temperature=1.0, max_tokens=120)
    [found] = backend.sample([SampleQuery(sequence, 8, params)])
    assert all(continuation.text.count("\n") > 1 for continuation in found)
    assert any(continuation.finished for continuation in found)


def test_a_newline_and_the_indent_behind_it_are_one_token(backend: HFBackend) -> None:
    pieces = [backend.decode([i]) for i in backend.encode("if x:\n    if y:\n        z")]
    assert "\n    " in pieces
    assert "\n        " in pieces
