"""Scores a drafted line in one request: sent as the end of the prompt, which the server echoes."""

from __future__ import annotations

from collections.abc import Sequence

from egcfg.backend import TokenLogprobs
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.options import DraftPolicy
from egcfg_backends_fireworks.probe import Echo, ServerProfile
from egcfg_backends_fireworks.responses import Choice, MalformedResponseError, Row

__all__ = ["draft_distributions", "draft_rows", "scores_drafts"]


def scores_drafts(profile: ServerProfile, policy: DraftPolicy) -> bool:
    """Whether drafts are to be sent to this server.

    Only where prompts are token ids: re-tokenised text might not have the draft's tokens.
    """
    if not profile.ids_throughout or policy is DraftPolicy.PER_TOKEN:
        return False
    if policy is DraftPolicy.AUTO:
        return profile.echo_last
    return profile.echo_last or profile.echo is Echo.RIGHT


def draft_rows(choice: Choice, draft: Sequence[int]) -> tuple[Row, ...]:
    """Return the rows of the draft's tokens, and of the token that was generated behind them.

    Raises:
        MalformedResponseError: they are not there, or name other tokens than were sent.
    """
    wanted = len(draft) + 1
    rows = choice.rows[-wanted:]
    if len(rows) < wanted or not all(row.alternatives for row in rows):
        raise MalformedResponseError(f"{len(choice.rows)} rows for a draft of {len(draft)} tokens")
    echoed = [row.token.id for row in rows[:-1]]
    if echoed != list(draft):
        raise MalformedResponseError("an echo of other tokens than were sent")
    return rows


def draft_distributions(
    reader: RowReader, choice: Choice, draft: Sequence[int]
) -> list[TokenLogprobs]:
    """Return the distributions after the sequence and after each token of the draft.

    Raises:
        MalformedResponseError: as `draft_rows`.
    """
    return [reader.distribution(row) for row in draft_rows(choice, draft)]
