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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from attrs import evolve, field, frozen

from egcfg.interfaces.backend import Usage

__all__ = [
    "Choice",
    "Completion",
    "MalformedResponseError",
    "Piece",
    "Row",
    "Spelling",
    "continued_text",
    "parse_completion",
    "parse_json_object",
    "respelt",
]

TOKEN_ID_PREFIX = "token_id:"
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


BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


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
    value = parse_json_object(body)
    entries = _list(value.get("choices"), "choices")
    if not entries:
        raise MalformedResponseError("a response without choices")
    indexed = []
    for position, entry in enumerate(entries):
        choice = _mapping(entry, "a choice")
        index = choice.get("index")
        indexed.append((index if _is_int(index) else position, _choice(choice)))
    if sorted(index for index, _ in indexed) != list(range(len(indexed))):
        raise MalformedResponseError("choices that are not numbered one by one")
    choices = tuple(choice for _, choice in sorted(indexed, key=lambda item: item[0]))
    model = value.get("model")
    return Completion(
        choices=choices,
        usage=_usage(value.get("usage")),
        model=model if isinstance(model, str) and model else None,
    )


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
        if not named and listed:
            rows.append(Row(listed[0][0], listed[0][1], listed))
        else:
            rows.append(Row(_piece_as_text(row.token, spelling), row.logprob, listed))
    return evolve(choice, rows=tuple(rows))


def continued_text(choice: Choice, prefix: str) -> Choice:
    """Return a chat's choice whose text is what its rows spell, without the answer's beginning.

    Servers repeat that beginning or not, and may trim what is said. The end of the answer may have
    a row, but no text.
    """
    contents = [row.token.content for row in choice.rows]
    texts = {choice.text.removeprefix(prefix).strip(), choice.text.strip()}
    texts.add(choice.text.strip().removeprefix(prefix.strip()).strip())
    for length in (len(contents), len(contents) - 1):
        spelt = b"".join(content or b"" for content in contents[: max(0, length)])
        if (text := spelt.decode(errors="replace")).strip() in texts:
            return evolve(choice, text=text)
    return evolve(choice, text=choice.text.removeprefix(prefix))


def _choice(choice: Mapping[str, Any]) -> Choice:
    text = choice.get("text")
    if text is None and isinstance(message := choice.get("message"), dict):
        text = message.get("content") or ""
    if not isinstance(text, str):
        raise MalformedResponseError("a choice without text")
    finish = choice.get("finish_reason")
    if finish == "error":
        raise MalformedResponseError("a choice that ended in an error")
    token_ids = _optional_ids(choice.get("token_ids"), "token_ids")
    return Choice(
        text=_text(text),
        rows=_rows(choice.get("logprobs"), token_ids),
        finish=finish if isinstance(finish, str) else None,
        prompt_ids=_optional_ids(choice.get("prompt_token_ids"), "prompt_token_ids"),
    )


def _rows(logprobs: object, token_ids: Sequence[int] | None) -> tuple[Row, ...]:
    if logprobs is None:
        return ()
    table = _mapping(logprobs, "logprobs")
    if table.get("content") is not None:
        rows = tuple(_content_row(entry) for entry in _list(table["content"], "logprobs.content"))
    elif table.get("tokens") is not None:
        rows = _legacy_rows(table)
    else:
        return ()
    return rows if token_ids is None else _with_ids(rows, token_ids)


def _content_row(entry: object) -> Row:
    row = _mapping(entry, "a row of logprobs.content")
    alternatives = _list(row.get("top_logprobs") or [], "top_logprobs")
    return Row(
        token=_content_piece(row),
        logprob=_optional_logprob(row.get("logprob")),
        alternatives=_likeliest_first(
            (_content_piece(other), _logprob(other.get("logprob")))
            for other in (_mapping(entry, "an alternative") for entry in alternatives)
        ),
    )


def _content_piece(row: Mapping[str, Any]) -> Piece:
    token = row.get("token")
    if not isinstance(token, str):
        raise MalformedResponseError("a row without its token")
    identifier = row.get("token_id", row.get("id"))
    data = row.get("bytes")
    spelt = _piece(token)
    return Piece(
        id=identifier if _is_int(identifier) else spelt.id,
        data=None if data is None else _bytes(data),
        text=spelt.text,
    )


def _legacy_rows(table: Mapping[str, Any]) -> tuple[Row, ...]:
    tokens = _list(table["tokens"], "tokens")
    logprobs = _list(table.get("token_logprobs"), "token_logprobs")
    tops = table.get("top_logprobs")
    tops = [None] * len(tokens) if tops is None else _list(tops, "top_logprobs")
    if not len(tokens) == len(logprobs) == len(tops):
        raise MalformedResponseError(
            f"{len(tokens)} tokens with {len(logprobs)} log-probabilities "
            f"and {len(tops)} lists of alternatives"
        )
    rows = []
    for token, logprob, top in zip(tokens, logprobs, tops, strict=True):
        if not isinstance(token, str):
            raise MalformedResponseError("a token that is no text")
        alternatives = _mapping({} if top is None else top, "top_logprobs")
        rows.append(
            Row(
                token=_piece(token),
                logprob=_optional_logprob(logprob),
                alternatives=_likeliest_first(
                    (_piece(other), _logprob(value)) for other, value in alternatives.items()
                ),
            )
        )
    return _with_ids(tuple(rows), _optional_ids(table.get("token_ids"), "logprobs.token_ids"))


def _with_ids(rows: tuple[Row, ...], ids: Sequence[int] | None) -> tuple[Row, ...]:
    if ids is None:
        return rows
    if len(ids) < len(rows) and all(row.token.id is not None for row in rows):
        # An echo's rows name themselves; the ids are those of what was generated after them.
        return rows[: -len(ids)] + _with_ids(rows[-len(ids) :], ids) if ids else rows
    if len(ids) != len(rows):
        raise MalformedResponseError(f"{len(rows)} rows with {len(ids)} token ids")
    merged = []
    for row, identifier in zip(rows, ids, strict=True):
        if row.token.id not in (None, identifier):
            raise MalformedResponseError(
                f"the token ids {row.token.id} and {identifier} for the same row"
            )
        token = Piece(identifier, row.token.data, row.token.text)
        merged.append(Row(token, row.logprob, row.alternatives))
    return tuple(merged)


def _piece(token: str) -> Piece:
    """Return the piece that a server's spelling stands for: vLLM can write ids as text."""
    if token.startswith(TOKEN_ID_PREFIX):
        digits = token.removeprefix(TOKEN_ID_PREFIX)
        if digits.isascii() and digits.isdigit() and len(digits) < 10:
            return Piece(id=int(digits))
    return Piece(text=_text(token))


def _text(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise MalformedResponseError("text with half a character")
    return text


def _likeliest_first(
    pairs: Iterable[tuple[Piece, float]],
) -> tuple[tuple[Piece, float], ...]:
    possible = [pair for pair in pairs if pair[1] != -math.inf]
    if (mass := sum(math.exp(logprob) for _, logprob in possible)) > 1.0 + MASS:
        raise MalformedResponseError(f"alternatives whose probabilities add up to {mass:.3g}")
    return tuple(sorted(possible, key=lambda pair: -pair[1]))


def _piece_as_text(piece: Piece, spelling: Spelling) -> Piece:
    if spelling is Spelling.TEXT or piece.text is None or piece.data is not None:
        return piece
    data = _of_byte_level(piece.text) if spelling is Spelling.BYTE_LEVEL else None
    if spelling is Spelling.SENTENCEPIECE:
        byte = BYTE_TOKEN.fullmatch(piece.text)
        data = bytes([int(byte[1], 16)]) if byte else piece.text.replace("\u2581", " ").encode()
    return piece if data is None else Piece(piece.id, data, data.decode(errors="replace"))


def _of_byte_level(text: str) -> bytes | None:
    """Return the bytes that characters of a byte-level vocabulary stand for; None: not such."""
    if not set(text) <= BYTE_OF_CHARACTER.keys():
        return None
    return bytes(BYTE_OF_CHARACTER[character] for character in text)


def _byte_of_character() -> dict[str, int]:
    # Printable Latin-1 characters stand for themselves, the others for those from U+0100 on
    # (Radford et al. 2019).
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _optional_logprob(value: object) -> float | None:
    return None if value is None else _logprob(value)


def _logprob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedResponseError("a log-probability that is no number")
    if isinstance(value, int) and abs(value) > LARGEST_ID:
        raise MalformedResponseError("a log-probability out of all bounds")
    if math.isnan(value) or value > ROUNDING:
        raise MalformedResponseError(f"a log-probability of {value}")
    return min(float(value), 0.0)


def _optional_ids(value: object, what: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    ids = _list(value, what)
    if not all(_is_int(item) for item in ids):
        raise MalformedResponseError(f"{what} that are no integers")
    return tuple(ids)


def _bytes(value: object) -> bytes:
    numbers = _list(value, "bytes")
    if not all(_is_int(number) and number < 256 for number in numbers):
        raise MalformedResponseError("bytes that are none")
    return bytes(numbers)


def _usage(value: object) -> Usage:
    # Counts are bookkeeping: an odd one is no reason to throw an answer away.
    usage = value if isinstance(value, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(details.get("cached_tokens") if isinstance(details, dict) else None),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int:
    return value if _is_int(value) else 0


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedResponseError(f"{what} that are no list")
    return value


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedResponseError(f"{what} that is no object")
    return value


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode(errors="replace").split())
    return repr(text if len(text) <= 120 else text[:117] + "...")


BYTE_OF_CHARACTER = _byte_of_character()
