"""The settings of guided decoding, as the paper names them, and the policies that depart from it."""

from __future__ import annotations

import enum
import math

from attrs import field, frozen, validators

__all__ = ["PAPER", "DecodingSettings", "GuidanceUnit", "Policies"]


class GuidanceUnit(enum.StrEnum):
    """For how long one signal guides: a line, a single token, or the whole solution."""

    LINE = "line"
    TOKEN = "token"
    PREFIX = "prefix"


def _without_minus_zero(value: float) -> float:
    return float(value) + 0.0


def _finite(_: object, attribute: object, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{getattr(attribute, 'name', 'value')} must be a finite number")


@frozen(kw_only=True)
class DecodingSettings:
    """How one solution is decoded (section 3 of the paper; ALGORITHM of the method).

    Attributes:
        gamma: guidance strength: 0 the unconditional model, 1 the conditional one, above 1
            amplified; below 0 away from what the signal shows.
        temperature: of the sampled candidates (t).
        candidates: sampled per signal (s).
        horizon: further lines per candidate (d); None: to the end of the code.
        signal_interval: lines between two signals (k).
        unit: for how long one signal guides.
        partial: whether the solution so far is executed and shown as well, without a candidate.
        top_p: nucleus mass of the sampled candidates.
        max_tokens: response tokens at most.
        signal_tokens: token budget of the rendered signal: most of what a guided line costs is
            reading it.
        seed: of the sampled candidates.
        guided_temperature: of the guided choice itself: 0 takes the likeliest token, else one is
            sampled.
        reuse_candidates: whether candidates that the response follows live on, instead of all being
            sampled anew for each signal (`egcfg.decoding.candidates` says what that changes).
        drafts: whether candidates serve as drafts for the guided line; never changes the text.
    """

    gamma: float = field(default=1.0, converter=_without_minus_zero, validator=_finite)
    temperature: float = field(default=0.7, converter=float, validator=[_finite, validators.ge(0)])
    candidates: int = field(default=3, validator=validators.ge(1))
    horizon: int | None = field(default=2)
    signal_interval: int = field(default=1, validator=validators.ge(1))
    unit: GuidanceUnit = field(default=GuidanceUnit.LINE, converter=GuidanceUnit)
    partial: bool = False
    top_p: float = field(default=0.95, validator=[validators.gt(0), validators.le(1)])
    max_tokens: int = field(default=512, validator=validators.ge(1))
    signal_tokens: int = field(default=600, validator=validators.ge(64))
    seed: int = 0
    guided_temperature: float = field(
        default=0.0, converter=float, validator=[_finite, validators.ge(0)]
    )
    reuse_candidates: bool = True
    drafts: bool = True

    @horizon.validator
    def _at_least_one_line(self, _: object, horizon: int | None) -> None:
        if horizon is not None and horizon < 1:
            raise ValueError("horizon must be at least one line, or None for no limit")


@frozen(kw_only=True)
class Policies:
    """How single lines depart from the paper; with all of them off nothing does.

    At gamma 0 nothing is guided, and no policy acts.

    Attributes:
        accept: whether the first whole program that passes all visible tests is the answer: a
            candidate's, or the solution so far.
    """

    accept: bool = False


PAPER = Policies()
"""All policies off."""
