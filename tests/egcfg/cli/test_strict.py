"""``--sandbox strict`` on the command line: with a layer missing, no program runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.watch import Watch

MODEL = ("--backend", "scripted", "--model", "scripted")
COMMANDS = {
    "run": ("run", *MODEL, "--dataset", "mine.jsonl", "-p", "chat", "-g", "0"),
    "score": ("score", "samples.jsonl", "--dataset", "mine.jsonl"),
    "solve": ("solve", "Square x.", *MODEL, "--test", "assert f(3) == 9", "-p", "chat"),
    "trace": ("trace", "program.py", "--call", "f(3)"),
}


@pytest.fixture
def ran(problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the programs that run, on a machine that has no Landlock."""
    (tmp_path / "samples.jsonl").write_text('{"task_id": "square", "solution": "def f(x): ..."}\n')
    (tmp_path / "program.py").write_text("def f(x):\n    return x * x\n")
    assert problems.parent == tmp_path
    sources: list[str] = []
    start_server, start = ServerProcess.start, Watch.start

    async def without_landlock(*_: object) -> ServerProcess:
        return await start_server(["landlock"])

    async def noted(self: Watch) -> None:
        sources.append(self._request.get("source", ""))
        await start(self)

    monkeypatch.setattr(ServerProcess, "start", without_landlock)
    monkeypatch.setattr(Watch, "start", noted)
    return sources


@pytest.mark.parametrize("command", COMMANDS)
def test_strict_refuses_where_a_layer_is_missing(
    egcfg: Callable[..., Any], ran: list[str], command: str
) -> None:
    strict = egcfg(*COMMANDS[command], "--sandbox", "strict")
    assert strict.status == 1
    assert "a strict sandbox needs every isolation layer" in strict.err
    assert "landlock: switched off" in strict.err
    assert ran == []

    usual = egcfg(*COMMANDS[command], "--sandbox", "auto")
    assert "strict" not in usual.err
    assert ran
