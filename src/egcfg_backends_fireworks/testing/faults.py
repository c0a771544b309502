"""Everything that goes wrong with services, one by one or at random."""

from __future__ import annotations

import gzip
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

    def changed(choice: dict[str, Any]) -> None:
        if choice["logprobs"] and "content" in choice["logprobs"]:
            change(choice["logprobs"]["content"])

    return _choices(changed)


def _choices(change: Callable[[dict[str, Any]], None]) -> Fault:
    """Return the fault that changes every choice."""

    def changed(answer: Answer) -> Answer:
        completion = json.loads(answer.body)
        for choice in completion.get("choices", ()):
            change(choice)
        return evolve(answer, body=json.dumps(completion).encode())

    return changed


def _cut_gzip(answer: Answer) -> Answer:
    packed = gzip.compress(answer.body)
    return evolve(answer, body=packed[: len(packed) // 2], headers={"Content-Encoding": "gzip"})


def _renamed(answer: Answer) -> Answer:
    completion = json.loads(answer.body)
    return evolve(answer, body=json.dumps({**completion, "model": "another"}).encode())


def _without_logprobs(choice: dict[str, Any]) -> None:
    choice["logprobs"] = None


def _ended_in_error(choice: dict[str, Any]) -> None:
    choice["finish_reason"] = "error"


def _too_probable(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for other in row["top_logprobs"]:
            other["logprob"] = -0.1


def _half_a_character(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["token"] = "\ud83e"


def _not_a_number(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["logprob"] = float("nan")


def _short(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        del row["top_logprobs"][1:]


def _shifted(rows: list[dict[str, Any]]) -> None:
    """Give each token the values of the one after it."""
    told = ("logprob", "top_logprobs")
    names = [{name: value for name, value in row.items() if name not in told} for row in rows]
    values = [{name: row[name] for name in told} for row in [*rows[1:], *rows[-1:]]]
    rows[:] = [name | value for name, value in zip(names, values, strict=True)]


def _other_ids(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for named in (row, *row["top_logprobs"]):
            if "token_id" in named:
                named["token_id"] += 1


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
    "cut gzip": _cut_gzip,
    "renamed model": _renamed,
    "ended in error": _choices(_ended_in_error),
    "mass above 1": _rows(_too_probable),
    "half a character": _rows(_half_a_character),
    "missing logprobs": _choices(_without_logprobs),
    "short top-k": _rows(_short),
    "shifted echo": _rows(_shifted),
    "wrong ids": _rows(_other_ids),
    "slow drip": lambda answer: evolve(answer, fault="drip"),
    "stall": lambda answer: evolve(answer, fault="stall"),
}
"""The faults by name. Those that change choices expect the shape of `ServedModel`'s."""
OF_ANY_ANSWER = (*list(FAULTS)[: list(FAULTS).index("cut gzip") + 1], "slow drip", "stall")
"""Those of them that can happen to any answer, also of another route."""


@define
class Faulty:
    """A server that spoils a share of another one's answers at random.

    Attributes:
        answer: the server.
        others: the same for its other routes; None: there is none.
        share: of the answers that are spoilt.
        faults: what happens to them.
        seed: of what happens at random.
        happened: how often each fault happened.
    """

    answer: Callable[[dict[str, Any]], Answer]
    others: Callable[[str, dict[str, Any]], Answer] | None = None
    share: float = 0.2
    faults: Mapping[str, Fault] = field(factory=lambda: FAULTS)
    seed: int = 0
    happened: Counter[str] = field(factory=Counter)
    _random: random.Random = field(init=False, repr=False)
    _left: list[str] = field(factory=list, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one completion request, or spoil the answer."""
        return self._spoilt(self.answer(request), self.faults)

    def other(self, path: str, request: dict[str, Any]) -> Answer:
        """Answer a request to another path, or spoil the answer."""
        assert self.others is not None
        of_completions = path.endswith("/completions")
        return self._spoilt(
            self.others(path, request),
            {n: f for n, f in self.faults.items() if of_completions or n in OF_ANY_ANSWER},
        )

    def _spoilt(self, good: Answer, faults: Mapping[str, Fault]) -> Answer:
        with self._lock:
            if good.status != 200 or not faults or self._random.random() >= self.share:
                return good
            name = self._next(faults)
            self.happened[name] += 1
        return faults[name](good)

    def _next(self, faults: Mapping[str, Fault]) -> str:
        """Return the next fault at random; each happens once before any does again."""
        if not any(name in faults for name in self._left):
            self._left += self._random.sample(sorted(self.faults), len(self.faults))
        name = next(name for name in self._left if name in faults)
        self._left.remove(name)
        return name
