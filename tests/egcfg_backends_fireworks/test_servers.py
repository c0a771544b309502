"""Servers of many kinds, each played in the shape that its documentation or source has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from egcfg.cli.diagnosis import look_at_backend
from egcfg.config import RunConfig
from egcfg.errors import BackendError, CapabilityError, ContextOverflowError, UsageError
from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.profile import KeptProfiles
from egcfg_backends_fireworks.responses import Spelling
from egcfg_backends_fireworks.services import OpenAIBackend
from egcfg_backends_fireworks.testing import Answer, ServedModel, Shape
from egcfg_backends_fireworks.wire import Prefill

from ..add_one import PREFIX, RIGHT, WRONG, decoded, scripted

pytestmark = pytest.mark.usefixtures("no_keys")
FAST = {"backoff_s": 0.001, "max_backoff_s": 0.01, "attempt_timeout_s": 20.0}


def no_cut(request: dict[str, Any]) -> str:
    """As SGLang refuses what others take as "no cut", and only where it would sample."""
    cut = request.get("top_k", -1)
    return "top_k must be -1 (disable) or at least 1" if cut == 0 and _hot(request) else ""


def strict(request: dict[str, Any]) -> str:
    """As servers refuse that know OpenAI's fields alone."""
    beyond = request.keys() & {"top_k", "min_p", "return_token_ids", "chat_template_kwargs"}
    return f"unrecognized request argument: {min(beyond)}" if beyond else ""


def as_tgi(request: dict[str, Any]) -> str:
    """As text-generation-inference refuses, by its `router/src/validation.rs`."""
    prompt = request.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else prompt or []
    texts += [message["content"] for message in request.get("messages", ())]
    given, most = sum(map(len, texts)), request["max_tokens"]  # a token for each letter
    found = ""
    if not 0.0 < request.get("top_p", 0.5) < 1.0:
        found = "`top_p` must be > 0.0 and < 1.0"
    elif request.get("top_k", 1) <= 0:
        found = "`top_k` must be strictly positive"
    elif request.get("top_logprobs", 0) > 5:
        found = f"`top_n_tokens` must be >= 0 and <= 5. Given: {request['top_logprobs']}"
    elif given + most > 4096:
        found = (
            "`inputs` tokens + `max_new_tokens` must be <= 4096. "
            f"Given: {given} `inputs` tokens and {most} `max_new_tokens`"
        )
    return found and f"Input validation error: {found}"


def _hot(request: dict[str, Any]) -> bool:
    return bool(request["temperature"] > 0)


def no_message_after_the_assistants(request: dict[str, Any]) -> str:
    messages = request.get("messages", [{"role": "user"}])
    return "the last message must be a user's" if messages[-1]["role"] == "assistant" else ""


SHAPES = {
    "llama.cpp": Shape(
        chat="boolean",
        most_alternatives=1000,
        prefill=Prefill.CONTINUE,
        repeats=True,
        takes_ids="mixed",
        echoes=False,
        routes=True,
    ),
    "SGLang": Shape(
        completions="number",
        chat="boolean",
        most_alternatives=1000,
        prefill=Prefill.CONTINUE,
        names="text",
        refuses=no_cut,
    ),
    "vLLM": Shape(completions="coerced", most_alternatives=20, routes=True),
    "vLLM's chat": Shape(
        completions="", chat="boolean", most_alternatives=20, prefill=Prefill.CONTINUE, names="text"
    ),
    "Ollama": Shape(
        completions="ignored",
        chat="boolean",
        most_alternatives=20,
        prefill=Prefill.LAST,
        names="text",
        takes_ids="",
        several=False,
    ),
    "mlx-lm": Shape(
        completions="boolean",
        most_alternatives=11,
        names="raw",
        takes_ids="",
        several=False,
        breaks=True,
    ),
    "DeepSeek": Shape(
        completions="number",
        chat="boolean",
        most_alternatives=20,
        prefill=Prefill.PREFIX,
        names="text",
        takes_ids="",
        several=False,
    ),
    "TabbyAPI": Shape(
        completions="number",
        chat="boolean",
        most_alternatives=1000,
        prefill=Prefill.RESPONSE_PREFIX,
        names="text",
        takes_ids="",
        refuses=no_message_after_the_assistants,
    ),
    "a gateway": Shape(
        completions="",
        chat="boolean",
        most_alternatives=5,
        prefill=Prefill.LAST,
        repeats=True,
        names="text",
        several=False,
        refuses=strict,
    ),
}
TGI = Shape(
    completions="ignored",
    chat="boolean",
    most_alternatives=1000,
    names="text",
    takes_ids="",
    refuses=as_tgi,
    refused=422,
)
# Requests, input and output tokens of one guided decoding, as each kind of server counts them. A
# call that is no longer sent together with others costs more, and changes no text.
COSTS = {
    "llama.cpp": (14, 1051, 164),
    "SGLang": (9, 1051, 164),
    "vLLM": (14, 1051, 164),
    "vLLM's chat": (9, 1051, 164),
    "Ollama": (11, 1175, 164),
    "mlx-lm": (82, 7261, 256),
    "DeepSeek": (11, 1175, 164),
    "TabbyAPI": (9, 1051, 164),
    "a gateway": (11, 1175, 164),
}
CHATS = ("vLLM's chat", "Ollama", "DeepSeek", "TabbyAPI", "a gateway", "SGLang")


def served(shape: Shape) -> ServedModel:
    return ServedModel(scripted(), shape)


def backend_of(address: str, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(EndpointOptions(model="m", base_url=f"{address}/v1", **FAST, **options))


@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_the_text_is_the_models_own_and_every_request_is_counted(
    serve: Any, opened: Any, run: Any, name: str, gamma: float
) -> None:
    model = served(SHAPES[name])
    server = serve(model, others=model.others)
    with opened(backend_of(server.address)) as backend:
        assert backend.usage.requests == server.paths.total()  # the probe's
        before = server.paths.total()
        chat = backend.capabilities.chat
        generation = run(decoded(backend.backend, gamma, chat=chat))
        assert backend.capabilities.text is not (name in CHATS)
    assert generation.code == (RIGHT if gamma else WRONG).removesuffix("```\n")
    usage = generation.total_usage
    assert usage.requests == server.paths.total() - before
    if gamma == 1.0:
        assert (usage.requests, usage.input_tokens, usage.output_tokens) == COSTS[name]


@pytest.mark.parametrize(
    ("name", "route", "top_k"),
    [
        ("llama.cpp", Route.COMPLETIONS, 200),
        ("SGLang", Route.CHAT, 200),
        ("vLLM", Route.COMPLETIONS, 20),
        ("vLLM's chat", Route.CHAT, 20),
        ("Ollama", Route.CHAT, 20),
        ("mlx-lm", Route.COMPLETIONS, 11),
        ("DeepSeek", Route.CHAT, 20),
        ("TabbyAPI", Route.CHAT, 200),
        ("a gateway", Route.CHAT, 5),
    ],
)
def test_the_probe_finds_the_route_and_how_many_alternatives_there_are(
    serve: Any, opened: Any, name: str, route: Route, top_k: int
) -> None:
    model = served(SHAPES[name])
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        form = backend.profile.form
        # A scripted model has 128 tokens.
        assert (form.route, form.top_k) == (route, min(top_k, 128))
        assert form.prefill is (SHAPES[name].prefill if route is Route.CHAT else None)
        assert backend.profile.multiple is SHAPES[name].several


@pytest.mark.parametrize("name", CHATS)
def test_distributions_after_a_prefix_are_the_models_own(
    serve: Any, opened: Any, run: Any, name: str
) -> None:
    model = served(SHAPES[name])
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        written = ""
        for text in ("", "def f(x):", "def f(x):\n", "def f(x):\n    "):
            chat = ChatPrompt((ChatMessage("user", "Add one."),), PREFIX + text)
            [[found]] = backend.score([ScoreRequest(backend.encode(chat))])
            local = scripted()
            ids = tuple(map(ord, f"<user>\nAdd one.\n<assistant>\n{PREFIX}{text}"))
            [[dense]] = run(local.score([ScoreRequest(ids)])).value
            for token, value in zip(found.ids, found.values, strict=True):
                letter = backend.decode([int(token)])
                if letter:  # the end has no text
                    assert value == pytest.approx(dense.logprob(ord(letter)), abs=1e-6)
            written += backend.decode([found.argmax()])
        assert written == "d\n y"


def test_each_field_that_a_server_refuses_is_left_out_alone(serve: Any, opened: Any) -> None:
    model = served(evolve(SHAPES["SGLang"], chat=""))
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        assert backend.profile.form.fields == {
            "top_k": -1,
            "min_p": 0.0,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        before = len(model.requests)
        params = SamplingParams(temperature=0.8, max_tokens=3)
        backend.sample([SampleRequest(backend.ids("def f(x):\n"), 2, params)])
        assert {request["top_k"] for request in model.requests[before:]} == {-1}


def test_a_server_that_knows_none_of_the_fields_is_asked_without(serve: Any, opened: Any) -> None:
    model = served(SHAPES["a gateway"])
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        assert backend.profile.form.fields == {"thinking": {"type": "disabled"}}


def test_tokens_spelt_as_in_the_vocabulary_are_read_as_text(serve: Any, opened: Any) -> None:
    model = served(SHAPES["mlx-lm"])
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        assert backend.profile.spelling is Spelling.BYTE_LEVEL
        assert not backend.profile.named
        [[found]] = backend.score([ScoreRequest(backend.ids("def f(x):"))])
        assert backend.decode([found.argmax()]) == "\n"
        params = SamplingParams(temperature=0.0, max_tokens=20, max_lines=1)
        [[line]] = backend.sample([SampleRequest(backend.ids("def f(x):\n"), 1, params)])
        assert line.text == backend.decode(line.ids) == "    y = x - 1\n"


def test_a_beginning_that_loses_its_white_space_is_no_use(
    serve: Any, opened: Any, run: Any
) -> None:
    model = served(evolve(SHAPES["Ollama"], trims=True))
    server = serve(model, others=model.others)
    with opened(backend_of(server.address)) as backend:
        assert not backend.capabilities.logprobs
        [lack] = backend.profile.lacks
        assert "does not go on from the beginning of an answer" in lack
        # Methods that need text alone still run.
        generation = run(decoded(backend.backend, 0.0, chat=True))
        assert generation.code == WRONG.removesuffix("```\n")


@pytest.mark.parametrize(
    "shape",
    [
        Shape(completions="", chat="ignored", takes_ids=""),
        Shape(completions="ignored", chat="ignored", takes_ids=""),
        Shape(completions="ignored", takes_ids=""),
    ],
    ids=["chat", "both", "completions"],
)
def test_a_server_without_logprobs_runs_text_methods_and_says_so(
    serve: Any, opened: Any, run: Any, caplog: pytest.LogCaptureFixture, shape: Shape
) -> None:
    model = served(shape)
    server = serve(model, others=model.others)
    caplog.set_level("INFO")
    with opened(backend_of(server.address)) as backend:
        assert not backend.capabilities.logprobs
        chat = bool(shape.chat)
        assert (backend.capabilities.chat, backend.capabilities.text) == (chat, not chat)
        generation = run(decoded(backend.backend, 0.0, chat=chat))
        assert generation.code == WRONG.removesuffix("```\n")
    assert "without log-probabilities only methods run" in caplog.text


@pytest.mark.parametrize(
    ("shape", "chat"), [(TGI, True), (evolve(TGI, chat=""), False)], ids=["chat", "completions"]
)
def test_tgi_runs_text_methods_without_the_fields_that_it_refuses(
    serve: Any, opened: Any, run: Any, shape: Shape, chat: bool
) -> None:
    model = served(shape)
    with opened(backend_of(serve(model, others=model.others).address)) as backend:
        assert not backend.capabilities.logprobs
        assert (backend.capabilities.chat, backend.capabilities.text) == (chat, not chat)
        fields = backend.profile.form.fields
        assert "top_k" not in fields
        assert fields.get("min_p") == (0.0 if chat else None)  # where it was tried, it is taken
        generation = run(decoded(backend.backend, 0.0, chat=chat))
        assert generation.code == WRONG.removesuffix("```\n")
        asked: Any = ChatPrompt((ChatMessage("user", "a"),)) if chat else TextPrompt(("a",))
        for top_p, sent in ((0.95, 0.95), (1.0, None)):
            params = SamplingParams(temperature=0.8, top_p=top_p, max_tokens=40)
            run(backend.backend.complete(asked, params))
            assert model.requests[-1].get("top_p") == sent
        with pytest.raises(ContextOverflowError) as caught:
            run(backend.backend.complete(asked, evolve(params, max_tokens=5000)))
        assert caught.value.available == 4096


def test_the_chosen_route_is_taken_or_refused(serve: Any, opened: Any, run: Any) -> None:
    model = served(SHAPES["llama.cpp"])
    server = serve(model, others=model.others)
    texts = set()
    for route in ("completions", "chat"):
        with opened(backend_of(server.address, route=route)) as backend:
            assert backend.profile.form.route is Route(route)
            texts.add(run(decoded(backend.backend, 1.0, chat=True)).code)
            if route == "chat":
                with pytest.raises(CapabilityError, match="--prompt chat"):
                    backend.encode(TextPrompt(("a",)))
    assert texts == {RIGHT.removesuffix("```\n")}
    only = served(Shape())
    with pytest.raises(UsageError, match="404"):
        run(backend_of(serve(only, others=only.others).address, route="chat").open())


def test_a_profile_is_kept_while_the_server_has_the_same_models(
    serve: Any, opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Not by $EGCFG_CACHE_DIR: the fixture of the real server may have set the folder before.
    monkeypatch.setattr(KeptProfiles, "folder", property(lambda _: tmp_path))
    model, models = served(SHAPES["llama.cpp"]), [{"id": "one", "created": 1}]

    def others(path: str, request: dict[str, Any]) -> Answer:
        if path == "/v1/models":
            models[0]["created"] = int(models[0]["created"]) + 1  # differs from answer to answer
            return Answer(json.dumps({"data": models}).encode())
        return model.others(path, request)

    server = serve(model, others=others)

    def probed(**options: Any) -> tuple[Any, int]:
        before = server.paths.total()
        with opened(backend_of(server.address, **options)) as backend:
            return backend.profile, server.paths.total() - before

    first, requests = probed()
    assert requests > 10
    assert probed() == (first, 1)
    assert probed(fresh=True)[1] > 10
    assert probed(top_k=3)[1] > 10  # asked otherwise
    models[0]["id"] = "another"
    assert probed()[1] > 10
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text()[:-20])  # cut
    assert probed()[1] > 10


def test_doctor_says_in_words_what_was_found(serve: Any, run: Any) -> None:
    model = served(SHAPES["Ollama"])
    server = serve(model, others=model.others)
    config = RunConfig(backend="openai", model="m", base_url=f"{server.address}/v1")
    findings = {f.name: f.detail for f in run(look_at_backend(config, fresh=True))}
    assert findings["log-probabilities"] == "yes, 20 alternatives per token"
    assert findings["echo"].startswith("no")
    assert findings["an answer's beginning"] == "is continued (last message)"
    assert findings["requests per line"].startswith("a request per candidate")


def test_where_the_server_is_has_to_be_said() -> None:
    with pytest.raises(UsageError, match=r"--base-url, such as .*11434"):
        OpenAIBackend(EndpointOptions(model="m"))


def test_a_renamed_model_is_no_answer(serve: Any, opened: Any) -> None:
    model, name = served(SHAPES["llama.cpp"]), "m"

    def renamed(request: dict[str, Any]) -> Answer:
        answer = model(request)
        return evolve(
            answer, body=answer.body.replace(b'"model": "m"', f'"model": "{name}"'.encode())
        )

    server = serve(renamed, others=model.others)
    with opened(backend_of(server.address, max_attempts=2)) as backend:
        ids = backend.ids("def f(x):")
        name = "another"
        with pytest.raises(BackendError, match="the model 'another' instead of 'm'"):
            backend.score([ScoreRequest(ids)])


def test_a_vendors_sdk_is_imported_when_the_first_request_is_sent(serve: Any) -> None:
    model = served(SHAPES["llama.cpp"])
    server = serve(model, others=model.others)
    code = (
        "import asyncio, sys\n"
        "from egcfg_backends_fireworks.options import EndpointOptions\n"
        "from egcfg_backends_fireworks.services import OpenAIBackend\n"
        f"backend = OpenAIBackend(EndpointOptions(model='m', base_url='{server.address}/v1'))\n"
        "print({'openai', 'fireworks', 'httpx', 'httpx2'} & sys.modules.keys())\n"
        "asyncio.run(backend.open())\n"
        "print({'openai', 'fireworks'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "set()\n{'openai'}\n"
