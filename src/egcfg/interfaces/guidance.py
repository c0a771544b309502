"""The seam to guidance rules: two next-token distributions in, a guided one out.

A rule is a pure function without state: it knows nothing about prompts, programs or models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from egcfg.interfaces.backend import Logprobs

__all__ = ["GuidanceRule", "Guided"]


@frozen(eq=False)
class Guided:
    """A guided distribution.

    Attributes:
        distribution: renormalised; dense if both inputs were, else over the union of their tokens.
        certain: False where a token that one of the lists lacks could be the true argmax.
        unresolved: tokens of either list whose missing values keep it from being certain; empty
            where it is certain, or where no listed token is to blame.
    """

    distribution: Logprobs
    certain: bool = True
    unresolved: tuple[int, ...] = ()


GuidanceRule: TypeAlias = Callable[[Logprobs, Logprobs, float], Guided]
"""(unconditional, conditional, gamma) -> guided distribution."""
