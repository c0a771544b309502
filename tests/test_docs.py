"""The docs hold: their commands are commands, their Python runs, their links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import egcfg
from egcfg.cli.program import egcfg as program
from egcfg.cli.program import invoke

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/*.md"),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def commands(page: Path) -> Iterator[str]:
    """Yield each line that calls egcfg in the page's blocks, continued lines joined."""
    for language, block in FENCE.findall(page.read_text()):
        if language in ("", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(\$ )?egcfg( |$)", line):
                    yield line.removeprefix("$ ")


SAID = [
    pytest.param(line, id=f"{page.name}:{line[:60]}")
    for page in PAGES
    if page.name != "cli.md"  # that page is generated from the program
    for line in commands(page)
]


@pytest.mark.parametrize("line", SAID)
def test_a_command_in_the_docs_is_one_that_the_program_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, not run: each option exists and takes the value."""
    monkeypatch.chdir(tmp_path)
    words = [word.removeprefix("/") for word in shlex.split(line, comments=True)[1:]]
    for word in words:  # what stands for a file or a folder of the reader's
        if re.fullmatch(r"\w[\w./-]*", word):
            path = tmp_path / word
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)
    program.main(words, standalone_mode=False)


def python_blocks(page: str) -> list[str]:
    blocks = FENCE.findall((ROOT / page).read_text())
    return [block for language, block in blocks if language == "python"]


def run_block(block: str, tiny_llama: Path, names: dict[str, Any]) -> None:
    """Run Python of a page, a tiny model in place of the one that it names."""
    code = re.sub(r'model="[^"]+"', f"model={str(tiny_llama)!r}", block)
    compiled = compile(code, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(compiled, names))
    else:
        exec(compiled, names)


def run_blocks(page: str, tiny_llama: Path, names: dict[str, Any]) -> int:
    """Run the page's Python from top to bottom."""
    blocks = python_blocks(page)
    for block in blocks:
        run_block(block, tiny_llama, names)
    return len(blocks)


@pytest.fixture(autouse=True)
def short_answers(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the model that no command names the tiny one; calls have the embedded one."""
    monkeypatch.setenv("EGCFG_MODEL", str(tiny_llama))
    monkeypatch.setenv("EGCFG_MAX_TOKENS", "8")


@pytest.mark.model
def test_the_python_of_the_readme_runs_and_the_embedded_model_solves_its_first_problem(
    tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = python_blocks("README.md")
    first_call, steps, rest = first.partition("*steps")
    names: dict[str, Any] = {}
    run_block(first_call, tiny_llama, names)
    assert names["solution"].passed
    assert names["solution"].generation.signals > 0
    assert capsys.readouterr().out == f"True {names['solution'].code}\n"

    run_block(f"{steps}{rest}", tiny_llama, names)
    assert isinstance(names.pop("solution"), egcfg.Solution)
    run_block(second, tiny_llama, names)
    assert isinstance(names["solution"], egcfg.Solution)


def test_the_python_of_the_page_about_methods_runs(tiny_llama: Path) -> None:
    problem = egcfg.Problem(
        task_id="double",
        description="Write a function double(x) that returns twice x.",
        entry_point="double",
        visible_tests=[egcfg.AssertTest("assert double(3) == 6")],
    )
    names: dict[str, Any] = {"problem": problem, "problems": [problem]}
    assert run_blocks("docs/methods.md", tiny_llama, names) == 1
    assert isinstance(names["solutions"], list)


def test_the_python_of_the_page_about_results_runs(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    given = ["run", "--quiet", "--dataset", "quickstart", "--limit", "1", "--gamma", "0"]
    assert invoke([*given, "--results-dir", "results"]) == 0
    names: dict[str, Any] = {"egcfg": egcfg}
    assert run_blocks("docs/results.md", tiny_llama, names) == 1
    assert names["hard"] == ["add"]


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("datasets", "datasets is not installed"),
        ("verifiers", "verifiers is not installed"),
    ],
)
def test_the_python_of_the_page_about_records_runs(
    package: str,
    absent: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(package, reason=absent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    given = ["run", "--quiet", "--record", "--dataset", "quickstart", "--limit", "1", "-g", "0"]
    assert invoke([*given, "--results-dir", "results"]) == 0
    capsys.readouterr()
    assert invoke(["trajectories", "results"]) == 0
    (tmp_path / "trajectories.jsonl").write_text(capsys.readouterr().out)
    [block] = [b for b in python_blocks("docs/records.md") if f"from {package}" in b]
    names: dict[str, Any] = {}
    exec(block, names)
    if package == "datasets":
        assert names["data"].column_names == ["prompt", "completion", "label"]
    else:
        assert len(names["tasks"]) == 1


def test_the_tables_of_the_race_are_what_their_commands_print(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "effect.md"
    lines = [line for line in commands(page) if line.startswith("egcfg compare docs/effect ")]
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)  # the figure is drawn here
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "effect").symlink_to(page.parent / "effect")
    for line in lines:
        words = shlex.split(line.replace("--plot docs/effect/", "--plot "))
        assert invoke(words[1:]) == 0
        assert capsys.readouterr().out.strip() in page.read_text()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "plugins.md"], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(FENCE, "", page.read_text())
    missing = [
        target
        for target in LINK.findall(text)
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert missing == []
