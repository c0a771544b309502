"""The seam to guidance rules: two next-token distributions in, a guided one out.

A rule knows nothing about prompts, programs or models. It is also called along tokens that may
never be chosen, so it holds no state: the same two distributions give the same answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

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


class GuidanceRule(ABC):
    """Combines the unconditional and the conditional distribution of the next token.

    Subclasses take one argument, an instance of their options class.
    """

    Options: ClassVar[type]
    """The attrs class of this rule's options."""

    @abstractmethod
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the guided distribution.

        Args:
            unconditional: the distribution without the signal. Dense: shape (vocab,), an array of
                any library that follows the array API standard. Cut: the k likeliest tokens.
            conditional: the one with the signal, dense if and only if `unconditional` is.
            gamma: guidance strength; 0 must give `unconditional`. Below 0 it leads away from what
                the signal shows.
        """
