"""Reads completion responses: raw JSON in, validated choices out. Pure functions, no network.

Servers answer in two shapes, told apart by their keys: the *legacy* parallel arrays
(``tokens``, ``token_logprobs``, ``top_logprobs``) and the *content* list of row objects. The SDKs'
response classes mistake one for the other, so nothing of theirs is used here. A chat's answer has
its text in ``message.content``, and rows of the second shape.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from attrs import evolve, field, frozen

from egcfg.interfaces.usage import Usage

__all__ = [
    "Choice",
    "Completion",
    "MalformedResponseError",
    "Piece",
    "Row",
    "Spelling",
    "checked_text",
    "continued_text",
    "parse_completion",
    "parse_json_object",
    "read_as",
    "respelt",
]

T = TypeVar("T")
TOKEN_ID = re.compile(r"token_id:([0-9]{1,9})")
BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
ROUNDING = 1e-3
"""A log-probability may exceed 0 by this much: servers round, and compute in half precision."""
MASS = 0.02
"""By how much the probabilities of a list may exceed 1 together."""
LARGEST_ID = 2**31 - 1
"""Above every model's vocabulary: what is larger is no id, and no count."""


class Spelling(enum.StrEnum):
    """How a server spells its tokens.

    * ``TEXT``: as what they stand for.
    * ``BYTE_LEVEL``: as vocabularies of byte-level BPE hold them, each byte a printable character.
    * ``SENTENCEPIECE``: with a lower block for a space, and ``<0x0A>`` for a byte.
    """

    TEXT = "text"
    BYTE_LEVEL = "byte-level BPE"
    SENTENCEPIECE = "SentencePiece"


class MalformedResponseError(Exception):
    """A body that is no usable answer; asking again may bring one.

    Attributes:
        body: the body where it tells of an error; empty otherwise.
    """

    def __init__(self, reason: str, body: str = "") -> None:
        super().__init__(reason)
        self.body = body


@frozen
class Piece:
    """One token as a server names it; at least one of the three is known.

    Attributes:
        id: the model's own token id.
        data: the token's exact bytes.
        text: the token as the server spells it; lossy where its bytes are no whole characters.
    """

    id: int | None = None
    data: bytes | None = None
    text: str | None = None

    @property
    def content(self) -> bytes | None:
        """The token's bytes, from `data` or else `text`; None where only its id is known."""
        if self.data is not None:
            return self.data
        return None if self.text is None else self.text.encode()


@frozen
class Row:
    """One position: the token there, and the likeliest ones that could be.

    Attributes:
        token: the token.
        logprob: its log-probability; None where there is none (a prompt's first token).
        alternatives: the likeliest tokens with their log-probabilities, in descending order,
            impossible ones (minus infinity) left out.
    """

    token: Piece
    logprob: float | None
    alternatives: tuple[tuple[Piece, float], ...] = ()


@frozen(kw_only=True)
class Choice:
    """One completion of the prompt.

    Attributes:
        text: its text.
        rows: one per token; empty where the server sent no log-probabilities.
        finish: why it ended: ``"stop"``, ``"length"`` or another word of the server's.
        prompt_ids: the ids of its prompt, where the server sent them.
    """

    text: str
    rows: tuple[Row, ...] = ()
    finish: str | None = None
    prompt_ids: tuple[int, ...] | None = None


@frozen(kw_only=True)
class Completion:
    """A whole response.

    Attributes:
        choices: at least one, in the order of their ``index``.
        usage: token counts as the server reports them; 0 where it does not.
        model: whose answer the server says it is; None: it does not say.
    """

    choices: tuple[Choice, ...]
    usage: Usage = field(factory=Usage)
    model: str | None = None


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` holds.

    Raises:
        MalformedResponseError: it is empty, no JSON, no object, or an error in a 200.
    """
    if not body.strip():
        raise MalformedResponseError("an empty body")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedResponseError(f"a body that is no JSON: {_excerpt(body)}") from None
    if not isinstance(value, dict):
        raise MalformedResponseError(f"a body that is no JSON object: {_excerpt(body)}")
    if value.get("error"):
        told = body[:4096].decode(errors="replace")
        raise MalformedResponseError(f"an error with status 200: {_excerpt(body)}", told)
    return value


def parse_completion(body: bytes) -> Completion:
    """Return the choices and counts of a completion response.

    Raises:
        MalformedResponseError: anything in it is missing, of a wrong type, not finite, or does
            not fit the rest (rows of different number, ids that are not one per token).
    """
    return read_as(_completion, parse_json_object(body))


def read_as(read: Callable[[dict[str, Any]], T], value: dict[str, Any]) -> T:
    """Return what `read` makes of JSON: what is of another type than it should be fails in there.

    Raises:
        MalformedResponseError: it fails.
    """
    try:
        return read(value)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MalformedResponseError(f"an answer of another form ({reason[:120]})") from None


def respelt(choice: Choice, spelling: Spelling, *, named: bool) -> Choice:
    """Return a choice whose tokens are what they stand for.

    Args:
        choice: as the server words it.
        spelling: how the server spells its tokens.
        named: whether a row is named after its own token; otherwise it gets the likeliest one,
            which is right where the text is greedy.
    """
    if named and spelling is Spelling.TEXT:
        return choice
    rows = []
    for row in choice.rows:
        listed = tuple((_piece_as_text(p, spelling), logprob) for p, logprob in row.alternatives)
        token, logprob = _piece_as_text(row.token, spelling), row.logprob
        if not named and listed:
            token, logprob = listed[0]
        rows.append(Row(token, logprob, listed))
    return evolve(choice, rows=tuple(rows))


def continued_text(choice: Choice, prefix: str) -> Choice:
    """Return a chat's choice whose text is what its rows spell, without the answer's beginning.

    Servers repeat that beginning or not, and may trim what is said. The end of the answer may have
    a row, but no text.
    """
    contents = [row.token.content or b"" for row in choice.rows]
    texts = {choice.text.removeprefix(prefix).strip(), choice.text.strip()}
    texts.add(choice.text.strip().removeprefix(prefix.strip()).strip())
    for spelt in (contents, contents[:-1]):
        if (text := b"".join(spelt).decode(errors="replace")).strip() in texts:
            return evolve(choice, text=text)
    return evolve(choice, text=choice.text.removeprefix(prefix))


def _completion(value: dict[str, Any]) -> Completion:
    choices = [_choice(choice) for choice in value["choices"]]
    if not choices:
        raise MalformedResponseError("a response without choices")
    places = [choice.get("index", place) for place, choice in enumerate(value["choices"])]
    ordered = dict(zip(places, choices, strict=True))
    if ordered.keys() != set(range(len(choices))):
        raise MalformedResponseError("choices that are not numbered one by one")
    model = value.get("model")
    return Completion(
        choices=tuple(ordered[place] for place in range(len(choices))),
        usage=_usage(value.get("usage")),
        model=model if isinstance(model, str) and model else None,
    )


def _choice(choice: Mapping[str, Any]) -> Choice:
    text = choice.get("text")
    if text is None:
        text = choice["message"].get("content") or ""
    if choice.get("finish_reason") == "error":
        raise MalformedResponseError("a choice that ended in an error")
    rows = _rows(choice.get("logprobs") or {})
    return Choice(
        text=checked_text(text),
        rows=_with_ids(rows, _ids(choice.get("token_ids"))),
        finish=choice.get("finish_reason"),
        prompt_ids=_ids(choice.get("prompt_token_ids")),
    )


def _rows(table: Mapping[str, Any]) -> tuple[Row, ...]:
    if table.get("content") is not None:
        return tuple(map(_row, table["content"]))
    if table.get("tokens") is None:
        return ()
    tokens, values, tops = table["tokens"], table["token_logprobs"], table.get("top_logprobs")
    rows = tuple(
        Row(
            _piece(token),
            None if logprob is None else _logprob(logprob),
            _likeliest_first((_piece(other), value) for other, value in (top or {}).items()),
        )
        for token, logprob, top in zip(tokens, values, tops or [None] * len(tokens), strict=True)
    )
    return _with_ids(rows, _ids(table.get("token_ids")))


def _row(row: Mapping[str, Any]) -> Row:
    logprob = row.get("logprob")
    others = row.get("top_logprobs") or ()
    return Row(
        _named(row),
        None if logprob is None else _logprob(logprob),
        _likeliest_first((_named(other), other["logprob"]) for other in others),
    )


def _named(row: Mapping[str, Any]) -> Piece:
    told, data, spelt = row.get("token_id", row.get("id")), row.get("bytes"), _piece(row["token"])
    return Piece(
        told if _is_count(told) else spelt.id, None if data is None else bytes(data), spelt.text
    )


def _with_ids(rows: tuple[Row, ...], ids: Sequence[int] | None) -> tuple[Row, ...]:
    if ids is None or not rows:
        return rows
    if len(ids) < len(rows) and all(row.token.id is not None for row in rows):
        # An echo's rows name themselves; the ids are those of what was generated after them.
        return rows[: -len(ids)] + _with_ids(rows[-len(ids) :], ids) if ids else rows
    if len(ids) != len(rows):
        raise MalformedResponseError(f"{len(rows)} rows with {len(ids)} token ids")
    for row, told in zip(rows, ids, strict=True):
        if row.token.id not in (None, told):
            raise MalformedResponseError(f"the token ids {row.token.id} and {told} for one row")
    return tuple(
        evolve(row, token=evolve(row.token, id=told)) for row, told in zip(rows, ids, strict=True)
    )


def _piece(token: str) -> Piece:
    """Return the piece that a server's spelling stands for: vLLM can write ids as text."""
    if named := TOKEN_ID.fullmatch(token):
        return Piece(id=int(named[1]))
    return Piece(text=checked_text(token))


def _likeliest_first(
    pairs: Iterable[tuple[Piece, object]],
) -> tuple[tuple[Piece, float], ...]:
    told = [(piece, _logprob(value)) for piece, value in pairs]
    possible = [pair for pair in told if pair[1] != -math.inf]
    if (mass := sum(math.exp(logprob) for _, logprob in possible)) > 1.0 + MASS:
        raise MalformedResponseError(f"alternatives whose probabilities add up to {mass:.3g}")
    return tuple(sorted(possible, key=lambda pair: -pair[1]))


def _piece_as_text(piece: Piece, spelling: Spelling) -> Piece:
    if spelling is Spelling.TEXT or piece.text is None or piece.data is not None:
        return piece
    if spelling is Spelling.BYTE_LEVEL:
        if not set(piece.text) <= BYTE_OF_CHARACTER.keys():
            return piece
        data = bytes(BYTE_OF_CHARACTER[character] for character in piece.text)
    else:
        byte = BYTE_TOKEN.fullmatch(piece.text)
        data = bytes([int(byte[1], 16)]) if byte else piece.text.replace("\u2581", " ").encode()
    return Piece(piece.id, data, data.decode(errors="replace"))


def _byte_of_character() -> dict[str, int]:
    # Printable Latin-1 characters stand for themselves, the others for those from U+0100 on
    # (Radford et al. 2019).
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _usage(value: object) -> Usage:
    # Counts are bookkeeping: an odd one is no reason to throw an answer away.
    usage = value if isinstance(value, dict) else {}
    details = usage.get("prompt_tokens_details")
    counts = (
        usage.get("prompt_tokens"),
        details.get("cached_tokens") if isinstance(details, dict) else None,
        usage.get("completion_tokens"),
    )
    sent, cached, generated = (count if _is_count(count) else 0 for count in counts)
    return Usage(input_tokens=sent, cached_tokens=min(cached, sent), output_tokens=generated)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID


def _ids(value: Sequence[object] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    ids = tuple(filter(_is_count, value))
    if len(ids) < len(value):
        raise MalformedResponseError("token ids that are none")
    return ids


def checked_text(value: object) -> str:
    """Return `value` if it is a whole text.

    Raises:
        MalformedResponseError: it is none, or holds half a character.
    """
    if not isinstance(value, str):
        raise MalformedResponseError(f"a {type(value).__name__} where a text should be")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedResponseError("text with half a character")
    return value


def _logprob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedResponseError("a log-probability that is no number")
    if not value <= ROUNDING or (isinstance(value, int) and abs(value) > LARGEST_ID):
        raise MalformedResponseError("a log-probability out of all bounds")
    return min(float(value), 0.0)


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode(errors="replace").split())
    return repr(text if len(text) <= 120 else text[:117] + "...")


BYTE_OF_CHARACTER = _byte_of_character()
