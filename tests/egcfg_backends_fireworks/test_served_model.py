"""The Fireworks-shaped server itself: the fields that the service documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import ServedModel, Shape

TEXT = "def f():\n    return 1\n"


def ask(served: ServedModel, **fields: Any) -> dict[str, Any]:
    request = {"model": "m", "prompt": TEXT[:8], "max_tokens": 3, "temperature": 0.0, **fields}
    answer = served(request)
    assert answer.status == 200
    completion: dict[str, Any] = json.loads(answer.body)
    return completion


@pytest.fixture
def served() -> ServedModel:
    return ServedModel(
        ScriptedBackend(ScriptedOptions(script=lambda text: TEXT[len(text) :], context_length=40))
    )


def test_both_shapes_of_rows_tell_the_same(served: ServedModel) -> None:
    [new] = ask(served, logprobs=True, top_logprobs=2)["choices"]
    [legacy] = ask(served, logprobs=2)["choices"]
    rows, table = new["logprobs"]["content"], legacy["logprobs"]
    assert new["text"] == legacy["text"] == "\n  "
    assert [row["token"] for row in rows] == table["tokens"]
    assert [row["token_id"] for row in rows] == table["token_ids"]
    assert [row["logprob"] for row in rows] == table["token_logprobs"]
    for row, top in zip(rows, table["top_logprobs"], strict=True):
        assert {other["token"]: other["logprob"] for other in row["top_logprobs"]} == top


def test_an_echo_is_of_the_whole_prompt_or_of_its_end(served: ServedModel) -> None:
    [whole] = ask(served, logprobs=True, top_logprobs=1, echo=True)["choices"]
    [end] = ask(served, logprobs=True, top_logprobs=1, echo_last=2)["choices"]
    rows = whole["logprobs"]["content"]
    assert whole["text"] == "".join(row["token"] for row in rows) == TEXT[:11]
    assert rows[0]["logprob"] is None
    assert all(row["logprob"] < 0 for row in rows[1:])
    assert end["logprobs"]["content"] == rows[6:]


def test_several_prompts_and_choices_are_numbered_through(served: ServedModel) -> None:
    prompts = [list(map(ord, TEXT[:4])), list(map(ord, TEXT[:6]))]
    completion = ask(served, prompt=prompts, n=2, return_token_ids=True, raw_output=True)
    choices = completion["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == ["f()", "f()", "):\n", "):\n"]
    assert [choice["prompt_token_ids"] for choice in choices[::2]] == prompts
    assert choices[0]["token_ids"] == list(map(ord, "f()"))
    assert choices[0]["raw_output"]["completion"] == "f()"


def test_a_prefix_is_cached_under_its_key(served: ServedModel) -> None:
    def cached(length: int, key: str) -> Any:
        usage = ask(served, prompt=TEXT[:length], prompt_cache_key=key)["usage"]
        assert usage["prompt_tokens"] == length
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert [cached(8, "a"), cached(10, "a"), cached(10, "b"), cached(9, "a")] == [0, 8, 0, 8]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"logprobs": 6}, "at most 5"),
        ({"n": 200}, "between 1 and 128"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"prompt": "x" * 50}, "maximum context length"),
    ],
)
def test_what_the_service_does_not_take_is_refused(
    served: ServedModel, fields: dict[str, Any], reason: str
) -> None:
    answer = served({"model": "m", "prompt": "a", "max_tokens": 1, **fields})
    assert answer.status == 400
    assert reason in json.loads(answer.body)["error"]["message"]


def test_a_server_may_count_its_first_prompt_and_choice_alone(served: ServedModel) -> None:
    def counted(**shape: Any) -> tuple[int, int]:
        served.shape = Shape(**shape)
        usage = ask(served, prompt=["def", "def f"], n=2)["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]

    assert (counted(), counted(counts_first=True)) == ((8, 12), (3, 3))
