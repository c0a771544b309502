"""What must not get about does not: a whole run is watched at each place where it could be seen."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel

KEY = "sk-4815162342"
EXPECTED = "770077"  # by a visible test, of a value that no program has
HIDDEN = ("880088", "990099")  # what a hidden test passes, and what it expects
# Whatever it can get at is a value of its own: it would be in a trace, and so in a prompt.
CURIOUS = (
    "import gc, os, sys\n"
    "def f(x):\n"
    "    seen = str(dict(os.environ)) + str(sys.argv) + str(os.listdir('.'))\n"
    "    own = [o for o in gc.get_objects() if type(o) in (dict, list, tuple)]\n"
    "    secrets = [w for w in ('{}', '{}', '{}', '{}') if w in seen + repr(own)]\n"
    "    return len(secrets)\n"
    "```"
)


def halves(text: str) -> str:
    """Return an expression of a text that does not contain it."""
    return f"' '.join({[*text]})".replace(" ", "", 1)


@pytest.fixture
def served() -> Iterator[tuple[LoopbackServer, ServedModel]]:
    """Serve a model whose every answer looks around itself."""
    wanted = (
        "[" + ", ".join(f"'{word[:3]}' + '{word[3:]}'" for word in (KEY, EXPECTED, *HIDDEN)) + "]"
    )
    answer = CURIOUS.replace("('{}', '{}', '{}', '{}')", wanted)

    def script(text: str) -> str:
        written = text.rpartition("```python\n")[2]
        return answer[len(written) :] if answer.startswith(written) else ""

    model = ServedModel(ScriptedBackend(ScriptedOptions(script=script, noise=0.02)))
    with LoopbackServer(model, others=model.others) as server:
        yield server, model


def everything_written(folder: Path) -> dict[str, str]:
    """Return the text of all files beneath a folder."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            text = gzip.decompress(content) if file.suffix == ".gz" else content
            found[str(file.relative_to(folder))] = text.decode("utf-8", "replace")
    return found


def test_hidden_tests_expected_values_and_keys_stay_where_they_belong(
    process: Callable[..., Any], tmp_path: Path, served: tuple[LoopbackServer, ServedModel]
) -> None:
    server, model = served
    (tmp_path / "mine.jsonl").write_text(
        json.dumps(
            {
                "task_id": "look",
                "description": "Count.",
                "tests": [f"assert f(3) == {EXPECTED}"],
                "hidden_tests": [f"assert f({HIDDEN[0]}) == {HIDDEN[1]}"],
            }
        )
    )
    base = ("--backend", "openai", "--base-url", f"{server.address}/v1", "--model", "m")
    base += ("--max-tokens", "500", "-p", "chat", "-g", "1", "--debug")
    ran = process(
        *("run", "--record", "--dataset", "mine.jsonl", *base, "--results-dir", "results"),
        OPENAI_API_KEY=KEY,
        EGCFG_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert ran.status == 0, ran.err
    solved = process(
        *(
            "solve",
            "Count.",
            "--explain",
            "--method",
            "egcfg",
            "--test",
            f"assert f(3) == {EXPECTED}",
            *base,
        ),
        OPENAI_API_KEY=KEY,
        EGCFG_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert solved.status == 1, solved.err

    # The key is sent as a header, and is nowhere else.
    assert set(server.keys) == {f"Bearer {KEY}"}
    requests = json.dumps(model.requests)
    files = everything_written(tmp_path / "results") | everything_written(tmp_path / "cache")
    said = ran.out + ran.err + solved.out + solved.err
    assert KEY not in requests + said + "".join(files.values())

    # Hidden tests are in the data, and as names in what scored them; nobody was told of them before.
    assert not any(word in requests + said for word in HIDDEN)
    [result] = [text for name, text in files.items() if name.endswith("_gamma=1.0.json")]
    print(files.keys())
    for name, text in files.items():
        print(name, [w for w in (*HIDDEN, EXPECTED) if w in text])

    # A visible test is shown as it is; what it expects is told by no trace.
    signals = [text for text in map(json.dumps, model.requests) if "secrets" in text]
    assert signals
    assert "len(secrets)" in json.loads(result)["code"]
    for request in model.requests:
        print(str(request["prompt"])[:6000])
        break
    assert 0
