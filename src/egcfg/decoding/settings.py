"""The settings of guided decoding, as the paper names them, and policies that depart from it."""

from __future__ import annotations

import enum
import math
from typing import cast

from attrs import converters, field, frozen, validators

__all__ = ["PAPER", "Comments", "DecodingSettings", "GuidanceUnit", "Order", "Policies", "Verdicts"]


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
        drafts: whether candidates serve as drafts for the guided line; changes no choice that
            rounding does not turn (`egcfg.interfaces.backend.Capabilities.rounding`).
    """

    gamma: float = field(default=1.0, converter=_without_minus_zero, validator=_finite)
    temperature: float = field(default=0.7, converter=float, validator=[_finite, validators.ge(0)])
    candidates: int = field(default=3, validator=validators.ge(1))
    horizon: int | None = field(
        default=cast("int | None", 2), validator=validators.optional(validators.ge(1))
    )
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


class Comments(enum.StrEnum):
    """Whether programs keep their comments and docstrings when they are run and shown."""

    DROP = "drop"
    KEEP = "keep"


class Verdicts(enum.StrEnum):
    """What the signal says of verdicts: nothing, which ones, or also what the tests want."""

    OFF = "off"
    MARK = "mark"
    VALUES = "values"


class Order(enum.StrEnum):
    """The order of programs in the signal.

    ``STANDING``: those that the signal before showed come first. ``BEST_FIRST``: those that pass
    most visible tests; one that fails as an earlier one does is dropped.
    """

    STANDING = "standing"
    BEST_FIRST = "best_first"


@frozen(kw_only=True)
class Policies:
    """How single lines depart from the paper; with all of them off nothing does.

    At gamma 0 nothing is guided, and no policy acts.

    Attributes:
        accept: whether the first whole program that passes all visible tests is the answer: a
            candidate's, or the solution so far.
        confident: a line is taken from the unconditional model, without sampling or signal, where
            at every token of its greedy line the likeliest one's probability is above this, in
            (0, 1]; None: no line is. At 1 none is either.
        gate: whether a line is guided only where candidates differ in what running them led to;
            else the signal is not read.
        comments: whether programs are run and shown as they were written, with comments and
            docstrings, rather than without them.
        verdicts: what the signal says of each run beside its trace: whether it satisfies its
            visible test, and what that wants.
        order: of the programs in the signal.
        signed: whether guidance leads away from programs that fail, with the strength -|gamma|,
            among tokens of at least a tenth of the likeliest one's unconditional probability; and
            towards programs that pass with |gamma|. Where some pass more than others, it leads
            towards those, away from the others, by the contrast of the two, among such tokens.
        rollback: how often to go back to an earlier line at most: to the last one whose candidates
            led to different results, where all of a later one fail alike.
        placebo: whether the signals of another task are shown, which is decoded before: the control
            for what execution does. It excludes the policies that go by what programs led to.

    Raises:
        ValueError: `placebo` with one of these.
    """

    accept: bool = False
    confident: float | None = field(
        default=None,
        converter=converters.optional(float),
        validator=validators.optional([validators.gt(0), validators.le(1)]),
    )
    gate: bool = False
    comments: Comments = field(default=Comments.DROP, converter=Comments)
    verdicts: Verdicts = field(default=Verdicts.OFF, converter=Verdicts)
    order: Order = field(default=Order.STANDING, converter=Order)
    signed: bool = False
    rollback: int = field(default=0, validator=validators.ge(0))
    placebo: bool = False

    def __attrs_post_init__(self) -> None:
        if self.placebo and (self.gate or self.judges):
            raise ValueError(
                "placebo excludes gate, verdicts, order, signed and rollback; leave one out"
            )

    @property
    def judges(self) -> bool:
        """Whether the programs of a signal are judged by the visible tests."""
        by_verdicts = (self.signed, self.rollback, self.verdicts is not Verdicts.OFF)
        return any(by_verdicts) or self.order is not Order.STANDING


PAPER = Policies()
"""All policies off."""
