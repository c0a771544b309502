from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch.nn import functional

from egcfg_backends_hf.engine.attention import BLOCK, tree_attention
from egcfg_backends_hf.engine.slot_cache import PassCache, PassPart, SlotBuffers, running


@pytest.fixture(autouse=True)
def nothing_runs_afterwards() -> Iterator[None]:
    yield
    running.parts = ()


def lane_part(mask: torch.Tensor, start: int) -> PassPart:
    """Return a part whose tokens go into the first slots; as many as the mask has rows."""
    tokens = mask.shape[2]
    return PassPart(slice(start, start + tokens), torch.arange(tokens), mask, SlotBuffers(1))


@pytest.mark.parametrize("lanes", [(1,), (5,), (BLOCK + 44,), (3, 1, BLOCK + 44), (1, 1)])
@pytest.mark.parametrize("heads", [2, 6])
def test_grouped_heads_and_blocks_attend_as_repeated_heads_at_once_do(
    lanes: Sequence[int], heads: int
) -> None:
    generator = torch.Generator().manual_seed(sum(lanes))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    parts, expected = [], []
    query = draw(1, heads, sum(lanes), 8)
    for number, tokens in enumerate(lanes):
        slots = tokens + 30 + number
        mask = torch.rand(1, 1, tokens, slots, generator=generator) < 0.3
        mask[0, 0, torch.arange(tokens), torch.arange(tokens)] = True
        part = lane_part(mask, sum(lanes[:number]))
        part.keys, part.values = draw(1, 2, slots, 8), draw(1, 2, slots, 8)
        parts.append(part)
        output = functional.scaled_dot_product_attention(
            query[:, :, part.rows],
            part.keys.repeat_interleave(heads // 2, dim=1),
            part.values.repeat_interleave(heads // 2, dim=1),
            attn_mask=mask,
            scale=0.3,
        )
        expected.append(output.transpose(1, 2))
    running.parts = parts
    ones = torch.ones(1, 2, sum(lanes), 8)
    found, _ = tree_attention(torch.nn.Identity(), query, ones, ones, None, scaling=0.3)
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=0, atol=1e-12)


def test_each_lane_gets_its_own_keys_and_values() -> None:
    masks = [torch.ones(1, 1, tokens, tokens, dtype=torch.bool) for tokens in (2, 3)]
    running.parts = parts = [lane_part(masks[0], 0), lane_part(masks[1], 2)]
    keys = torch.arange(5.0)[None, None, :, None]
    given = PassCache(1).update(keys, keys + 10, 0)
    assert given[0] is keys
    assert [part.keys.flatten().tolist() for part in parts] == [[0, 1], [2, 3, 4]]
    assert [part.values.flatten().tolist() for part in parts] == [[10, 11], [12, 13, 14]]


def test_kinds_of_attention_that_it_does_not_know_are_refused() -> None:
    tensor = torch.ones(1, 2, 3, 8)
    part = lane_part(torch.ones(1, 1, 3, 3, dtype=torch.bool), 0)
    part.keys = part.values = tensor
    running.parts = [part]
    with pytest.raises(ValueError, match="softcap"):
        tree_attention(torch.nn.Identity(), tensor, tensor, tensor, None, softcap=30.0)
