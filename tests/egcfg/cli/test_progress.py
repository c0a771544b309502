"""The live view on a real (pseudo) terminal; plain lines elsewhere are part of test_run."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _in_a_terminal(arguments: list[str], folder: Path, site: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-m", "egcfg", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "80", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 1 << 16):
            shown += block
    except OSError:
        pass  # how Linux says that the other side was closed
    os.close(ours)
    return child.wait(), shown.decode()


def test_a_terminal_sees_a_bar_the_deciding_line_and_the_table(tmp_path: Path, site: Path) -> None:
    code = "def add(a, b):\\n    return a + b  # \x1b]0;owned\x07 [/bold]"
    arguments = ["--backend", "scripted", "--model", "m[bold]", "-p", "chat", "--limit", "1"]
    arguments += ["-g", "0", "-o", f"backend.code={code}", "-o", "backend.seconds_per_question=.01"]
    arguments += ["--max-tokens-total", "1000"]

    status, shown = _in_a_terminal(arguments, tmp_path, site)

    plain = CONTROL.sub("", shown)
    assert status == 0, plain
    assert "0/1" in plain
    assert re.search(r"budget \d+%, 0 of 0 solved", plain)
    assert re.search(r"task add, ns3t0.7d2_chat_ln, gamma 0: \d+ tokens  ", plain)
    assert "[1/1] task add, ns3t0.7d2_chat_ln, gamma 0: passed" in plain
    assert "m[bold]" in plain
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown


def test_a_terminal_sees_what_is_in_flight_as_far_as_the_width_allows(
    tmp_path: Path, site: Path
) -> None:
    tasks = [
        {"task_id": f"task-{n}", "description": "Square x.", "tests": ["assert f(3) == 9"]}
        for n in range(14)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    arguments = ["--backend", "scripted", "--model", "m", "-p", "chat", "--dataset", "mine.jsonl"]
    arguments += ["-g", "0", "-o", "backend.seconds_per_question=.02", "--concurrency", "12"]

    status, shown = _in_a_terminal(arguments, tmp_path, site)

    plain = CONTROL.sub("", shown)
    assert status == 0, plain
    names = ", ".join(f"task-{n}" for n in range(7))
    assert f"12 in flight: {names}" in plain
    assert max(map(len, re.findall(r"\d+ in flight: [^\r\n]*", plain))) <= 80
    assert re.search(r"\d+ of \d+ solved, [\d.e+]+ a minute, [\d:]+ left", plain)
    assert "14 units in " in plain
