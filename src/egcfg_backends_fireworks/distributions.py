"""Turns a server's rows into token ids and distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import define, field

from egcfg.errors import BackendError
from egcfg.interfaces.backend import Logprobs
from egcfg_backends_fireworks.responses import Choice, MalformedResponseError, Row
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["END_TEXTS", "RowReader", "accounts_for_text", "check_row", "check_rows", "draft_rows"]

END_TEXTS = frozenset(
    {
        b"</s>",
        b"<eos>",
        b"<end_of_turn>",
        b"<|EOT|>",
        b"<|end_of_text|>",
        b"<|endoftext|>",
        b"<|eot_id|>",
        b"<|im_end|>",
        "<｜end▁of▁sentence｜>".encode(),  # noqa: RUF001 - DeepSeek's own spelling
    }
)
"""How widespread models spell their end of sequence, where a server shows it as text."""
HIDDEN_END_LOGPROB = -1e-6
SAME = 0.25
"""Nats by which a token's value and that of the same token in its row's list may differ: some
services compute them apart. Values of another token differ by more."""
ROUNDING = 1e-3
"""What the probabilities of a whole list may lack of one."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@define
class RowReader:
    """Reads rows with one vocabulary.

    Attributes:
        vocabulary: gives tokens their ids.
        top_k: alternatives kept per distribution.
        end_id: the model's end-of-sequence token, where the server tells it.
        end_ids: tokens known to end a sequence; grows as they are met.
    """

    vocabulary: Vocabulary
    top_k: int
    end_id: int | None = None
    end_ids: set[int] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        if self.end_id is not None and self.vocabulary.has_ids:
            self.vocabulary.learn(self.end_id, b"")
            self.end_ids.add(self.end_id)

    def distribution(self, row: Row, asked: int | None = None) -> Logprobs:
        """Return the row's alternatives, the `top_k` likeliest of them.

        Some servers add the generated token to the list even where it is less likely than as many
        others as were asked for; the cut takes it off again, since nothing is known about those in
        between.

        Args:
            row: the row.
            asked: how many were asked for; None: `top_k`.

        Raises:
            BackendError: none of the row's alternatives can be named.
        """
        ids: list[int] = []
        logprobs: list[float] = []
        for piece, logprob in row.alternatives[: min(asked or self.top_k, self.top_k)]:
            token = self.vocabulary.intern(piece)
            if token is None or token in ids:
                continue
            self._note_if_end(token)
            ids.append(token)
            logprobs.append(logprob)
        if not ids:
            raise BackendError(
                "the endpoint names none of its tokens by id; use a server that does, or one "
                "that takes text only"
            )
        return Logprobs(np.array(logprobs), np.array(ids))

    def token(self, row: Row) -> int | None:
        """Return the id of a row's token; None where the row does not stand for one token.

        llama.cpp's server writes the tokens of one character as a single row, with the bytes of
        all and the id of the last. Such a row's bytes are not its token's.
        """
        piece = row.token
        if self.vocabulary.has_ids and piece.id is not None:
            listed = next((other for other, _ in row.alternatives if other.id == piece.id), None)
            known = listed.content if listed else self.vocabulary.content(piece.id)
            content = piece.content
            if content is not None and not content.isascii() and content != known:
                return None
        token = self.vocabulary.intern(piece)
        if token is not None:
            self._note_if_end(token)
        return token

    def along(
        self, rows: Sequence[Row], asked: int | None = None
    ) -> tuple[list[Logprobs], list[int]]:
        """Return the distributions of generated rows, as far as they are certain, and their tokens.

        Where tokens that are one character share a row, it is not known whose distribution that
        row tells.

        Returns:
            Distributions, and the tokens that lead from one to the next: one fewer, where there are
            any.
        """
        distributions: list[Logprobs] = []
        tokens: list[int] = []
        for row in rows:
            token = self.token(row)
            if token is None:
                break
            distributions.append(self.distribution(row, asked))
            tokens.append(token)
            if token in self.end_ids:
                break
        return distributions, tokens[:-1]

    def of_draft(self, choice: Choice, draft: Sequence[int]) -> list[Logprobs]:
        """Return the distributions after a prefix and after each token of the draft that follows.

        Args:
            choice: the server's answer, an echo of the draft and one token more.
            draft: the tokens that were sent after the prefix.

        Raises:
            MalformedResponseError: as `draft_rows`.
        """
        rows = draft_rows(choice, draft, self.top_k)
        distributions = [self.distribution(row) for row in rows]
        if len(rows) == len(draft):
            distributions.append(self.hidden_end())
        return distributions

    def note_end(self, choice: Choice) -> None:
        """Learn the end-of-sequence token from a choice whose last row comes after its text.

        No request names stop texts, so ``"stop"`` always means that token.
        """
        if choice.finish != "stop" or not choice.rows:
            return
        contents = [row.token.content for row in choice.rows]
        before = b"".join(content for content in contents[:-1] if content is not None)
        if contents[-1] and before == choice.text.encode():
            token = self.vocabulary.intern(choice.rows[-1].token)
            if token is not None:
                self.end_ids.add(token)

    def hidden_end(self) -> Logprobs:
        """Return the distribution where a server ends the text without telling how likely that is.

        All that is known is that ending is the likeliest, so it is given the whole mass.
        """
        token = self.vocabulary.end_token() if self.end_id is None else self.end_id
        self.end_ids.add(token)
        return Logprobs(np.array([HIDDEN_END_LOGPROB]), np.array([token]))

    def _note_if_end(self, token: int) -> None:
        # Control tokens spell nothing where servers hide them; no program goes on with one.
        content = self.vocabulary.content(token)
        if content == b"" or content in END_TEXTS:
            self.end_ids.add(token)


def check_rows(choice: Choice, top_k: int) -> None:
    """See that a choice's rows account for its text, and each for its token.

    Characters that came out as replacement characters cannot be compared, and the row of the
    end-of-sequence token may come after the text.

    Args:
        choice: the choice.
        top_k: alternatives that the server gives per token.

    Raises:
        MalformedResponseError: rows or their alternatives are missing, or do not fit.
    """
    for row in choice.rows:
        check_row(row, top_k)
    if not accounts_for_text(choice):
        raise MalformedResponseError("rows that do not account for the text")


def accounts_for_text(choice: Choice) -> bool:
    """Whether a choice's rows spell its text, as far as that can be told."""
    contents = [row.token.content for row in choice.rows]
    known = [content for content in contents if content is not None]
    if len(known) < len(contents):
        return True  # ids only: nothing to compare
    spelt = b"".join(known).decode(errors="replace")
    text = choice.text.rstrip(REPLACEMENT)
    if REPLACEMENT in spelt or REPLACEMENT in text:
        return True
    return spelt.lstrip().startswith(text.lstrip())


def check_row(row: Row, top_k: int) -> None:
    """See that a row lists as many alternatives as it should, and its own token rightly.

    Args:
        row: the row.
        top_k: alternatives that the server gives per token.

    Raises:
        MalformedResponseError: alternatives are missing, or are those of another token.
    """
    if not row.alternatives:
        raise MalformedResponseError("a row without alternatives")
    # In a table of texts, tokens that are spelt alike are one entry.
    enough = top_k if row.alternatives[0][0].id is not None else top_k // 2
    if len(row.alternatives) < enough and not _complete(row):
        raise MalformedResponseError(
            f"a row with {len(row.alternatives)} alternatives instead of {top_k}"
        )
    named = row.token.id is not None and all(p.id is not None for p, _ in row.alternatives)
    if not named or row.logprob is None or not (row.token.content or b"").isascii():
        return  # tokens named by text may be spelt in two ways; some rows merge several tokens
    listed = [value for piece, value in row.alternatives if piece.id == row.token.id]
    if listed:
        fits = math.isclose(listed[0], row.logprob, abs_tol=SAME)
    else:
        fits = row.logprob <= row.alternatives[-1][1] + SAME
    if not fits:
        raise MalformedResponseError("a row with the alternatives of another token")


def draft_rows(choice: Choice, draft: Sequence[int], top_k: int) -> tuple[Row, ...]:
    """Return the rows of the draft's tokens, and of the token that was generated after them.

    That last row is missing where the sequence ended and the server does not show how.

    Args:
        choice: the server's answer.
        draft: the tokens that were sent after the prefix.
        top_k: alternatives that the server gives per token.

    Raises:
        MalformedResponseError: they are not there, or name other tokens than were sent.
    """
    rows = choice.rows[-len(draft) - 1 :]
    echoed = [row.token.id for row in rows[:-1]]
    if echoed != list(draft) and choice.finish == "stop" and draft:
        # The end, which was generated, may have no row.
        rows = rows[-len(draft) :]
        echoed = [row.token.id for row in rows]
    if len(rows) < len(draft) or not rows:
        raise MalformedResponseError(f"{len(choice.rows)} rows for a draft of {len(draft)} tokens")
    if echoed != list(draft):
        raise MalformedResponseError("an echo of other tokens than were sent")
    for row in rows:
        check_row(row, top_k)
    return rows


def _complete(row: Row) -> bool:
    """Whether a list that is short may still hold every token that is possible."""
    return sum(math.exp(logprob) for _, logprob in row.alternatives) > 1.0 - ROUNDING
