"""Chooses tokens from distributions where they are: on the device, many at once.

`egcfg.decoding.sampling.sample_token` is what each choice means; here no whole vocabulary is sorted
and none leaves the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen

__all__ = ["UNDECIDED", "Choice", "choose_tokens"]

LIKELIEST = 1024
"""Tokens that are sorted: a nucleus is hardly ever larger."""

UNDECIDED = -1
"""Instead of a token: the nucleus was larger; `choose_tokens` with `whole` knows."""


@frozen
class Choice:
    """How one token is chosen.

    Attributes:
        temperature: divides the log-probabilities; 0: the likeliest token.
        top_p: nucleus mass, in (0, 1].
        number: random, in [0, 1).
    """

    temperature: float
    top_p: float
    number: float


def choose_tokens(
    rows: torch.Tensor, choices: Sequence[Choice], *, whole: bool = False
) -> torch.Tensor:
    """Return a token id per row, shape (rows,), on the device of `rows`; waits for nothing.

    Args:
        rows: natural log-probabilities, shape (rows, vocab).
        choices: one per row.
        whole: sort all tokens, instead of the `LIKELIEST`.
    """
    if all(choice.temperature == 0.0 for choice in choices):
        return rows.argmax(dim=1)
    asked = [(each.temperature, each.top_p, each.number) for each in choices]
    temperatures, top_ps, numbers = torch.tensor(
        list(zip(*asked, strict=True)), dtype=torch.float64, device=rows.device
    )
    greedy = temperatures == 0.0
    scaled = rows.double() / temperatures.where(~greedy, 1.0)[:, None]
    weights = (scaled - scaled.amax(dim=1, keepdim=True)).exp()
    chosen = torch.full_like(numbers, UNDECIDED, dtype=torch.long)
    if any(choice.top_p < 1.0 for choice in choices):
        count = weights.shape[1] if whole else min(LIKELIEST, weights.shape[1])
        likeliest, ids = weights.topk(count, dim=1)
        # Of equally likely tokens the smaller id comes first.
        ids, order = ids.sort(dim=1)
        likeliest, order = likeliest.gather(1, order).sort(dim=1, descending=True, stable=True)
        mass = likeliest.cumsum(dim=1) / weights.sum(dim=1, keepdim=True)
        nucleus = (mass < top_ps[:, None]).sum(dim=1, keepdim=True)  # its last place
        enough = nucleus[:, 0] < count
        last = nucleus.clamp(max=count - 1)
        place = torch.searchsorted(mass, numbers[:, None] * mass.gather(1, last), right=True)
        found = ids.gather(1, order).gather(1, place.minimum(last))[:, 0]
        chosen = torch.where(enough | (count == weights.shape[1]), found, chosen)
    mass = weights.cumsum(dim=1)
    place = torch.searchsorted(mass, numbers[:, None] * mass[:, -1:], right=True)
    of_all = place[:, 0].clamp(max=weights.shape[1] - 1)
    chosen = torch.where(top_ps >= 1.0, of_all, chosen)
    return torch.where(greedy, rows.argmax(dim=1), chosen)
