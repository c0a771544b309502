"""Chats in the server's template."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError, CapabilityError
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template, TextPrompt
from egcfg_backends_fireworks.prompt_encoder import PromptEncoder
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary


@define
class Server:
    """Client and profile in one: a server whose template trims, as many do."""

    template: bool = True
    chats: bool = False
    mixed_prompts: bool = False
    refuses: str = "nothing"
    asked: list[Any] = field(factory=list)

    async def route(self, path: str, body: Any, read: Any, *, trial: bool) -> Any:
        assert not trial
        self.asked.append(body["messages"])
        if path != "/apply-template" or any(self.refuses in m["content"] for m in body["messages"]):
            return None
        texts = [f"[{m['role']}]{m['content'].strip()}\n" for m in body["messages"]]
        return read({"prompt": "".join(texts) + "[assistant]"})


async def _not_asked(text: str) -> tuple[int, ...]:
    pytest.fail(f"asked how the server reads {text!r}")


def encoder(server: Any) -> PromptEncoder:
    routes = ServerRoutes(server, "m", known={"template", "tokenize"})
    return PromptEncoder("m", Vocabulary(), server, routes, read_ids=_not_asked)


def chat(*contents: str, prefix: str = "") -> ChatPrompt:
    return ChatPrompt(tuple(ChatMessage("user", content) for content in contents), prefix)


def test_the_parts_of_a_text_are_joined() -> None:
    prompts = encoder(Server())
    assert asyncio.run(prompts.text(TextPrompt(("a", Template("<s>"), "b")))) == "a<s>b"


def test_a_chat_that_differs_in_its_last_message_alone_takes_no_request() -> None:
    server = Server()
    prompts = encoder(server)
    first = asyncio.run(prompts.text(chat("before", "Add two.\nNo signal.", prefix="def ")))
    assert first == "[user]before\n[user]Add two.\nNo signal.\n[assistant]def "
    second = asyncio.run(prompts.text(chat("before", "Add two.\nAnother signal.")))
    assert second == "[user]before\n[user]Add two.\nAnother signal.\n[assistant]"
    assert len(server.asked) == 1
    asyncio.run(prompts.text(chat("Add two.\nAnother signal.")))
    assert len(server.asked) == 2  # another conversation


def test_what_the_template_may_change_is_left_to_it() -> None:
    server = Server()
    prompts = encoder(server)
    for content, shown in (("Add two.\n", "Add two."), ("Add three.\n", "Add three."), ("r", "r")):
        for _ in range(2):
            text = asyncio.run(prompts.text(chat(content)))
            assert text == f"[user]{shown}\n[assistant]"
    assert len(server.asked) == 6  # the template itself has an "r" somewhere


def test_a_chat_without_a_template_or_that_it_refuses_is_told() -> None:
    with pytest.raises(CapabilityError, match="no chat template for m"):
        asyncio.run(encoder(Server(template=False)).text(chat("a")))
    with pytest.raises(BackendError, match="did not take the messages"):
        asyncio.run(encoder(Server(refuses="b")).text(chat("abc")))


@define
class Llama:
    """A server that tokenizes: letters are tokens, and so is ``<x>`` where it is not literal."""

    tokenizes: bool = True
    ids_throughout: bool = True
    chats: bool = False
    mixed_prompts: bool = False
    asked: list[str] = field(factory=list)

    async def route(self, path: str, body: Any, read: Any, *, trial: bool) -> Any:
        assert (path, trial) == ("/tokenize", False)
        self.asked.append(body["content"])
        pieces = list(body["content"])
        if body["parse_special"]:
            pieces = re.findall(r"<s>|.", body["content"], re.DOTALL)
        start = [{"id": 0, "piece": ""}] if body["add_special"] else []
        named = [{"id": 1 if p == "<s>" else ord(p), "piece": p} for p in pieces]
        return read({"tokens": start + named})


def test_special_tokens_in_literal_text_are_text_where_the_server_can_do_that() -> None:
    server = Llama()
    prompts = encoder(server)

    async def ids(*parts: str) -> list[int]:
        return list(await prompts.encode(TextPrompt(parts)))

    assert asyncio.run(ids(Template("a<s>b"), "c")) == [0, 97, 1, 98, 99]
    assert len(server.asked) == 1
    literal = asyncio.run(ids(Template("a<s>"), "b<s>", Template("<s>c")))
    assert literal == [0, 97, 1, *map(ord, "b<s>"), 1, 99]
    assert asyncio.run(ids("<s>")) == [0, *map(ord, "<s>")]
    assert asyncio.run(ids(Template("<s>"))) == [0, 1]


def test_a_text_goes_out_as_it_is_where_ids_may_follow_it() -> None:
    server = Llama(mixed_prompts=True)
    prompts = encoder(server)
    prompts.vocabulary.has_ids = True
    prompts.vocabulary.learn(7, b"c")

    async def wired(*parts: str) -> Any:
        return await prompts.wire((*await prompts.encode(TextPrompt(parts)), 7))

    assert asyncio.run(wired("a ", "b")) == ("a b", 7)
    assert server.asked == []
    # What spells out a special token is not to be read as one: its ids are asked for.
    assert asyncio.run(wired("a<s>")) == (0, *map(ord, "a<s>"), 7)
    assert len(server.asked) == 1
