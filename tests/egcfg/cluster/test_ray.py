"""Runs on a real Ray cluster: several nodes on this machine, each a raylet of its own.

``make test-ray`` installs Ray and runs them. A node that differs from the driver's is one in
namespaces of its own: with another host name, and without a folder or further namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

pytest.importorskip("ray", reason="make test-ray installs it")
pytestmark = pytest.mark.ray

SCRIPTED = Path(__file__).parents[1] / "cli" / "scripted"
SOURCES = Path(__file__).parents[3] / "src"
SECRET = "sk-5ecret-0f-the-driver"
TASKS = 12
BASE = ("run", "--backend", "scripted", "--dataset", "mine.jsonl", "-p", "chat", "-g", "0")
PROGRAM = "from egcfg.cli import main; main()"
OWN_NAMESPACES = "unshare --user --map-root-user --mount --uts sh -c "


@frozen
class Node:
    """A node of the cluster: ``ray start --block`` and what it has started."""

    process: subprocess.Popen[bytes]

    def below(self) -> dict[int, str]:
        """Return the command lines of all processes below it, by process id."""
        found: dict[int, str] = {}
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents[int(folder.name)] = parent
                found[int(folder.name)] = (folder / "cmdline").read_text(errors="replace")
        above = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in above} - above:
            above |= more
        return {pid: found.get(pid, "") for pid in above}

    def kill(self, which: str = "") -> None:
        """Kill its processes whose command lines hold `which`."""
        pids = [pid for pid, command in self.below().items() if which in command]
        assert pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@frozen
class Cluster:
    """A cluster on this machine, whose head has no place for an actor."""

    address: str
    folder: Path
    environment: dict[str, str]

    @contextlib.contextmanager
    def node(self, inside: str = "", **environment: str) -> Iterator[Node]:
        """Add a node with one CPU; `inside` is done first, in namespaces of its own."""
        command = f"{RAY} start --address {self.address} --num-cpus 1 --block"
        if inside:
            command = OWN_NAMESPACES + shlex.quote(f"hostname node2; {inside}; exec {command}")
        with started(command, {**self.environment, **environment}) as node:
            yield node


RAY = str(Path(sys.executable).with_name("ray"))
QUIET = "--disable-usage-stats --include-dashboard false --object-store-memory 80000000"


@contextlib.contextmanager
def started(command: str, environment: dict[str, str]) -> Iterator[Node]:
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    node = Node(process)
    assert process.stdout is not None
    said = b""
    for line in process.stdout:
        said += line
        if b"runtime started" in line:
            break
    try:
        assert b"runtime started" in said, said.decode()
        yield node
    finally:
        node.kill()
        process.communicate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    site = tmp_path_factory.mktemp("site")
    shutil.copy(SCRIPTED / "egcfg_scripted.py", site)
    metadata = site / "egcfg_scripted-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: egcfg-scripted\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[egcfg]\nscripted = egcfg_scripted\n")
    # A short path: it is that of sockets, too.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SOURCES), str(site)]),
            "RAY_TMPDIR": folder,
            "COLUMNS": "100",
        }
        port = free_port()
        head = f"{RAY} start --head --port {port} --num-cpus 0 --block {QUIET}"
        with started(head, environment):
            yield Cluster(f"127.0.0.1:{port}", Path(folder), environment)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a run; its key is known to the driver alone."""
    problems = [
        {"task_id": f"t{number}", "description": "Square x.", "tests": ["assert f(3) == 9"]}
        for number in range(TASKS)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(each) + "\n" for each in problems))

    def popen(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *BASE, "--executor", "ray", *arguments],
            cwd=tmp_path,
            env={**cluster.environment, "OPENAI_API_KEY": SECRET},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


def results(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "results").rglob("task_id=*.json"))
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize("killed", ["NodeActor", ""], ids=["the actor", "the whole node"])
def test_a_worker_that_is_killed_loses_what_it_had_in_flight_and_others_take_it(
    cluster: Cluster,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    killed: str,
) -> None:
    slow = ("--model", "scripted", "--concurrency", "2", "-o", "backend.seconds_per_question=0.1")
    with cluster.node(), cluster.node() as second:
        run = start(*slow, "--ray-address", cluster.address)
        while not any("NodeActor" in command for command in second.below().values()):
            assert run.poll() is None, run.communicate()
            time.sleep(0.1)
        assert run.stderr is not None
        said = ""
        while said.count("] task ") < 3:
            said += (line := run.stderr.readline())
            assert line, said
        second.kill(killed)
        out, rest = run.communicate()
    said += rest
    assert run.returncode == 0, said
    found = results(tmp_path)
    assert [each["passed"] for each in found] == [True] * TASKS
    finished = re.findall(r"^\[\d+/12\] task (t\d+),", said, re.MULTILINE)
    assert sorted(finished) == sorted(f"t{number}" for number in range(TASKS))
    lost = re.findall(r"task (t\d+) was lost with ", said)
    assert len(lost) <= 2
    assert not list((tmp_path / "results").rglob(".claims/task_id=*"))
    assert "12/12" in out


def test_no_secret_leaves_the_driver_and_a_run_is_recorded_and_counted_as_elsewhere(
    cluster: Cluster, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    asked = ("--ray-address", "auto", "--schedule", "rounds", "--record", "--model", "scripted")
    with cluster.node() as node:
        run = start(*asked, "-g", "1", "--max-tokens-total", "200")
        _, said = run.communicate()
        told = [command for command in node.below().values() if SECRET in command]
    assert run.returncode == 3, said
    assert re.search(r"of 24 units are done; the budget --max-tokens-total 200 is used up", said)
    found = [each for each in results(tmp_path) if each["record"]]
    assert found
    for each in found:
        assert list((tmp_path / "results").rglob(each["record"]))
    assert not told
    for file in cluster.folder.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def another_version(folder: Path) -> tuple[str, dict[str, str]]:
    shutil.copytree(SOURCES, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "src" / "egcfg" / "errors.py").open("a") as file:
        file.write("# A later commit.\n")
    return "true", {"PYTHONPATH": str(folder / "src")}


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ("code", r"egcfg 0\.1\.0 \(\w+\) there, 0\.1\.0 \(\w+\) here; install the same on all"),
        ("model", r"the model /\S+/tiny is not there; put it into a folder that all nodes share"),
        ("sandbox", r"a strict sandbox needs every isolation layer, and here are missing: .*names"),
    ],
)
def test_a_node_that_cannot_do_the_same_work_is_named_with_the_reason(
    cluster: Cluster,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    differs: str,
    why: str,
) -> None:
    model = tmp_path / "models" / "tiny"
    model.parent.mkdir()
    model.write_bytes(b"weights")
    inside, environment = "true", {}
    if differs == "code":
        inside, environment = another_version(tmp_path / "other")
    elif differs == "model":
        inside = f"mount -t tmpfs none {model.parent}"
    else:
        inside = "echo 0 > /proc/sys/user/max_user_namespaces"
    with cluster.node(inside, **environment):
        flags = (
            "--model",
            "models/tiny",
            "--sandbox",
            "strict" if differs == "sandbox" else "auto",
        )
        run = start(*flags, "--ray-address", cluster.address)
        _, said = run.communicate()
        if differs == "sandbox":
            lenient = start("--model", "models/tiny", "--limit", "1")
            _, also = lenient.communicate()
            assert lenient.returncode == 0, also
            assert re.search(r"node node2 takes part; its sandbox lacks .*namespace", also)
    assert run.returncode == 1, said
    assert re.search(rf"^warning: node node2 is left out: {why}", said, re.MULTILINE), said
    assert said.splitlines()[-1].startswith("egcfg: no node of the cluster can take part: node2: ")


def test_a_cluster_that_is_not_there_is_told_in_one_line(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    begun = time.monotonic()
    run = start("--model", "scripted", "--ray-address", f"127.0.0.1:{free_port()}")
    _, said = run.communicate()
    assert run.returncode == 1
    assert re.fullmatch(r"egcfg: no Ray cluster answers at 127\.0\.0\.1:\d+ .*\n", said), said
    assert "ray start --head" in said
    assert time.monotonic() - begun < 60  # Ray itself waits for minutes
    assert not (tmp_path / "results").exists()
