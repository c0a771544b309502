"""Further routes, as llama.cpp's server and vLLM answer them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError
from egcfg.interfaces.prompt import ChatMessage
from egcfg_backends_fireworks.responses import MalformedResponseError, Piece
from egcfg_backends_fireworks.server_routes import ServerRoutes


@define
class Answers:
    """Takes the client's place: what each route answers."""

    answers: dict[str, Any]
    asked: list[tuple[str, Any]] = field(factory=list)

    async def route(self, path: str, body: Any, read: Any, *, trial: bool) -> Any:
        self.asked.append((path, body))
        if self.answers.get(path) is None:
            return None
        try:
            return read(self.answers[path])
        except MalformedResponseError as error:
            if trial:
                return None
            raise BackendError(str(error)) from error


def routes(answers: dict[str, Any], *, enabled: bool = True) -> tuple[ServerRoutes, Answers]:
    client: Any = Answers(answers)
    return ServerRoutes(client, "m", enabled=enabled), client


def test_llama_cpp_tells_pieces_by_text_or_bytes() -> None:
    asked, _ = routes(
        {"/tokenize": {"tokens": [{"id": 5, "piece": "a"}, {"id": 6, "piece": [240, 159]}]}}
    )
    pieces = asyncio.run(asked.tokenize_pieces("x"))
    assert pieces == [Piece(5, b"a"), Piece(6, b"\xf0\x9f")]


def test_vllm_tells_ids() -> None:
    asked, _ = routes({"/tokenize": {"tokens": [5, 6], "count": 2, "max_model_len": 100}})
    assert asyncio.run(asked.tokenize("x")) == (5, 6)


@pytest.mark.parametrize("answer", [None, {}, {"tokens": "no"}, {"tokens": [{"piece": "a"}]}])
def test_an_answer_that_is_no_list_of_tokens_is_none(answer: Any) -> None:
    asked, _ = routes({"/tokenize": answer})
    assert asyncio.run(asked.tokenize("x")) is None


def test_a_chat_is_rendered_as_text_or_as_tokens() -> None:
    chat = [ChatMessage("user", "x")]
    llama, client = routes({"/apply-template": {"prompt": "<user>x"}})
    assert asyncio.run(llama.render_chat(chat)) == "<user>x"
    assert client.asked == [("/apply-template", {"messages": [{"role": "user", "content": "x"}]})]
    vllm, client = routes({"/tokenize": {"tokens": [5, 6]}, "/detokenize": {"prompt": "<user>x"}})
    assert asyncio.run(vllm.render_chat(chat)) == "<user>x"
    assert client.asked[-1][1]["tokens"] == [5, 6]
    # llama.cpp's route of that name reads a text only: an answer without one is no template.
    without, _ = routes({"/tokenize": {"tokens": []}})
    assert asyncio.run(without.render_chat(chat)) is None


def test_the_context_is_a_slots_in_llama_cpp_and_the_models_in_vllm() -> None:
    llama, _ = routes({"/props": {"default_generation_settings": {"n_ctx": 1024}}})
    assert asyncio.run(llama.context_length()) == 1024
    models = [{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 4096}]
    vllm, _ = routes({"/v1/models": {"data": models}})
    assert asyncio.run(vllm.context_length()) == 4096
    silent, _ = routes({})
    assert asyncio.run(silent.context_length()) is None


def test_the_end_token_may_come_after_a_beginning_token() -> None:
    answers = {"/props": {"eos_token": "</s>"}, "/tokenize": {"tokens": [1, 2]}}
    asked, _ = routes(answers)
    assert asyncio.run(asked.end_id()) == 2
    answers["/tokenize"] = {"tokens": [1, 60, 47, 62]}  # spelt out: no such token
    assert asyncio.run(asked.end_id()) is None


def test_a_service_without_such_routes_is_not_asked() -> None:
    asked, client = routes({"/tokenize": {"tokens": [1]}}, enabled=False)
    assert asyncio.run(asked.tokenize("x")) is None
    assert asyncio.run(asked.render_chat([ChatMessage("user", "x")])) is None
    assert client.asked == []


def test_a_route_that_answered_once_is_there() -> None:
    asked, client = routes({"/tokenize": {"tokens": [5, 6]}})
    assert asyncio.run(asked.tokenize("x")) == (5, 6)
    client.answers["/tokenize"] = {}
    with pytest.raises(BackendError, match="without tokens"):
        asyncio.run(asked.tokenize("x"))


def test_models_are_told_apart_by_what_stays_the_same() -> None:
    data = {"id": "m", "created": 1, "permission": [{"id": "random-1"}]}
    one, client = routes({"/v1/models": {"data": [data]}})
    first = asyncio.run(one.fingerprint())
    client.answers["/v1/models"] = {"data": [data | {"created": 2, "permission": []}]}
    assert asyncio.run(one.fingerprint()) == first != ""
    client.answers["/v1/models"] = {"data": [data | {"id": "other"}]}
    assert asyncio.run(one.fingerprint()) != first
    silent, _ = routes({})
    assert asyncio.run(silent.fingerprint()) == ""
