"""Guidance where the branches disagree only (conflict-aware decoding, arXiv 2606.10298)."""

from __future__ import annotations

from attrs import frozen

from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["GuideWhereBranchesDisagree"]


class GuideWhereBranchesDisagree(GuidanceRule):
    """The unconditional distribution where both branches prefer the same token, else the mixture.

    So no gamma overturns a token that both prefer. Exact for cut distributions: their likeliest
    tokens are known.
    """

    @frozen(kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the guided distribution.

        Raises:
            ValueError: one distribution is dense and the other is not.
        """
        if unconditional.argmax() == conditional.argmax():
            return Guided(unconditional)
        return mix(unconditional, conditional, gamma)
