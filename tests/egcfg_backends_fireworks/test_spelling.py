"""Tokens of a server that names them by ids, as vLLM does, spelt by its own routes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError
from egcfg_backends_fireworks.responses import Choice, Piece, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.spelling import Speller
from egcfg_backends_fireworks.vocabulary import Vocabulary

TEXTS = {5: "def", 6: " add", 7: "<|im_end|>", 8: "<|", 9: "|>"}


@define
class Routes:
    """Stands in for the client: answers what vLLM's routes do."""

    texts: dict[int, str]
    asked: list[int] = field(factory=list)

    async def route(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        assert body is not None
        if path == "/tokenize":
            found = [token for token, text in self.texts.items() if text == body["prompt"]]
            return {"tokens": found or [8, 9]}
        self.asked += body["tokens"]
        spelt = [self.texts.get(token) for token in body["tokens"]]
        return None if None in spelt else {"prompt": "".join(filter(None, spelt))}


def speller(texts: dict[int, str]) -> tuple[Speller, Routes]:
    client: Any = Routes(texts)
    return Speller(Vocabulary(has_ids=True), ServerRoutes(client, "m", enabled=True)), client


def row(*ids: int) -> Row:
    return Row(Piece(ids[0]), -0.1, tuple((Piece(token), -0.1) for token in ids))


def test_only_the_tokens_of_the_text_are_asked_for_and_only_once() -> None:
    spelling, routes = speller(TEXTS)
    choice = Choice(text="def add", rows=(row(5, 99), row(6, 98), row(5, 97)))
    for _ in range(2):
        [spelt] = asyncio.run(spelling.spelt([choice]))
        assert [each.token.content for each in spelt.rows] == [b"def", b" add", b"def"]
    assert sorted(routes.asked) == [5, 6]


def test_what_is_spelt_already_is_left_alone() -> None:
    spelling, routes = speller({})
    choice = Choice(text="a", rows=(Row(Piece(1, b"a"), -0.1),))
    assert asyncio.run(spelling.spelt([choice])) == [choice]
    assert not routes.asked


def test_a_token_that_the_server_does_not_spell_is_an_error() -> None:
    spelling, _ = speller({})
    with pytest.raises(BackendError, match="spelling"):
        asyncio.run(spelling.learn([1]))


def test_ends_are_found_by_their_widespread_texts() -> None:
    spelling, _ = speller(TEXTS)
    assert asyncio.run(spelling.end_ids()) == {7}
