from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.quiet import quiet_transformers

from .tiny_gguf import write_gguf


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: a second thread would only wait, long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def plain_model(tiny_llama: Path) -> Any:
    """The tiny model as transformers itself runs it."""
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64).eval()


@pytest.fixture(scope="session")
def naive_logprobs(plain_model: Any) -> Callable[[Sequence[int]], NDArray[np.float64]]:
    """The distribution after a prefix by one pass over all of it, without any cache."""

    @torch.inference_mode()
    def run(ids: Sequence[int]) -> NDArray[np.float64]:
        logits = plain_model(torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1).numpy()

    return run


@pytest.fixture
def backend(tiny_llama: Path) -> Iterator[HFBackend]:
    with HFBackend(HFOptions(model=str(tiny_llama), device="cpu")) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_gguf(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a GGUF file, weights in float32."""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return write_gguf(tmp_path_factory.mktemp("tiny_gguf") / "tiny-F32.gguf", model, tokenizer)
