"""Faults over real HTTP, with both vendors' SDKs as the client under test."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from attrs import define, field

from egcfg.errors import BackendError, ContextOverflowError, UsageError
from egcfg.interfaces.usage import Usage
from egcfg_backends_fireworks.client import EndpointClient, Sdk, counted
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.faults import RejectedRequestError, fault_of_status, overflow_of
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.responses import Completion, MalformedResponseError
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend

GOOD = json.dumps(
    {
        "choices": [{"text": "a", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
).encode()
REQUEST = {"model": "m", "prompt": "p", "max_tokens": 1}
KEY = "sk-very-secret-0123456789"
OVERFLOWS = [
    (
        "This model's maximum context length is 4097 tokens. However, you requested 5010 "
        "tokens (5000 in the messages, 10 in the completion)."
    ),
    (
        "This model's maximum context length is 4097 tokens, however you requested 5000 "
        "tokens (4990 in your prompt; 10 for the completion). Please reduce your prompt; or "
        "completion length."
    ),
    (
        "You passed 4090 input tokens and requested 16 output tokens. However, the model's "
        "context length is only 4096 tokens, resulting in a maximum input length of 4080"
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum "
        "context length is 4096 tokens and your request has 3500 input tokens (1024 > 4096 - "
        "3500)."
    ),
    (
        "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4900 `inputs` tokens and "
        "100 `max_new_tokens`"
    ),
    "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
    (
        "Your input exceeds the context window of this model. Please adjust your input and "
        "try again."
    ),
    "input length exceeds the context length",
    "the input length exceeds the context length",
    "Prompt length 5000 is greater than max_seq_len 4096",
    "prompt is too long: 5000 tokens > 4096 maximum",
    "sum of prompt length 5000.000000, query length 0 should not exceed max_num_tokens 4096",
    "Prompt length (5000) exceeds maximum input length (4096)",
    (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. "
        "Make sure that `max_model_len` is no smaller than the number of text tokens."
    ),
    "The prompt is too long: 140000, model maximum context length: 131072",
    "The prompt is too long: 140,000, model maximum context length: 131,072 tokens",
    "request (1501 tokens) exceeds the available context size (1024 tokens), try increasing it",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You"
        " requested a total of 5000 tokens: 4900 tokens from the input messages and 100 "
        "tokens for the completion."
    ),
    (
        "This endpoint's maximum context length is 131072 tokens. However, you requested "
        "about 140000 tokens (139000 of text input, 1000 in the output)."
    ),
    (
        "Trying to keep the first 5000 tokens when context the overflows. However, the model "
        "is loaded with context length of only 4096 tokens, which is not enough."
    ),
    (
        "Reached context length of 4096 tokens with this model, which does not support mid-"
        "generation context overflow"
    ),
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "Requested tokens (5000) exceed context window of 4096",
    "Prompt tokens 5000 exceed the limit of 4096: prompt exceeds max_prompt_tokens",
    "Input is too long for requested model.",
    (
        "Please reduce the length of the messages or completion. Maximum context limit is "
        "4096 tokens"
    ),
]
"""How servers word it that a prompt is too long, each as it was seen or is documented."""
REFUSALS = [
    "unknown field context_length_exceeded_behavior",
    "logprobs must be at most 5",
    "top_k must be -1 (disable) or at least 1, got 0.",
    "Requested sample logprobs of 200, which is greater than max allowed: 20",
    "n must be between 1 and 128",
    "prompt must be a string",
    "Cannot have 2 or more assistant messages at the end of the list.",
    "Assistant response prefill is incompatible with enable_thinking.",
]


@define
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 0.0
    waits: list[float] = field(factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def client_of(backend: EndpointBackend, **timing: Any) -> EndpointClient:
    return EndpointClient(
        backend.load_sdk,
        backend.key,
        backend.key_variable,
        backend.address,
        backend.options,
        **timing,
    )


@define
class Client:
    """An `EndpointClient` of one vendor's SDK, in front of a scripted server.

    Attributes:
        vendor: whose SDK.
        clock: the time that the client sees.
        client: the one that asked last.
        usage: what its answer cost.
    """

    vendor: str
    clock: Clock = field(factory=Clock)
    client: EndpointClient | None = None
    usage: Usage = field(factory=Usage)

    def ask(
        self,
        address: str,
        check: Callable[[Completion], None] = lambda _: None,
        **options: Any,
    ) -> Completion:
        return self.do(lambda asking: asking.complete(dict(REQUEST), check), address, **options)

    def do(
        self,
        work: Callable[[EndpointClient], Awaitable[Completion]],
        address: str,
        **options: Any,
    ) -> Completion:
        """Return what comes of work with the client."""

        async def question() -> Completion:
            backend = self.backend(address, **options)
            self.client = client_of(backend, sleep=self.clock.sleep, clock=self.clock)
            try:
                answer = await counted(work(self.client))
            finally:
                await self.client.close()
            self.usage = answer.usage
            return answer.value

        return asyncio.run(question())

    def backend(self, address: str, **options: Any) -> EndpointBackend:
        if self.vendor == "openai":
            chosen = EndpointOptions(model="m", base_url=f"{address}/v1", **options)
            return OpenAIBackend(chosen)
        return FireworksBackend(EndpointOptions(model="m", base_url=address, **options))


@pytest.fixture(params=["openai", "fireworks"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    return Client(request.param)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Give an address where nobody listens, and nobody else can."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 408},
        {"status": 429},
        {"status": 500},
        {"status": 502, "body": b"<html>Bad Gateway</html>"},
        {"status": 503},
        {"body": b""},
        {"body": b"null"},
        {"body": b'{"choices": [{"te'},
        {"body": b"<html>sign in</html>", "headers": {"Content-Type": "text/html"}},
        {"body": b'{"error": {"message": "overloaded"}}'},
        {"body": b'{"choices": [{"text": "a", "logprobs": {"tokens": ["a"]}}]}'},
        {"body": GOOD, "fault": "reset"},
    ],
    ids=lambda fault: "-".join(str(value)[:24] for value in fault.values()),
)
def test_a_fault_that_passes_costs_another_attempt(
    client: Client, serve: Any, answer: Any, fault: dict[str, Any]
) -> None:
    server = serve(lambda _: answer(GOOD))
    server.faults = [answer(**{"body": b"{}", **fault})] * 2
    assert client.ask(server.address).choices[0].text == "a"
    assert client.usage.requests == 3  # the SDK retried nothing by itself
    assert server.paths.total() == 3


def test_a_refused_connection_is_told_at_once(client: Client, closed_port: str) -> None:
    with pytest.raises(BackendError, match=r"in 1 attempt;.*[Cc]onnect.*check the server"):
        client.ask(closed_port)
    assert client.clock.waits == []


def test_a_server_that_answered_before_may_refuse_for_a_while(
    client: Client, serve: Any, answer: Any, closed_port: str
) -> None:
    server = serve(lambda _: answer(GOOD))

    async def restarted(asking: EndpointClient) -> Completion:
        await asking.complete(dict(REQUEST))
        there, asking.address = asking.address, closed_port

        async def back_after_two_waits(seconds: float) -> None:
            await client.clock.sleep(seconds)
            if len(client.clock.waits) == 2:
                asking.address = there

        asking.sleep = back_after_two_waits
        return await asking.complete(dict(REQUEST))

    client.do(restarted, server.address)
    assert client.usage.requests == 1 + 3


def test_a_server_that_is_no_endpoint_is_told_soon(client: Client, serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(b"<html>It works!</html>"))
    with pytest.raises(BackendError, match=r"in 3 attempts.*no JSON.*It works"):
        client.ask(server.address)
    assert client.clock.now < 10.0


def test_attempts_are_limited_and_the_last_fault_is_told(
    client: Client, serve: Any, answer: Any
) -> None:
    server = serve(lambda _: answer(b'{"error": {"message": "all busy"}}', 503))
    with pytest.raises(BackendError, match="7 attempts; the last: status 503: all busy") as raised:
        client.ask(server.address)
    assert server.paths.total() == 7
    assert raised.value.usage == Usage(requests=7)


def test_waits_double_up_to_their_limit(client: Client, serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(b"{}", 500))
    with pytest.raises(BackendError):
        client.ask(server.address)
    floors = [2, 4, 8, 16, 30, 30]
    assert len(client.clock.waits) == len(floors)
    for wait, floor in zip(client.clock.waits, floors, strict=True):
        assert floor <= wait <= floor + 1


def test_retry_after_is_a_floor(client: Client, serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(GOOD))
    server.faults = [answer(b"{}", 429, {"Retry-After": "9"})]
    client.ask(server.address)
    assert client.clock.waits == [9.0]


def test_a_long_retry_after_is_cut(client: Client, serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(GOOD))
    server.faults = [answer(b"{}", 429, {"Retry-After": "300"})]
    client.ask(server.address, max_retry_after_s=45.0)
    assert client.clock.waits == [45.0]


def test_no_wait_is_begun_that_ends_after_the_deadline(
    client: Client, serve: Any, answer: Any
) -> None:
    server = serve(lambda _: answer(b"{}", 429, {"Retry-After": "300"}))
    with pytest.raises(BackendError, match="in 2 attempts"):
        client.ask(server.address, timeout_s=100.0)
    assert client.clock.waits == [60.0]


def test_the_deadline_holds_while_others_have_all_the_places(serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(GOOD))
    options = EndpointOptions(
        model="m", base_url=f"{server.address}/v1", max_concurrency=1, timeout_s=0.2
    )

    async def both() -> None:
        asking = client_of(OpenAIBackend(options))
        async with asking.limit.slot():
            with pytest.raises(
                BackendError, match="no turn among the requests in flight"
            ) as raised:
                await counted(asking.complete(dict(REQUEST)))
        assert raised.value.usage == Usage()
        await asking.close()

    asyncio.run(both())
    assert server.paths.total() == 0


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_a_body_that_never_ends_is_cut_off(
    client: Client, serve: Any, answer: Any, fault: str
) -> None:
    server = serve(lambda _: answer(GOOD))
    server.faults = [answer(GOOD * 20, fault=fault)]
    assert client.ask(server.address, attempt_timeout_s=0.2).choices[0].text == "a"
    assert server.paths.total() == 2


@pytest.mark.parametrize(
    ("status", "step"),
    [(401, "check the API key"), (402, "credit"), (403, "may use"), (404, "--model")],
)
def test_a_user_who_is_not_served_is_told_why_at_once(
    client: Client, serve: Any, answer: Any, status: int, step: str
) -> None:
    server = serve(lambda _: answer(b'{"error": {"message": "not you"}}', status))
    with pytest.raises(UsageError, match=f"status {status}: not you; .*{step}"):
        client.ask(server.address)
    assert server.paths.total() == 1


@pytest.mark.parametrize("status", [400, 409, 422, 501])
def test_a_request_that_is_refused_is_not_repeated(
    client: Client, serve: Any, answer: Any, status: int
) -> None:
    server = serve(lambda _: answer(b'{"error": {"message": "no"}}', status))
    with pytest.raises(RejectedRequestError, match=f"status {status}"):
        client.ask(server.address)
    assert server.paths.total() == 1


@pytest.mark.parametrize(
    ("error", "needed", "available"),
    [
        (
            {
                "message": "request (1501 tokens) exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 1501,
                "n_ctx": 1024,
            },
            1501,
            1024,
        ),
        (
            {
                "message": "This model's maximum context length is 4097 tokens. However, you "
                "requested 5010 tokens (5000 in the messages, 10 in the completion)."
            },
            5010,
            4097,
        ),
        (
            {"message": "The prompt is too long: 140000, model maximum context length: 131072"},
            140000,
            131072,
        ),
    ],
    ids=["llama.cpp", "vllm", "fireworks"],
)
def test_a_prompt_that_is_too_long_is_told_apart(
    client: Client, serve: Any, answer: Any, error: dict[str, Any], needed: int, available: int
) -> None:
    server = serve(lambda _: answer(json.dumps({"error": error}).encode(), 400))
    with pytest.raises(ContextOverflowError) as raised:
        client.ask(server.address)
    assert (raised.value.needed, raised.value.available) == (needed, available)


@pytest.mark.parametrize("wording", OVERFLOWS)
@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_that_is_too_long_is_told_in_many_ways(wording: str, status: int) -> None:
    body = json.dumps({"error": {"message": wording}})
    assert isinstance(fault_of_status(status, body, {}, "KEY"), ContextOverflowError)


@pytest.mark.parametrize("wording", REFUSALS)
def test_what_is_refused_for_another_reason_is_no_overflow(wording: str) -> None:
    body = json.dumps({"error": {"message": wording}})
    assert isinstance(fault_of_status(400, body, {}, "KEY"), RejectedRequestError)


def test_a_code_decides_before_words_and_numbers_may_have_separators() -> None:
    body = json.dumps({"error": {"message": "no", "code": "context_length_exceeded"}})
    coded = fault_of_status(400, body, {}, "KEY")
    assert isinstance(coded, ContextOverflowError)
    assert (coded.needed, coded.available) == (None, None)
    told = overflow_of("The prompt is too long: 140,000, model maximum context length: 131,072")
    assert told is not None
    assert (told.needed, told.available) == (140000, 131072)


def test_an_overflow_may_come_with_status_200(client: Client, serve: Any, answer: Any) -> None:
    body = b'{"error": {"message": "input length exceeds the context length"}}'
    server = serve(lambda _: answer(body))
    with pytest.raises(ContextOverflowError):
        client.ask(server.address)
    assert server.paths.total() == 1


def test_an_answer_that_does_not_fit_is_asked_for_again(
    client: Client, serve: Any, answer: Any
) -> None:
    seen = []

    def check(completion: Completion) -> None:
        seen.append(completion)
        if len(seen) < 3:
            raise MalformedResponseError("too short")

    server = serve(lambda _: answer(GOOD))
    client.ask(server.address, check)
    assert len(seen) == 3
    assert client.usage == Usage(requests=3, input_tokens=3, output_tokens=1)


def test_a_server_without_a_key_is_quoted_as_it_speaks(
    client: Client, serve: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_API_KEY", "FIREWORKS_API_KEY"):
        monkeypatch.delenv(variable)
    server = serve(lambda _: answer(b'{"error": {"message": "none of the models"}}', 400))
    with pytest.raises(RejectedRequestError, match="none of the models"):
        client.ask(server.address)
    assert server.paths.total() == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'),
        (500, f"<html>Bearer {KEY}</html>"),
        (200, f'{{"error": "no such key {KEY}"}}'),
        (400, f'{{"error": {{"message": "{KEY} lacks a scope"}}}}'),
        (200, f"<html>{'x' * 80} Authorization: Bearer {KEY} is wrong</html>"),  # cut in the key
        (500, f"unknown key {KEY.removeprefix('sk-')}"),
    ],
)
def test_a_key_shows_nowhere(
    client: Client,
    serve: Any,
    answer: Any,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(lambda _: answer(body.encode(), status))
    with pytest.raises((BackendError, UsageError)) as raised:
        client.ask(server.address, max_attempts=2)
    assert set(server.keys) == {f"Bearer {KEY}"}  # it was sent, so it could have shown
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("asyncio")]
    for text in ("".join(traceback.format_exception(raised.value)), repr(client.client), *ours):
        for start in range(len(KEY) - 7):
            assert KEY[start : start + 8] not in text


def test_no_other_task_waits_while_the_sdk_is_imported_once(serve: Any, answer: Any) -> None:
    backend = Client("openai").backend(serve(lambda _: answer(GOOD)).address)
    imports, seen = 0, threading.Event()

    def load() -> Sdk:
        nonlocal imports
        imports += 1
        assert seen.wait(20), "the event loop stands still"
        return backend.load_sdk()

    async def ask() -> list[Completion]:
        client = client_of(backend)
        client.load = load
        asking = [asyncio.create_task(_value(client.complete(dict(REQUEST)))) for _ in range(2)]
        while not imports:
            await asyncio.sleep(0.001)
        seen.set()
        try:
            return await asyncio.gather(*asking)
        finally:
            await client.close()

    assert [found.choices[0].text for found in asyncio.run(ask())] == ["a", "a"]
    assert imports == 1


async def _value(work: Awaitable[Completion]) -> Completion:
    return (await counted(work)).value
