"""What the README shows is what comes out, and what it names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
HUB_MODEL = "Qwen/Qwen2.5-Coder-0.5B-Instruct"


def ran(arguments: list[str], folder: Path) -> str:
    """Run Python in an empty folder; return its standard output."""
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.model
def test_the_first_command_prints_what_is_printed_there(tmp_path: Path) -> None:
    [block] = [block for _, block in BLOCKS if block.startswith("$ egcfg solve")]
    command, _, said = block.removeprefix("$ egcfg ").partition("\n")
    assert ran(["-m", "egcfg", *shlex.split(command)], tmp_path) == said


@pytest.mark.model
def test_the_python_blocks_run_one_after_another(tmp_path: Path, tiny_llama: Path) -> None:
    first, second = [block for language, block in BLOCKS if language == "python"]
    assert HUB_MODEL in second  # in whose place a tiny one stands here
    second = second.replace(HUB_MODEL, str(tiny_llama)).replace("gamma=1.0", "max_tokens=8")
    program = f"{first}\nimport asyncio\nasync def main():\n{textwrap.indent(second, '    ')}"
    program += "    print(type(solution).__name__)\nasyncio.run(main())\n"
    (tmp_path / "program.py").write_text(program)
    said = ran(["-W", "error", "program.py"], tmp_path)
    assert said.startswith("True def double(x):\n")
    assert said.endswith("\nSolution\n")


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "plugins.md"])
def test_what_is_linked_is_there(file: str) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / file).read_text("utf-8"))
    paths = [link for link in links if "://" not in link]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_option_and_command_is_in_the_command_line_reference() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text("utf-8")
    # Options of other programs, which the lines with these words are about.
    others = re.compile(r"pip install|python bench|bench/")
    lines = [line for line in README.splitlines() if not others.search(line)]
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines)))
    assert len(options) > 20
    assert {o for o in options if not re.search(rf"{o}\b", reference)} == set()
    commands = set(re.findall(r"`egcfg ([a-z]+)\b", README))
    assert len(commands) > 8
    assert {c for c in commands if f"egcfg {c}" not in reference} == set()


def test_every_make_target_and_folder_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for file in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / file).read_text("utf-8")
        targets = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE))
        named = {one or other for one, other in targets}
        assert named
        assert {t for t in named if not re.search(rf"^{t}:", makefile, re.MULTILINE)} == set()
    [tree] = [block for _, block in BLOCKS if block.startswith("src/egcfg/ ")]
    rooms = set(re.findall(r"([a-z_]+)/", tree.split("src/egcfg_backends_hf")[0])) - {
        "src",
        "egcfg",
    }
    there = {path.name for path in (ROOT / "src" / "egcfg").iterdir() if path.is_dir()}
    assert rooms == there - {"__pycache__"}
