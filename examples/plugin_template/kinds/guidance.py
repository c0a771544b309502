"""A rule that follows whichever branch is surer."""

from attrs import frozen

from egcfg import GuidanceRule, Guided


@frozen
class Options:
    """There is nothing to choose."""


class SurerBranch(GuidanceRule):
    """The conditional distribution where its likeliest token is likelier than the other's."""

    Options = Options

    def __init__(self, options):
        self.options = options

    def mix(self, unconditional, conditional, gamma):
        """Return one of the two."""
        surer = float(conditional.values.max()) > float(unconditional.values.max())
        return Guided(conditional if surer and gamma != 0 else unconditional)
