"""Settles guided choices that top-k lists leave open, by asking for the values that they lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egcfg.backend import LogprobBackend, LogprobQuery, TokenLogprobs, TokenSequence
from egcfg.guidance import GuidanceRule, Guided

__all__ = ["settle"]

ROUNDS: Final = 3
"""Times that values are fetched for one choice at most: each round may bring up other tokens."""


def settle(
    backend: LogprobBackend,
    rule: GuidanceRule,
    gamma: float,
    sequences: Sequence[TokenSequence],
    lists: Sequence[TokenLogprobs],
    guided: Guided,
) -> tuple[TokenLogprobs, Guided]:
    """Mix again from as many exact values as the choice needs.

    Args:
        backend: one that has `egcfg.backend.Capabilities.exact_logprobs`.
        rule: mixes.
        gamma: the strength of guidance.
        sequences: the unconditional and the conditional branch.
        lists: their next-token distributions, cut.
        guided: what they mix to.

    Returns:
        The unconditional distribution with its exact values, and the guided one.

    Raises:
        BackendError: the model did not answer.
    """
    known = list(lists)
    for _ in range(ROUNDS):
        asked = [
            (number, LogprobQuery(sequence, tokens))
            for number, sequence in enumerate(sequences)
            if (tokens := tuple(t for t in guided.doubts if not known[number].lists(t)))
        ]
        if not asked:
            break
        answers = backend.logprobs([query for _, query in asked])
        for (number, query), values in zip(asked, answers, strict=True):
            known[number] = known[number].with_values(query.tokens, values)
        guided = rule(known[0], known[1], gamma)
    return known[0], guided
