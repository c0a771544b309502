"""The built-in guidance rules: pure functions of two next-token distributions."""

from __future__ import annotations

from collections.abc import Mapping

from egcfg.errors import UnknownNameError
from egcfg.guidance.cfg import classifier_free_guidance
from egcfg.interfaces.guidance import GuidanceRule

__all__ = ["RULES", "classifier_free_guidance", "guidance_rule"]

RULES: Mapping[str, GuidanceRule] = {"cfg": classifier_free_guidance}
"""The guidance rules by name."""


def guidance_rule(name: str) -> GuidanceRule:
    """Return the rule of that name.

    Raises:
        UnknownNameError: there is none.
    """
    try:
        return RULES[name]
    except KeyError:
        raise UnknownNameError("guidance rule", name, RULES) from None
