from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import AttentionMaskInterface
from transformers.masking_utils import (
    causal_mask_function,
    chunked_causal_mask_function,
    sliding_window_causal_mask_function,
)

from egcfg_backends_hf.engine import attention
from egcfg_backends_hf.engine.attention import (
    BLOCK,
    TREE_ATTENTION,
    PassPart,
    Recording,
    Site,
    UnknownAttentionError,
    masks_by_kind,
    running,
    tree_attention,
)
from egcfg_backends_hf.engine.slot_cache import SlotBuffers


@pytest.fixture(autouse=True)
def nothing_runs_afterwards() -> Iterator[None]:
    yield
    running.parts, running.recording = (), None


class Layer(torch.nn.Module):
    """Attends with keys and values, and a mask, of its own."""

    tree_sites = (Site(0, True, 0),)


def lane_part(mask: torch.Tensor, start: int) -> PassPart:
    """Return a part whose tokens go into the last slots; as many as the mask has rows."""
    tokens, used = mask.shape[2:]
    rows, slots = slice(start, start + tokens), torch.arange(used - tokens, used)
    return PassPart(rows, slots, [mask], torch.arange(used), used, SlotBuffers())


def plain_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    *,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention as the papers write it, shape (1, tokens, heads, head size)."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = (states.repeat_interleave(groups, dim=1) for states in (keys, values))
    scores = query @ keys.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias[None, :, None]
    weights = torch.where(mask, scores, -torch.inf).exp()
    nothing = 0.0 if sinks is None else sinks.exp()[None, :, None, None]
    weights = weights / (weights.sum(dim=-1, keepdim=True) + nothing)
    return (weights @ values).transpose(1, 2)


@pytest.mark.parametrize("known", [("cpu",), ()])
@pytest.mark.parametrize("kind", ["plain", "softcap", "sinks", "bias", "all"])
@pytest.mark.parametrize("lanes", [(1,), (5,), (3, 1, BLOCK + 44)])
@pytest.mark.parametrize("heads", [2, 6])
def test_every_lane_attends_to_its_own_slots_as_repeated_heads_at_once_do(
    monkeypatch: pytest.MonkeyPatch,
    lanes: Sequence[int],
    heads: int,
    kind: str,
    known: tuple[str, ...],
) -> None:
    monkeypatch.setattr(attention, "KNOW_GROUPS", known)
    generator = torch.Generator().manual_seed(sum(lanes))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    slopes = draw(heads)
    softcap = 1.5 if kind in ("softcap", "all") else None
    sinks = draw(heads) if kind in ("sinks", "all") else None

    def bias(positions: torch.Tensor, length: int) -> torch.Tensor:
        return slopes[:, None] * positions / length

    asked = bias if kind in ("bias", "all") else None
    parts, expected = [], []
    total = sum(lanes)
    query, key, value = draw(1, heads, total, 8), draw(1, 2, total, 8), draw(1, 2, total, 6)
    for number, tokens in enumerate(lanes):
        earlier = 30 + number
        mask = torch.rand(1, 1, tokens, earlier + tokens, generator=generator) < 0.3
        mask[0, 0, torch.arange(tokens), torch.arange(tokens)] = True
        part = lane_part(mask, sum(lanes[:number]))
        old = draw(1, 2, earlier, 8), draw(1, 2, earlier, 6)
        part.buffers.write(0, torch.arange(earlier), *old, earlier)
        parts.append(part)
        own = key[:, :, part.rows], value[:, :, part.rows]
        keys, values = (torch.cat(pair, dim=2) for pair in zip(old, own, strict=True))
        output = plain_attention(
            query[:, :, part.rows],
            keys,
            values,
            mask,
            0.3,
            softcap=softcap,
            sinks=sinks,
            bias=None if asked is None else asked(part.positions, part.length),
        )
        expected.append(output)
    running.parts = parts
    found, _ = tree_attention(
        *(Layer(), query, key, value, None, 0.3), softcap=softcap, s_aux=sinks, bias=asked
    )
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=0, atol=1e-12)


def test_each_lane_gets_its_own_keys_and_values() -> None:
    masks = [torch.ones(1, 1, tokens, tokens, dtype=torch.bool) for tokens in (2, 3)]
    running.parts = parts = [lane_part(masks[0], 0), lane_part(masks[1], 2)]
    keys = torch.arange(5.0)[None, None, :, None]
    tree_attention(Layer(), keys, keys, keys + 10, None)
    found = [part.buffers.read(0, len(part.positions)) for part in parts]
    assert [keys.flatten().tolist() for keys, _ in found] == [[0, 1], [2, 3, 4]]
    assert [values.flatten().tolist() for _, values in found] == [[10, 11], [12, 13, 14]]


@pytest.mark.parametrize("asked", [{"position_bias": 1}, {"a_new_thing": torch.ones(1)}])
def test_kinds_of_attention_that_it_does_not_know_are_refused(asked: dict[str, Any]) -> None:
    tensor = torch.ones(1, 2, 3, 8)
    with pytest.raises(UnknownAttentionError, match=next(iter(asked))):
        tree_attention(Layer(), tensor, tensor, tensor, None, **asked)


def test_masks_of_a_kind_are_those_of_transformers_among_the_tokens_ancestors() -> None:
    functions = [
        causal_mask_function,
        sliding_window_causal_mask_function(3),
        chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.long)),
    ]
    # Two branches of a trunk of five; slots are taken in another order.
    positions = torch.tensor([0, 1, 2, 3, 4, 5, 5, 6])
    visible = torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0, 1, 1]]).bool()
    queries = torch.tensor([5, 6])
    full, window, chunks = masks_by_kind(functions, visible, queries, positions)
    assert full[0, 0].equal(visible)
    assert window[0, 0].nonzero().tolist() == [[0, 3], [0, 4], [0, 5], [1, 4], [1, 6], [1, 7]]
    assert chunks[0, 0].nonzero().tolist() == [[0, 4], [0, 5], [1, 4], [1, 6], [1, 7]]


def make_mask(function: Any) -> torch.Tensor:
    """Ask for a mask as transformers' models do."""
    make = AttentionMaskInterface()[TREE_ATTENTION]
    mask: torch.Tensor = make(
        mask_function=function, device=torch.device("cpu"), batch_size=1, q_length=2, kv_length=2
    )
    return mask


def test_a_recording_tells_masks_of_one_meaning_and_shared_keys_from_others() -> None:
    running.recording = recording = Recording()
    first, second, third = (Layer() for _ in range(3))
    tensor, other = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4)
    full, window = (
        make_mask(causal_mask_function),
        make_mask(sliding_window_causal_mask_function(3)),
    )
    again = make_mask(sliding_window_causal_mask_function(3))
    tree_attention(first, tensor, tensor, tensor, full)
    tree_attention(second, tensor, other, tensor, window)
    tree_attention(second, tensor, other, other, window[:, :, :, :1])
    tree_attention(third, tensor, tensor, tensor, again)
    tree_attention(third, tensor, other[:, :, :1], tensor, None, sliding_window=3)
    recording.finish()
    assert first.tree_sites == (Site(0, True, 0),)
    assert second.tree_sites == (Site(1, True, 1), Site(2, True, 1))
    assert third.tree_sites == (Site(0, False, 1), Site(3, True, 1))
    assert len(recording.masks) == 2
    assert recording.buffers == 4


def test_a_mask_that_a_model_made_itself_is_refused() -> None:
    running.recording = Recording()
    tensor = torch.ones(1, 1, 2, 4)
    with pytest.raises(UnknownAttentionError, match="masks in a way of its own"):
        tree_attention(Layer(), tensor, tensor, tensor, make_mask(causal_mask_function) | True)


def test_a_model_that_never_attends_is_refused() -> None:
    with pytest.raises(UnknownAttentionError, match="attention in a way of its own"):
        Recording().finish()
