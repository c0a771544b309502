from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import safe_open, save_file
from torch import nn

from egcfg_backends_hf.loading.mapped_weights import releasing_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is for Linux")

SIZE = 2**20  # numbers, of 4 bytes each


class Mapped(nn.Module):
    """Two layers, each with a weight that is in a mapped file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(2)])
        with safe_open(file, framework="pt") as weights:
            for index, layer in enumerate(self.layers):
                layer.weight = nn.Parameter(weights.get_tensor(f"{index}"), requires_grad=False)

    def forward(self) -> torch.Tensor:
        ones = torch.ones(1, SIZE)
        return torch.stack([layer(ones)[0, 0] for layer in self.layers])


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[Mapped, Path]:
    file = tmp_path / "weights.safetensors"
    save_file({f"{index}": torch.full((1, SIZE), index + 1.0) for index in range(2)}, file)
    return Mapped(file), file


def in_memory(file: Path) -> int:
    """How many bytes of a mapped file are in this process' memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(file)):
            found = next(line for line in lines if line.startswith("Rss:"))
            return int(found.split()[1]) * 1024
    return 0


def test_what_a_layer_has_read_is_released_once_it_has_run(mapped: tuple[Mapped, Path]) -> None:
    model, file = mapped
    with releasing_pages(model):
        assert model().tolist() == [SIZE, 2.0 * SIZE]
        assert in_memory(file) < SIZE  # of 8 times as many bytes
    assert model().tolist() == [SIZE, 2.0 * SIZE]
    assert in_memory(file) > 4 * SIZE  # no hook is left


def test_what_was_read_by_others_is_released_on_demand(mapped: tuple[Mapped, Path]) -> None:
    model, file = mapped
    with releasing_pages(model) as release:
        model.layers[0].weight.sum()
        model.layers[1].weight.sum()
        assert in_memory(file) > 4 * SIZE
        release(model.layers[0])
        assert 3 * SIZE < in_memory(file) < 5 * SIZE  # the other layer's stays: half of it all
        release(model)
        assert in_memory(file) < SIZE
    assert float(model.layers[1].weight.sum()) == 2.0 * SIZE


def test_weights_that_were_written_to_are_left_alone(mapped: tuple[Mapped, Path]) -> None:
    model, _ = mapped
    with torch.no_grad():
        model.layers[0].weight[0, 0] = 7.0
    with releasing_pages(model) as release:
        release(model)
        assert float(model.layers[0].weight[0, 0]) == 7.0


def test_weights_in_memory_of_their_own_are_left_alone() -> None:
    model = nn.Linear(64, 64)
    usual = model.weight.clone()
    with releasing_pages(model) as release:
        release(model)
    assert torch.equal(model.weight, usual)
