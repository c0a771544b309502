"""Commands that make pages and training data of a results folder."""

from __future__ import annotations

import http.client
import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BASE = ("--backend", "scripted", "--dataset", "mine.jsonl", "-p", "chat", "--model", "scripted")


@pytest.fixture
def results(egcfg: Callable[..., Any], problems: Path) -> Path:  # noqa: ARG001 - it is read
    """Return a folder of recorded results."""
    ran = egcfg("run", "--record", *BASE, "-g", "0", "-g", "1", "-q")
    assert ran.status == 0, ran.err
    return Path("results")


def test_training_data_is_a_line_for_each_result(egcfg: Callable[..., Any], results: Path) -> None:
    ran = egcfg("trajectories", str(results), "-o", "found.jsonl")
    assert (ran.status, ran.err) == (0, "found.jsonl: 4 trajectories\n")
    lines = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert sorted(line["label"] for line in lines) == [False, False, True, True]
    assert egcfg("trajectories", str(results)).out == Path("found.jsonl").read_text()


def test_a_broken_record_is_left_out_and_told(egcfg: Callable[..., Any], results: Path) -> None:
    sorted(results.rglob("*.record.jsonl.gz"))[0].write_bytes(b"x")
    ran = egcfg("trajectories", str(results), "-o", "found.jsonl")
    assert ran.status == 1
    assert "left out: " in ran.err
    assert len(Path("found.jsonl").read_text().splitlines()) == 3


def test_a_folder_without_records_says_how_to_get_some(
    egcfg: Callable[..., Any], problems: Path
) -> None:
    egcfg("run", *BASE, "-g", "0", "-q")
    ran = egcfg("trajectories", str(problems.parent / "results"))
    assert ran.status == 1
    assert "egcfg run --record keeps one" in ran.err


def test_without_the_extra_it_says_what_to_install(
    egcfg: Callable[..., Any], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in ("report", "view"):
        ran = egcfg(command, str(results))
        assert ran.status == 2
        assert "pip install 'egcfg[report]'" in ran.err


def test_a_report_is_one_file(egcfg: Callable[..., Any], results: Path) -> None:
    ran = egcfg("report", str(results), "-o", "page.html")
    assert ran.status == 0
    assert ran.err.startswith("page.html: 4 results, 0.")
    text = Path("page.html").read_text()
    assert "mine · scripted" in text
    assert len(re.findall('<script type="text/plain"', text)) == 4
    priced = egcfg("report", str(results), "--prices", "input=1,output=2000000", "-q")
    assert (priced.status, priced.err) == (0, "")
    assert Path("report.html").read_text() != text


@pytest.mark.parametrize("command", ["report", "view"])
def test_an_empty_folder_is_told(egcfg: Callable[..., Any], tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = egcfg(command, "empty")
    assert ran.status == 1
    assert "holds no result files" in ran.err


def test_view_serves_until_it_is_interrupted(results: Path, start: Callable[..., Any]) -> None:
    child = start("view", str(results.resolve()))
    try:
        line = child.stderr.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/unit/0")
        assert connection.getresponse().status == 200
        connection.close()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out) == (0, ""), err


def test_a_port_in_use_is_told(results: Path, egcfg: Callable[..., Any]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = egcfg("view", str(results), "--port", str(taken.getsockname()[1]))
    assert ran.status == 2
    assert "choose another --port" in ran.err
