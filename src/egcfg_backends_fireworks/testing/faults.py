"""Everything that goes wrong with services, one by one or at random."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import define, evolve, field

from egcfg_backends_fireworks.testing.loopback import Answer

__all__ = ["FAULTS", "Fault", "Faulty"]

Fault: TypeAlias = Callable[[Answer], Answer]
"""From a good answer to what comes instead."""


def _status(status: int, body: bytes = b"{}", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Answer(body, status, named)


def _page(_: Answer) -> Answer:
    return Answer(b"<html>Please sign in</html>", headers={"Content-Type": "text/html"})


def _rows(change: Callable[[list[dict[str, Any]]], None]) -> Fault:
    """Return the fault that changes the rows of every choice."""

    def changed(answer: Answer) -> Answer:
        completion = json.loads(answer.body)
        for choice in completion.get("choices", ()):
            change(choice["logprobs"]["content"])
        return evolve(answer, body=json.dumps(completion).encode())

    return changed


def _without_logprobs(answer: Answer) -> Answer:
    completion = json.loads(answer.body)
    for choice in completion.get("choices", ()):
        choice["logprobs"] = None
    return evolve(answer, body=json.dumps(completion).encode())


def _not_a_number(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["logprob"] = float("nan")


def _short(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        del row["top_logprobs"][1:]


def _shifted(rows: list[dict[str, Any]]) -> None:
    """Give each token the values of the one after it."""
    names = [{name: row[name] for name in ("token", "token_id")} for row in rows]
    following = [*rows[1:], rows[-1]]
    values = [{name: row[name] for name in ("logprob", "top_logprobs")} for row in following]
    rows[:] = [name | value for name, value in zip(names, values, strict=True)]


def _other_ids(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["token_id"] += 1
        for other in row["top_logprobs"]:
            other["token_id"] += 1


FAULTS: Mapping[str, Fault] = {
    "429": _status(429),
    "429, Retry-After: 1": _status(429, Retry_After="1"),
    "429, Retry-After: 300": _status(429, Retry_After="300"),
    "500": _status(500),
    "502": _status(502, b"<html>Bad Gateway</html>"),
    "503": _status(503),
    "reset": lambda answer: evolve(answer, body=answer.body[:60], fault="reset"),
    "truncated": lambda answer: evolve(answer, body=answer.body[: len(answer.body) // 2]),
    "no JSON": lambda _: Answer(b"upstream connect error"),
    "empty": lambda _: Answer(b""),
    "HTML with 200": _page,
    "null": lambda _: Answer(b"null"),
    "error in 200": lambda _: Answer(b'{"error": {"message": "overloaded"}, "choices": null}'),
    "NaN": _rows(_not_a_number),
    "missing logprobs": _without_logprobs,
    "short top-k": _rows(_short),
    "shifted echo": _rows(_shifted),
    "wrong ids": _rows(_other_ids),
    "slow drip": lambda answer: evolve(answer, fault="drip"),
    "stall": lambda answer: evolve(answer, fault="stall"),
}
"""The faults by name. Those that change rows expect the shape of `ServedModel`'s rows."""


@define
class Faulty:
    """A server that spoils a share of another one's answers at random.

    Attributes:
        answer: the server.
        share: of the answers that are spoilt.
        faults: what happens to them.
        seed: of what happens at random.
        happened: how often each fault happened.
    """

    answer: Callable[[dict[str, Any]], Answer]
    share: float = 0.2
    faults: Mapping[str, Fault] = field(factory=lambda: FAULTS)
    seed: int = 0
    happened: Counter[str] = field(factory=Counter)
    _random: random.Random = field(init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one request, or spoil the answer."""
        good = self.answer(request)
        with self._lock:
            if good.status != 200 or self._random.random() >= self.share:
                return good
            name = self._random.choice(sorted(self.faults))
            self.happened[name] += 1
        return self.faults[name](good)
