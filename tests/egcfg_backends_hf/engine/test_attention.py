from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from egcfg_backends_hf.engine.attention import BLOCK, tree_attention


@pytest.mark.parametrize("tokens", [1, 5, BLOCK + 44])
@pytest.mark.parametrize("heads", [2, 6])
def test_grouped_heads_and_blocks_attend_as_repeated_heads_at_once_do(
    tokens: int, heads: int
) -> None:
    generator = torch.Generator().manual_seed(tokens)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    slots = tokens + 30
    query, key, value = draw(1, heads, tokens, 8), draw(1, 2, slots, 8), draw(1, 2, slots, 8)
    mask = torch.rand(1, 1, tokens, slots, generator=generator) < 0.3
    mask[0, 0, torch.arange(tokens), torch.arange(tokens)] = True
    found, _ = tree_attention(torch.nn.Identity(), query, key, value, mask, scaling=0.3)
    expected = functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(heads // 2, dim=1),
        value.repeat_interleave(heads // 2, dim=1),
        attn_mask=mask,
        scale=0.3,
    )
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=0, atol=1e-12)


def test_kinds_of_attention_that_it_does_not_know_are_refused() -> None:
    tensor = torch.ones(1, 2, 3, 8)
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="softcap"):
        tree_attention(torch.nn.Identity(), tensor, tensor, tensor, mask, softcap=30.0)
