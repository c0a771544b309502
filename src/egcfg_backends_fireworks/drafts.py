"""Scores a drafted line in one request: sent as the end of the prompt, which the server echoes."""

from __future__ import annotations

from collections.abc import Sequence

from egcfg.interfaces.backend import TokenLogprobs
from egcfg_backends_fireworks.distributions import RowReader, check_row
from egcfg_backends_fireworks.likeness import Echo
from egcfg_backends_fireworks.options import DraftPolicy
from egcfg_backends_fireworks.probe import ServerProfile
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


def draft_rows(choice: Choice, draft: Sequence[int], top_k: int) -> tuple[Row, ...]:
    """Return the rows of the draft's tokens, and of the token that was generated behind them.

    That last row is missing where the sequence ended and the server does not show how.

    Args:
        choice: the server's answer.
        draft: the tokens that were sent behind the sequence.
        top_k: alternatives that the server gives per token.

    Raises:
        MalformedResponseError: they are not there, or name other tokens than were sent.
    """
    rows = choice.rows[-len(draft) - 1 :]
    echoed = _ids(rows[:-1])
    if echoed != list(draft) and choice.finish == "stop" and draft:
        # The end, which was generated, may have no row.
        rows = rows[-len(draft) :]
        echoed = _ids(rows)
    if len(rows) < len(draft) or not rows:
        raise MalformedResponseError(f"{len(choice.rows)} rows for a draft of {len(draft)} tokens")
    if echoed != list(draft):
        raise MalformedResponseError("an echo of other tokens than were sent")
    for row in rows:
        check_row(row, top_k)
    return rows


def draft_distributions(
    reader: RowReader, choice: Choice, draft: Sequence[int], end_id: int | None
) -> list[TokenLogprobs]:
    """Return the distributions after the sequence and after each token of the draft.

    Args:
        reader: reads the rows.
        choice: the server's answer.
        draft: the tokens that were sent behind the sequence.
        end_id: the model's end-of-sequence token, where it is known.

    Raises:
        MalformedResponseError: as `draft_rows`.
    """
    rows = draft_rows(choice, draft, reader.top_k)
    distributions = [reader.distribution(row) for row in rows]
    if len(rows) == len(draft):
        distributions.append(reader.hidden_end(end_id))
    return distributions


def _ids(rows: Sequence[Row]) -> list[int | None]:
    return [row.token.id for row in rows]
