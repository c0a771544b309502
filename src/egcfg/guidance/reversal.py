"""Guidance as a choice between the branches (GRD: gamma against a reversal threshold)."""

from __future__ import annotations

from attrs import frozen

from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["ChooseOneBranch"]


class ChooseOneBranch(GuidanceRule):
    """One of the two distributions: the conditional one where gamma exceeds a threshold.

    Where the branches prefer different tokens, each has a margin by which it prefers its own. The
    threshold is the unconditional branch's share of both margins together, in [0, 1]: the mixture's
    gamma from which on the conditional branch's token beats the other. No third token is chosen.
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
        if unconditional.dense != conditional.dense:
            raise ValueError("cannot mix a dense distribution with a cut one")
        own, wanted = unconditional.argmax(), conditional.argmax()
        if own == wanted or gamma <= 0.0:
            return Guided(unconditional)
        # What a list lacks is at most its bound, so that the margin is at least this.
        margin = unconditional.logprob(own) - unconditional.logprob(wanted)
        other = conditional.logprob(wanted) - conditional.logprob(own)
        if gamma >= 1.0:
            return Guided(conditional)
        # A larger margin would only confirm the branch that is chosen; that of the other branch
        # must be known.
        if gamma * (margin + other) > margin:
            chosen, certain, needed = conditional, unconditional.lists(wanted), wanted
        else:
            chosen, certain, needed = unconditional, conditional.lists(own), own
        return Guided(chosen, certain, () if certain else (needed,))
