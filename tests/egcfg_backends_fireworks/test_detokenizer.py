"""The texts of a server that names tokens by ids, as vLLM does, by its own routes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError
from egcfg_backends_fireworks.detokenizer import Detokenizer
from egcfg_backends_fireworks.responses import Choice, Piece, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary

TEXTS = {5: "def", 6: " add", 7: "<|im_end|>", 8: "<|", 9: "|>"}


@define
class Routes:
    """Takes the client's place: answers what vLLM's routes do."""

    texts: dict[int, str]
    asked: list[int] = field(factory=list)

    async def route(self, path: str, body: Any, read: Any, *, trial: bool) -> Any:
        assert not trial
        if path == "/tokenize":
            found = [token for token, text in self.texts.items() if text == body["prompt"]]
            return read({"tokens": found or [8, 9]})
        self.asked += body["tokens"]
        spelt = [self.texts.get(token) for token in body["tokens"]]
        return None if None in spelt else read({"prompt": "".join(filter(None, spelt))})


def detokenizer(texts: dict[int, str]) -> tuple[Detokenizer, Routes]:
    client: Any = Routes(texts)
    routes = ServerRoutes(client, "m", known={"tokenize", "detokenize"})
    return Detokenizer(Vocabulary(has_ids=True), routes), client


def row(*ids: int) -> Row:
    return Row(Piece(ids[0]), -0.1, tuple((Piece(token), -0.1) for token in ids))


def test_only_the_tokens_of_the_text_are_asked_for_and_only_once() -> None:
    texts, routes = detokenizer(TEXTS)
    choice = Choice(text="def add", rows=(row(5, 99), row(6, 98), row(5, 97)))
    for _ in range(2):
        asyncio.run(texts.learn_rows([choice]))
        assert texts.vocabulary.decode([5, 6, 5]) == "def adddef"
    assert sorted(routes.asked) == [5, 6]


def test_what_has_its_text_is_not_asked_for() -> None:
    texts, routes = detokenizer({})
    asyncio.run(texts.learn_rows([Choice(text="a", rows=(Row(Piece(1, b"a"), -0.1),))]))
    assert not routes.asked


def test_a_token_whose_text_the_server_does_not_tell_is_an_error() -> None:
    texts, _ = detokenizer({})
    with pytest.raises(BackendError, match="detokenizing"):
        asyncio.run(texts.learn([1]))


def test_ends_are_found_by_their_widespread_texts() -> None:
    texts, _ = detokenizer(TEXTS)
    assert asyncio.run(texts.end_ids()) == {7}
