"""What must not get about does not: a whole run is watched at each place where it could be seen."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape

KEY = "sk-4815162342"
EXPECTED = "770077"  # by a visible test, of a value that the program does not have
HIDDEN = ("880088", "990099")  # what a hidden test passes, and what it expects
# Its trace shows what a program can see of where it runs, and the trace goes into a prompt. What it
# looks for is short, since long values are cut.
CURIOUS = (
    "import fnmatch, os, sys\n"
    "def f(x):\n"
    "    named = fnmatch.filter(os.environ, '*KEY*')\n"
    "    begun = fnmatch.filter(os.environ.values(), 'sk-48*')\n"
    "    told = sys.argv\n"
    "    return x * x\n"
    "```"
)

LOOKED_IN_VAIN = {("named", "[]"), ("begun", "[]")}


def found_by_the_program(text: str) -> set[tuple[str, str]]:
    """Return what the traces in a text tell of the curious program's variables."""
    return set(re.findall(r"(named|begun)=(\[[^]]*\])", text))


@pytest.fixture
def served() -> Iterator[tuple[LoopbackServer, ServedModel]]:
    """Serve a model that writes a curious program, and keeps what it was asked, as text."""

    def script(text: str) -> str:
        written = text.rpartition("```python\n")[2]
        return CURIOUS[len(written) :] if CURIOUS.startswith(written) else ""

    shape = Shape(names="text", takes_ids="")
    model = ServedModel(ScriptedBackend(ScriptedOptions(script=script, noise=0.02)), shape)
    with LoopbackServer(model) as server:
        yield server, model


def test_hidden_tests_expected_values_and_keys_stay_where_they_belong(
    process: Callable[..., Any],
    egcfg: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    served: tuple[LoopbackServer, ServedModel],
) -> None:
    server, model = served
    shown = f"assert f(3) == {EXPECTED}"
    problem = {
        "task_id": "look",
        "description": "Square.",
        "tests": [shown],
        "hidden_tests": [f"assert f({HIDDEN[0]}) == {HIDDEN[1]}"],
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(problem))
    base = ("--backend", "openai", "--base-url", f"{server.address}/v1", "--model", "m", "--debug")
    base += ("--max-tokens", "160", "-p", "long_code", "-g", "1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path / "cache"))
    ran = process("run", "--record", "--dataset", "mine.jsonl", *base)
    assert ran.status == 0, ran.err
    solve = ("solve", "Square.", "--explain", "--method", "egcfg", "--test", shown)
    solved = egcfg(*solve, *base)
    assert solved.status == 1, solved.err
    nowhere = ("--base-url", f"{server.address}/nowhere")
    failed = egcfg(*solve, *base, *nowhere)
    assert failed.status == 2, failed.err
    assert "Traceback" in failed.err  # which --debug alone shows

    # The key is sent as a header, and is nowhere else: no request's body, no log, no file, no
    # environment that a program could show.
    said = "".join(each.out + each.err for each in (ran, solved, failed))
    requests = json.dumps(model.requests)
    assert found_by_the_program(requests) == found_by_the_program(solved.err) == LOOKED_IN_VAIN
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert KEY not in requests + said

    # Hidden tests are where their verdicts are, and nowhere before.
    assert not any(word in requests + said for word in HIDDEN)
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "mine.jsonl"]
    assert {"task_id=look_gamma=1.0.json", ".provenance.json"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        assert KEY.encode() not in content, file
        if not file.name.startswith("task_id="):
            assert not any(word.encode() in content for word in HIDDEN), file

    # What a visible test expects is shown with the test, and told by no trace.
    for request in model.requests:
        # Once, with the test; what is no text is a trial of what the server takes.
        assert str(request["prompt"]).count(EXPECTED) <= 1
    [record] = [file for file in files if file.name.endswith(".record.jsonl.gz")]
    lines = gzip.decompress(record.read_bytes()).decode()
    assert KEY not in lines
    assert found_by_the_program(lines) == LOOKED_IN_VAIN
    traces = 0
    for line in map(json.loads, lines.splitlines()):
        told = json.dumps(line)
        assert line["kind"] == "verdicts" or not any(word in told for word in HIDDEN)
        if line["kind"] == "program":
            assert EXPECTED not in told
            traces += len(line["traces"])
    assert traces > 0
