"""What can go wrong between here and a server, and what each fault calls for.

```
Exception
├── TransientFault           ask again: connection, timeout, 408, 425, 429, >= 500, malformed body
└── EgcfgError
    ├── UsageError           stop the run: 401, 402, 403, 404
    └── BackendError
        ├── RejectedRequestError   never ask again: 400, the other 4xx, 501
        └── ContextOverflowError   the prompt is too long: shorten the signal
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from egcfg.errors import BackendError, ContextOverflowError, UsageError

__all__ = ["RejectedRequestError", "TransientFault", "fault_of_status"]

CONTEXT_WORDS = re.compile(r"context|prompt is too long|maximum.{0,20}length", re.IGNORECASE)
AVAILABLE = re.compile(
    r"(?:context[ _](?:length|size|window)|maximum)[^.\d]{0,60}?(\d+)", re.IGNORECASE
)
NUMBER = re.compile(r"\d+")
TRANSIENT_STATUS = frozenset({408, 425, 429})
OVERLOAD_STATUS = frozenset({429, 503})
NOT_IMPLEMENTED = 501
NEXT_STEPS = {
    401: "check the API key in {key_variable}",
    402: "add credit to the account, or use another key in {key_variable}",
    403: "check what the key in {key_variable} may use, and the model's name",
    404: "check --model and --base-url",
}


class TransientFault(Exception):  # noqa: N818 - a fault, not yet an error
    """Asking again may help.

    Attributes:
        reason: what happened, in a few words.
        retry_after: seconds that the server asked to wait; None if it did not.
        overloaded: whether the server says that it has too much to do.
        unidentified: whether the answer, or its absence, could be that of no endpoint at all.
        refused: whether there was not even a connection.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        *,
        overloaded: bool = False,
        unidentified: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.overloaded = overloaded
        self.unidentified = unidentified
        self.refused = refused


class RejectedRequestError(BackendError):
    """The server refuses this request as it is, and would refuse it again.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(
            f"the endpoint refused the request (status {status}): {reason}; "
            "`egcfg doctor` shows what it supports"
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
    reason = _reason(body)
    if status in TRANSIENT_STATUS or (status >= 500 and status != NOT_IMPLEMENTED):
        return TransientFault(
            f"status {status}: {reason}",
            _retry_after(headers),
            overloaded=status in OVERLOAD_STATUS,
        )
    if status in NEXT_STEPS:
        step = NEXT_STEPS[status].format(key_variable=key_variable)
        return UsageError(f"the endpoint answered with status {status}: {reason}; {step}")
    if status in (400, 413, 422) and (overflow := _overflow(body)) is not None:
        return overflow
    return RejectedRequestError(status, reason)


def _reason(body: str) -> str:
    """Return the server's own words in one short line."""
    message: object = body
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        error = parsed.get("error", parsed)
        message = error.get("message", error) if isinstance(error, dict) else error
    text = " ".join(str(message).split())
    return (text if len(text) <= 240 else text[:237] + "...") or "no reason given"


def _overflow(body: str) -> ContextOverflowError | None:
    if not CONTEXT_WORDS.search(body):
        return None
    try:
        error = json.loads(body).get("error")
    except (ValueError, RecursionError, AttributeError):
        error = None
    if isinstance(error, dict) and isinstance(error.get("n_prompt_tokens"), int):
        return ContextOverflowError(error["n_prompt_tokens"], int(error.get("n_ctx") or 0))
    reason = _reason(body)
    available = AVAILABLE.search(reason)
    numbers = [int(number) for number in NUMBER.findall(reason)]
    if available is None or not numbers or max(numbers) <= int(available[1]):
        return None
    return ContextOverflowError(max(numbers), int(available[1]))


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
