"""Going back to an earlier line, where all candidates of a later one fail alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from array_api_compat import array_namespace, device
from attrs import define, field, frozen

from egcfg.decoding.policies import outcomes
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.solution import SignalEntry, TokenChoice

__all__ = ["Checkpoint", "Rollback"]


@frozen
class Checkpoint:
    """A line's beginning.

    Attributes:
        step: the step that decides the line.
        tokens: of the response before it.
        text: of the response before it.
        counts: what had been counted by then.
    """

    step: int
    tokens: int
    text: str
    counts: Mapping[str, int]


@define
class Rollback:
    """Which lines a response can go back to, and which of its tokens may not come again.

    A line that is decided anew would come out as it did before. So the token of it that was least
    sure, and is likeliest to have gone wrong, is ruled out where it stood.

    Attributes:
        left: how often it may still go back.
    """

    left: int
    _varied: list[Checkpoint] = field(factory=list, init=False)
    _ruled_out: dict[tuple[int, ...], set[int]] = field(factory=dict, init=False)

    def look(self, entries: Sequence[SignalEntry], here: Checkpoint) -> Checkpoint | None:
        """Return where to go back to after what a line's candidates led to; None: go on.

        Args:
            entries: the distinct programs, judged.
            here: the line's beginning, which is remembered where what they led to varies.
        """
        candidates = [entry for entry in entries if entry.samples]
        led_to = {outcomes(entry) for entry in candidates}
        if len(led_to) > 1:
            if self.left:
                self._varied.append(here)
            return None
        dead = bool(candidates) and all((entry.share or 0.0) < 1.0 for entry in candidates)
        if not dead or not self.left or not self._varied:
            return None
        self.left -= 1
        return self._varied.pop()

    def rule_out(self, before: tuple[int, ...], line: Sequence[TokenChoice]) -> TokenChoice:
        """Rule out, where it stood, the token of a line that was least sure; return it.

        Args:
            before: the response's tokens before the line.
            line: how its tokens were decided; at least one.
        """
        place = min(range(len(line)), key=lambda n: line[n].logprob_guided)
        prefix = before + tuple(choice.id for choice in line[:place])
        self._ruled_out.setdefault(prefix, set()).add(line[place].id)
        return line[place]

    def allowed(self, response: tuple[int, ...], unconditional: Logprobs, guided: Guided) -> Guided:
        """Return a guided distribution of the next token without what is ruled out there.

        Where that leaves nothing, it is the unconditional distribution's turn.
        """
        ruled_out = self._ruled_out.get(response)
        if not ruled_out:
            return guided
        left = _without(guided.distribution, ruled_out)
        if left is None:
            left = _without(unconditional, ruled_out) or unconditional
        # In lists, who is second may be a token that none of them has.
        return Guided(left, certain=guided.certain and left.dense)


def _without(distribution: Logprobs, tokens: set[int]) -> Logprobs | None:
    """Return a distribution, not renormalised, without tokens; None where none is left."""
    values, ids = distribution.values, distribution.ids
    if ids is not None:
        kept = ~np.isin(ids, list(tokens))
        if not kept.any() or not np.isfinite(values[kept].max()):
            return None
        return Logprobs(values[kept], ids[kept], distribution.unlisted)
    xp = array_namespace(values)
    places = xp.arange(values.shape[0], device=device(values))
    for token in tokens:
        values = xp.where(places == token, -math.inf, values)
    return Logprobs(values) if bool(xp.isfinite(xp.max(values))) else None
