"""Classifier-free guidance, the rule of the paper (section 3)."""

from __future__ import annotations

from attrs import frozen

from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["ClassifierFreeGuidance"]


class ClassifierFreeGuidance(GuidanceRule):
    """``log P = log P_uncond + gamma (log P_cond - log P_uncond)``, renormalised."""

    @frozen(kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the mixture; see `egcfg.guidance.mixture.mix`.

        Raises:
            ValueError: one distribution is dense and the other is not.
        """
        return mix(unconditional, conditional, gamma)
