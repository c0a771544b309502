from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.options import HFOptions

from .tiny_gguf import write_gguf

Run = Callable[[Coroutine[Any, Any, Any]], Any]


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
def open_folder(run: Run) -> Iterator[Callable[..., HFBackend]]:
    """Opens models from folders, and closes them after the test."""
    opened: list[HFBackend] = []

    def open_one(folder: Path, **options: Any) -> HFBackend:
        backend = HFBackend(HFOptions(model=str(folder), **({"device": "cpu"} | options)))
        run(backend.open())
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        run(backend.close())


@pytest.fixture
def backend(open_folder: Callable[..., HFBackend], tiny_llama: Path) -> HFBackend:
    return open_folder(tiny_llama)


@pytest.fixture(scope="session")
def tiny_gguf(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a GGUF file, weights in float32."""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return write_gguf(tmp_path_factory.mktemp("tiny_gguf") / "tiny-F32.gguf", model, tokenizer)
