"""The bench's table of architectures, for some of each kind, and what it does not ask."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from egcfg.errors import UsageError
from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import quiet_transformers

ROOT = Path(__file__).parents[3]
BENCH = ROOT / "bench"

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Ids = tuple[int, ...]


@pytest.fixture(scope="module")
def bench() -> Any:
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module("architectures")
    finally:
        sys.path.remove(str(BENCH))


def test_the_docs_have_all_cases_of_the_bench_with_the_pinned_versions(bench: Any) -> None:
    page = (ROOT / "docs/architectures.md").read_text()
    assert re.findall(r"^\| (.+?) \|", page, re.MULTILINE) == ["architecture", *bench.CASES]
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    versions = f"with transformers {pinned['transformers']} and torch {pinned['torch']}."
    assert versions in page
    assert f"Of {len(bench.CASES)}: " in page
    assert f"table of {len(bench.CASES)} arch" in (ROOT / "docs/local_models.md").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "BLOOM (ALiBi)",
        "CodeGen",
        "DeepSeek-V2",
        "DiffLlama",
        "Falcon (ALiBi)",
        "Falcon",
        "GPT-1",
        "GPT-J",
        "GPT-Neo (window)",
        "GPT-OSS (sinks, window)",
        "Gemma 2 (window, soft cap)",
        "Gemma 3n (window, shared keys)",
        "Llama 4 (chunks)",
        "MPT (ALiBi)",
        "Mistral, window 16",
        "Phi-3, longrope, beyond",
        "Phi-3, longrope, crossed",
        "StableLM",
    ],
)
def test_trees_give_what_whole_prompts_give(
    bench: Any, run: Run, tmp_path: Path, name: str
) -> None:
    found = run(bench.examine(name, bench.build(name, tmp_path)))
    assert found.path == "trees", found.said
    assert found.right


@pytest.mark.parametrize("name", ["Mamba", "Jamba (hybrid)", "RWKV", "Zamba2 (hybrid)"])
def test_what_cannot_run_trees_is_right_all_the_same(
    bench: Any, run: Run, tmp_path: Path, name: str
) -> None:
    found = run(bench.examine(name, bench.build(name, tmp_path)))
    assert found.path == "whole prompts"
    assert found.right
    assert found.said


def test_a_model_that_reads_what_follows_is_refused(bench: Any, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no causal language model"):
        run(bench.examine("XLNet", bench.build("XLNet", tmp_path)))


@pytest.mark.parametrize(
    "name", ["Phi-3, longrope, crossed", "Gemma 2 (window, soft cap)", "BLOOM (ALiBi)"]
)
def test_tasks_that_share_passes_are_right_too(
    bench: Any,
    run: Run,
    tmp_path: Path,
    open_folder: Callable[..., HFBackend],
    name: str,
) -> None:
    folder = bench.build(name, tmp_path)
    backend = open_folder(folder)
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def naive(ids: Ids) -> Any:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1).numpy()

    async def work(number: int) -> None:
        prompt = tuple(range(10 + number, 28 + 4 * number))
        params = SamplingParams(temperature=0.0, max_tokens=8)
        [[answer]] = (await backend.sample([SampleRequest(prompt, 1, params)])).value
        other = (*prompt[:10], 50, *prompt[10:])
        requests = [ScoreRequest(ids, answer.ids) for ids in (prompt, other)]
        for request, scores in zip(requests, (await backend.score(requests)).value, strict=True):
            for end, found in enumerate(scores):
                expected = naive(request.ids + request.draft[:end])
                np.testing.assert_allclose(found.values, expected, atol=1e-4)

    async def check() -> None:
        await asyncio.gather(*(work(number) for number in range(4)))

    run(check())
