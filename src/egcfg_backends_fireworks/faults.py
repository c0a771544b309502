"""What can go wrong between here and a server, and what each fault calls for.

```
Exception
├── TransientFault           ask again: connection, timeout, 408, 425, 429, >= 500, malformed body
└── EgcfgError
    ├── UsageError
    │   └── NotServedError   stop the run: 401, 402, 403, 404, 412
    └── BackendError
        ├── RejectedRequestError   never ask again: 400, the other 4xx, 501
        └── ContextOverflowError   the prompt is too long: shorten the signal
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from attrs import define, field

from egcfg.errors import BackendError, ContextOverflowError, UsageError

__all__ = [
    "NotServedError",
    "RejectedRequestError",
    "TransientFault",
    "fault_of_status",
    "overflow_of",
]

OVERFLOW_CODES = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
    }
)
"""How servers name it that a prompt is too long, as an error's ``code`` or ``type``."""
OVERFLOW_WORDS = re.compile(
    r"context[ -](?:length|size|window|limit)"
    r"|(?:prompt|input|sequence|request)s? (?:is |are )?(?:too|longer)"
    r"|max[_ ]?(?:imum)?[_ ]?(?:input|prompt|seq|sequence|model|sum)[_ ]?(?:len|length|tokens?)"
    r"|(?:length|tokens) .{0,40}(?:exceeds|greater than|longer than|above|must be <=)"
    r"|(?:prompt|inputs?`?) .{0,40}(?:exceeds|longer than|should not exceed|have less than)"
    r"|exceeds .{0,30}(?:context|token limit|maximum)",
    re.IGNORECASE,
)
"""How they word it; no two do so alike, and some give neither numbers nor a code."""
AVAILABLE = tuple(
    re.compile(rf"{words}[^.\d]{{0,60}}?(\d[\d,]*)", re.IGNORECASE)
    for words in (
        "context[ -](?:length|size|window|limit)",
        "(?:max[a-z_ ]*|<=|>|exceed|than)",
    )
)
"""What comes before the number of tokens that a model takes; the first that is found."""
NUMBER = re.compile(r"\d[\d,]*")
TRANSIENT_STATUS = frozenset({408, 425, 429})
OVERLOAD_STATUS = frozenset({429, 503})
OVERFLOW_STATUS = frozenset({400, 413, 422, 500})
NOT_IMPLEMENTED = 501
NEXT_STEPS = {
    401: "check the API key in {key_variable}",
    402: "add credit to the account, or use another key in {key_variable}",
    403: "check what the key in {key_variable} may use, and the model's name",
    404: "check --model and --base-url",
    412: "see to the account that the key in {key_variable} belongs to",
}


@define
class TransientFault(Exception):  # noqa: N818 - a fault, not yet an error
    """Asking again may help.

    Attributes:
        reason: what happened, in a few words.
        retry_after: seconds that the server asked to wait; None if it did not.
        overloaded: whether the server says that it has too much to do.
        unidentified: whether the answer, or its absence, could be that of no endpoint at all.
        refused: whether there was not even a connection.
    """

    reason: str
    retry_after: float | None = None
    overloaded: bool = field(default=False, kw_only=True)
    unidentified: bool = field(default=False, kw_only=True)
    refused: bool = field(default=False, kw_only=True)


class NotServedError(UsageError):
    """The endpoint will not serve this user.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RejectedRequestError(BackendError):
    """The server refuses this request as it is, and would refuse it again.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(
            f"the endpoint refused the request (status {status}): {reason}; "
            "`egcfg doctor --fresh` shows what it takes"
        )
        self.status = status


def fault_of_status(
    status: int, body: str, headers: Mapping[str, str], key_variable: str
) -> Exception:
    """Return the exception that an HTTP error response stands for.

    Args:
        status: the HTTP status, 400 or above.
        body: the response's text.
        headers: the response's headers, names in lower case.
        key_variable: name of the environment variable that holds the key, for messages.
    """
    _, reason = _error_in(body)
    if status in OVERFLOW_STATUS and (overflow := overflow_of(body)) is not None:
        return overflow
    if status in TRANSIENT_STATUS or (status >= 500 and status != NOT_IMPLEMENTED):
        return TransientFault(
            f"status {status}: {reason}",
            _retry_after(headers),
            overloaded=status in OVERLOAD_STATUS,
        )
    if status in NEXT_STEPS:
        step = NEXT_STEPS[status].format(key_variable=key_variable)
        return NotServedError(
            status, f"the endpoint answered with status {status}: {reason}; {step}"
        )
    return RejectedRequestError(status, reason)


def _error_in(body: str) -> tuple[Mapping[str, object], str]:
    """Return the error object in a body, or the body itself, and its words in one short line."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = body
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else body
    told: Mapping[str, object] = error if isinstance(error, dict) else {}
    text = " ".join(str(told.get("message", error)).split())
    return told, (text if len(text) <= 240 else text[:237] + "...") or "no reason given"


def overflow_of(body: str) -> ContextOverflowError | None:
    """Return the error that a body tells of if it is that the prompt is too long; else None.

    A code decides; without one that is known, the words do. Numbers are for the message only.
    """
    told, reason = _error_in(body)
    if isinstance(needed := told.get("n_prompt_tokens"), int):
        available = told.get("n_ctx")
        return ContextOverflowError(needed, available if isinstance(available, int) else None)
    by_code = {str(told.get("code")), str(told.get("type"))} & OVERFLOW_CODES
    if not by_code and not OVERFLOW_WORDS.search(reason):
        return None
    numbers = [_number(digits) for digits in NUMBER.findall(reason)]
    limits = [_number(n) for words in AVAILABLE for n in words.findall(reason)]
    available = next((n for n in limits if n > 1), None)
    longer = [n for n in numbers if available is not None and n > available]
    return ContextOverflowError(max(longer, default=None), available)


def _number(digits: str) -> int:
    return int(digits.replace(",", "")[:18])


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait that a server asks for; dates are left to the usual backoff."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None
