"""The texts of a server that names tokens by ids, as vLLM does, by its own routes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.options import Route
from egcfg_backends_fireworks.profile import ServerProfile
from egcfg_backends_fireworks.prompt_encoder import PromptEncoder
from egcfg_backends_fireworks.responses import Choice, Completion, Piece, Row
from egcfg_backends_fireworks.server import Server
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary
from egcfg_backends_fireworks.wire import RequestForm

TEXTS = {5: "def", 6: " add", 7: "<|im_end|>", 8: "<|", 9: "|>"}


@define
class Routes:
    """Takes the client's place: answers what vLLM's routes do."""

    texts: dict[int, str]
    asked: list[int] = field(factory=list)
    choice: Choice = field(factory=lambda: Choice(text=""))

    async def complete(self, _: Any, check: Any) -> Completion:
        completion = Completion(choices=(self.choice,))
        check(completion)
        return completion

    async def route(self, path: str, body: Any, read: Any, *, trial: bool) -> Any:
        assert not trial
        if path == "/tokenize":
            found = [token for token, text in self.texts.items() if text == body["prompt"]]
            return read({"tokens": found or [8, 9]})
        self.asked += body["tokens"]
        spelt = [self.texts.get(token) for token in body["tokens"]]
        return None if None in spelt else read({"prompt": "".join(filter(None, spelt))})


async def _not_asked(text: str) -> tuple[int, ...]:
    pytest.fail(f"asked how the server reads {text!r}")


def by_ids(texts: dict[int, str]) -> tuple[Server, Routes]:
    client: Any = Routes(texts)
    routes = ServerRoutes(client, "m", known={"tokenize", "detokenize"})
    vocabulary = Vocabulary(has_ids=True)
    profile = ServerProfile(form=RequestForm(model="m", route=Route.COMPLETIONS, top_k=2))
    server = Server(
        client=client,
        profile=profile,
        reader=RowReader(vocabulary, 2),
        prompts=PromptEncoder("m", vocabulary, profile, routes, _not_asked),
        context_length=None,
    )
    return server, client


async def ask(server: Server) -> None:
    prompt = server.reader.vocabulary.encode_prompt("a")
    await server.ask([prompt], lambda *_: None, together=True)


def row(*ids: int) -> Row:
    return Row(Piece(ids[0]), -0.1, tuple((Piece(token), -0.1) for token in ids))


def test_only_the_tokens_of_the_text_are_asked_for_and_only_once() -> None:
    server, routes = by_ids(TEXTS)
    routes.choice = Choice(text="def add", rows=(row(5, 99), row(6, 98), row(5, 97)))
    for _ in range(2):
        asyncio.run(ask(server))
        assert server.reader.vocabulary.decode([5, 6, 5]) == "def adddef"
    assert sorted(routes.asked) == [5, 6]


def test_what_has_its_text_is_not_asked_for() -> None:
    server, routes = by_ids({})
    routes.choice = Choice(text="a", rows=(Row(Piece(1, b"a"), -0.1),))
    asyncio.run(ask(server))
    assert not routes.asked


def test_a_token_whose_text_the_server_does_not_tell_is_an_error() -> None:
    server, _ = by_ids({})
    with pytest.raises(BackendError, match="detokenizing"):
        asyncio.run(server.learn([1]))


def test_ends_are_found_by_their_widespread_texts() -> None:
    server, _ = by_ids(TEXTS)
    asyncio.run(server.learn_end_ids())
    assert server.reader.end_ids == {7}
