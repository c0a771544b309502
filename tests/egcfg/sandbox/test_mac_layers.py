"""What is left of the sandbox on macOS, on an interpreter that only looks like one there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from egcfg.sandbox.confined import layers
from egcfg.sandbox.confined.mac_layers import MacLayers


def test_programs_run_limited_and_judged_without_any_layer_of_linux() -> None:
    script = Path(__file__).with_name("darwin.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    names = ("clean environment", "rlimits", "memory limit")
    assert found["layers"] == {
        **dict.fromkeys(names, "active"),
        **dict.fromkeys(layers.LINUX_ONLY, "darwin has none"),
    }
    assert (found["level"], found["linux"]) == ("basic", [])
    modules = found["programs"].pop("modules")[1]
    assert "egcfg_confined.mac_layers" in modules
    assert not {f"egcfg_confined.{name}" for name in ("linux", "namespaces", "seccomp")} & {
        *modules
    }
    environment = found["programs"].pop("environment")[1]
    assert "TMPDIR" in environment
    assert found["programs"] == {
        "value": ["ok", 3],
        "exception": ["exception", None],
        "hang": ["timeout", None],
        "output": ["output", None],
        "exit": ["killed", None],
        "memory": ["memory", None],
        "closed": ["killed", None],
        "file": ["exception", None],
        "stdin": ["ok", "typed"],
    }


def test_a_system_that_neither_limits_nor_tells_memory_is_said_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ignored() -> None:
        raise OSError("memory is not limited")

    monkeypatch.setattr(layers, "_probe_memory_limit", ignored)
    found = MacLayers()
    found.enter(str(tmp_path), str(tmp_path), (), ())
    assert found.has("rlimits")
    assert "proc_pid_rusage" in found.status["memory limit"]
    assert found.memory_used is None
