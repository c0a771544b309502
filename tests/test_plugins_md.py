"""Every block of plugins.md is a file that is tested, or runs here as it stands."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import egcfg
from egcfg.cli.program import invoke
from egcfg.plugins.hookspecs import Component, Kind
from egcfg.plugins.registry import registry
from egcfg.testing.checking import Verdict, check_component

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "plugins.md").read_text(encoding="utf-8")
KINDS = ROOT / "examples" / "plugin_template" / "kinds"
EXAMPLE = ROOT / "examples" / "plugin_package"
OBSERVER = ROOT / "tests" / "plugins" / "egcfg-observer" / "egcfg_observer" / "__init__.py"
CLASSES = {
    Kind.BACKEND: ("bigram", "BigramBackend"),
    Kind.PROMPT: ("terse", "TersePrompt"),
    Kind.SCORER: ("raises", "RaisesScorer"),
    Kind.DATASET: ("csv", "CsvDataset"),
    Kind.GUIDANCE: ("surer", "SurerBranch"),
    Kind.METHOD: ("retell", "Retell"),
}
TOLD_BY_THE_TEMPLATES_TEST = ("copier copy", "cd ", "pip install", "pytest")
NEED_A_NETWORK = ("python -m build", "twine upload")

REGISTRATION = f"""
from egcfg import Component, Kind, hookimpl

CLASSES = { ({kind.value: names for kind, names in CLASSES.items()})!r}


@hookimpl
def egcfg_components():
    return [
        Component(kind=Kind(kind), name=name, target=f"egcfg_taught.{{kind}}:{{cls}}", summary="")
        for kind, (name, cls) in CLASSES.items()
    ]
"""


def blocks(*languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"python", "toml", "console", "sh", "text"}
    return [block for language, block in found if language in languages]


FILES = [*KINDS.glob("*.py"), *EXAMPLE.rglob("*.py"), *EXAMPLE.rglob("*.toml"), OBSERVER]
OF_FILES = {file.read_text(encoding="utf-8").strip() for file in FILES}
OTHERS = [block for block in blocks("python") if block.strip() not in OF_FILES]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which what the page teaches is installed, and make it importable."""
    folder = tmp_path_factory.mktemp("taught")
    package = folder / "egcfg_taught"
    package.mkdir()
    for kind in CLASSES:
        shutil.copy(KINDS / f"{kind}.py", package)
    (package / "__init__.py").write_text(REGISTRATION)
    shutil.copytree(EXAMPLE / "egcfg_ends", folder / "egcfg_ends")
    for name, point in (("egcfg-taught", "egcfg_taught"), ("egcfg-ends", "egcfg_ends")):
        info = folder / f"{point}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[egcfg]\n{point} = {point}\n")
    (folder / "double.py").write_text("def double(x):\n    return 2 * x\n")
    shutil.copy(KINDS.parent / "template" / "tests" / PROBLEMS, folder / "problems.csv")
    return folder


PROBLEMS = "{% if kind == 'dataset' %}problems.csv{% endif %}"


def shell(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_page_shows_each_example_as_it_is(file: Path) -> None:
    shown = {block.strip() for block in blocks("python", "toml")}
    assert file.read_text(encoding="utf-8").strip() in shown


def test_every_other_block_is_tested_below() -> None:
    assert len(OTHERS) == 7
    assert len(blocks("toml")) == 2
    assert len(blocks("console")) == 2
    assert len(blocks("sh")) == 3
    assert len(blocks("text")) == 1


# --- code ---------------------------------------------------------------------------------------


def test_the_blocks_that_solve_do(taught: Path) -> None:
    """A model that knows nothing solves nothing, but every option is taken."""
    first, with_option = (block for block in OTHERS if "egcfg.solve(" in block)
    program = f"{first}\n{with_option}\nprint(solution.passed)\n"
    program = program.replace("max_tokens=20", "max_tokens=5, backend='bigram'")
    program = program.replace('prompt="terse"', 'prompt="terse", gamma=0')
    program = program.replace("EndTracer(Options())", "EndTracer(Options()), prompt='terse'")
    (taught / "solves.py").write_text(program)
    ran = shell(taught, "solves")
    assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr


def test_the_test_modules_pass(taught: Path) -> None:
    modules = [block for block in OTHERS if "class Test" in block or "def test_" in block]
    assert len(modules) == 2
    for number, text in enumerate((*modules, (EXAMPLE / "tests/test_component.py").read_text())):
        (taught / f"test_{number}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        ran = shell(taught, "pytest", "-q", "-p", "egcfg.testing.pytest_plugin", str(taught))
    assert ran.returncode == 0, ran.stdout
    assert "19 passed, 1 skipped" in ran.stdout


def test_an_option_that_no_text_depends_on_says_so() -> None:
    [block] = [block for block in OTHERS if "changes_text" in block]
    space: dict[str, Any] = {}
    exec(block, space)
    assert space["Options"]().timeout_s == 60.0


def test_the_text_backend_keeps_what_it_promises() -> None:
    [block] = [block for block in OTHERS if "TextBackend" in block]
    space: dict[str, Any] = {}
    exec(block, space)
    cls = space["ParrotBackend"]
    results = list(check_component(Kind.BACKEND, lambda: cls(cls.Options()), cls))
    assert [each for each in results if each.verdict is not Verdict.OK] == []


def test_the_instrument_counts_lines(run: Any, tmp_path: Path) -> None:
    [block] = [block for block in OTHERS if "class Instrument" in block]
    (tmp_path / "counting.py").write_text(block)
    request = egcfg.TraceRequest(source="def f(x):\n    y = x\n    return y\n", call="f(1)")
    instrument = egcfg.Instrument(path=str(tmp_path / "counting.py"))

    async def counted() -> int:
        async with egcfg.Sandbox() as sandbox:
            [result] = await sandbox.run([request.execution(instrument)])
        return int.from_bytes(result.memory.ljust(4, b"\0"), "little")

    assert run(counted()) >= 3


# --- settings and commands ----------------------------------------------------------------------


def test_the_settings_are_taken(taught: Path) -> None:
    [settings] = [block for block in blocks("toml") if "# egcfg.toml" in block]
    assert tomllib.loads(settings)["prompt"]["name"] == ["terse"]
    (taught / "egcfg.toml").write_text(settings)
    ran = shell(taught, "egcfg", "config")
    (taught / "egcfg.toml").unlink()
    assert ran.returncode == 0, ran.stderr
    assert re.search(r'^prompt\.opening += "Solve this\."', ran.stdout, re.M)


@pytest.mark.parametrize("transcript", blocks("console"))
def test_a_transcript_is_what_comes_out(transcript: str, taught: Path) -> None:
    command, _, output = transcript.partition("\n")
    ran = shell(taught, *shlex.split(command.removeprefix("$ ")))
    assert (ran.returncode, ran.stdout) == (0, output), ran.stderr


def test_the_wrong_tracer_is_told_so() -> None:
    """The example without its limit, checked as `egcfg plugins check` does."""
    text = (KINDS / "tracer.py").read_text(encoding="utf-8").replace("[:max_chars]", "")
    space: dict[str, Any] = {}
    exec(text, space)
    cls = space["EndTracer"]
    results = check_component(Kind.TRACER, lambda: cls(space["Options"]()), cls)
    [failed] = [each for each in results if each.verdict is Verdict.FAILED]
    [shown] = blocks("text")
    assert [line.strip() for line in shown.splitlines()] == [
        f"failed   {failed.name}",
        failed.rule,
        failed.detail,
    ]


def commands() -> list[str]:
    lines = "".join(blocks("sh")).splitlines()
    inline = re.findall(r"`(egcfg --[^`]*)`", TEXT)
    return [*lines, *(line for line in inline if line != "egcfg --help")]


@pytest.mark.parametrize("command", commands())
@pytest.mark.usefixtures("own_logging")
def test_a_command_is_taken(
    command: str,
    taught: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command.startswith((*TOLD_BY_THE_TEMPLATES_TEST, *NEED_A_NETWORK, "egcfg plugins check")):
        return
    words = shlex.split(command)
    assert words[0] == "egcfg"
    for flag, value in (("--prompt", "terse"), ("--dataset", "quickstart")):
        words += [] if flag in words else [flag, value]
    monkeypatch.chdir(taught)
    monkeypatch.syspath_prepend(str(taught))
    registry.cache_clear()
    try:
        status = invoke([*words[1:], "--backend", "bigram", "--limit", "1", "--dry-run"])
    finally:
        registry.cache_clear()
    assert status == 0, capsys.readouterr().err


# --- what the page says -------------------------------------------------------------------------


def test_every_field_hook_and_kind_is_told() -> None:
    assert all(f"| `{each}` |" in TEXT for each in Component.__annotations__)
    assert all(f"`Kind.{kind.name}`" in TEXT for kind in Kind)


def test_what_is_called_public_is_what_plugins_may_import() -> None:
    """The list of the page and the one that the architecture's test enforces are the same."""
    tree = ast.parse((ROOT / "tests/egcfg/test_architecture.py").read_text(encoding="utf-8"))
    [public] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLIC"
    ]
    section = TEXT.partition("## What is stable")[2].partition("**Versions.**")[0]
    assert set(re.findall(r"`(egcfg\.[a-z_.]+)`", section)) == {"egcfg.__all__", *public}


def test_the_reference_is_current() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import write_plugin_reference as w; print(w.reference(), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    )
    current = (ROOT / "docs" / "plugin_reference.md").read_text(encoding="utf-8")
    assert ran.stdout == current, "python docs/write_plugin_reference.py writes it anew"


def test_every_type_that_an_interface_names_is_in_the_reference() -> None:
    told = set(
        re.findall(r"^### (\w+)$", (ROOT / "docs/plugin_reference.md").read_text(), re.MULTILINE)
    )
    interfaces = ROOT / "src" / "egcfg" / "interfaces"
    defined = {
        node.name
        for file in (*(ROOT / "src" / "egcfg").rglob("*.py"),)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    for file in interfaces.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
            named = (
                {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)}
                if (isinstance(annotation, ast.AST))
                else set()
            )
            assert named & defined <= told, file.name
