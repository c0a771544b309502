"""The program as a whole: help, dispatch, exit statuses, what it imports, how it fails."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.cli.commands import COMMANDS, RUN_OPTIONS
from egcfg.cli.logs import start_logging
from egcfg.config.schema import settings

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "transformers", "numpy", "rich", "openai", "fireworks", "datasets", "orjson")
UNUSED_FOR_HELP = (
    *("egcfg.config", "egcfg.decoding", "egcfg.engine", "egcfg.plugins", "egcfg.sandbox"),
    *("egcfg_tracers", "asyncio", "attr", "attrs", "cattrs", "difflib", "logging", "pluggy"),
    *(f"egcfg.cli.{name.replace('-', '_')}" for name in COMMANDS),
)


def _loaded_by(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.splitlines()[-1].split())


def test_importing_egcfg_loads_nothing_but_itself() -> None:
    loaded = _loaded_by("import egcfg")

    assert not loaded.intersection((*HEAVY, *UNUSED_FOR_HELP, "click"))


def test_finding_components_loads_nothing_heavy() -> None:
    assert not _loaded_by("import egcfg.plugins.registry").intersection(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    loaded = _loaded_by("from egcfg.cli.program import invoke\nassert invoke(['--help']) == 0")

    assert "click" in loaded
    assert not loaded.intersection((*HEAVY, *UNUSED_FOR_HELP))


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_teaches_commands_settings_and_examples(
    egcfg: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    ran = egcfg(*arguments)

    assert (ran.status, ran.err) == (0, "")
    for name in COMMANDS:
        assert f"\n  {name} " in ran.out
    for setting in settings().values():
        assert setting.flag in ran.out
    assert 'egcfg solve "' in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_begins_its_own_help(name: str) -> None:
    module_name = name.replace("-", "_")
    module = importlib.import_module(f"egcfg.cli.{module_name}")
    help_text = getattr(module, f"{module_name}_command").help

    assert " ".join(help_text.split()).startswith(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_the_logging_flags(
    egcfg: Callable[..., Any], name: str
) -> None:
    ran = egcfg(name, "--help")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: egcfg {name} ")
    for flag in ("--quiet", "--debug"):
        assert flag in ran.out


def test_the_command_line_reference_is_current() -> None:
    spec = importlib.util.spec_from_file_location(
        "write_cli_reference", ROOT / "docs" / "write_cli_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)

    assert writer.REFERENCE.read_text() == writer.reference(), "run: make docs"
    assert Path(RUN_OPTIONS).read_text() == writer.run_options(), "run: make docs"


def test_the_version_is_the_distributions(egcfg: Callable[..., Any]) -> None:
    import egcfg as package

    assert egcfg("--version").out == f"egcfg {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trac",), "no command named 'trac'; did you mean 'trace'? (see egcfg --help)"),
        (("--modle", "x"), "'--model'"),
        (("run", "extra"), "unexpected extra argument"),
        (("config", "--format", "xml"), "Invalid value for '--format'"),
        (("--limit",), "Option '--limit' requires an argument"),
    ],
)
def test_a_mistyped_command_line_is_one_line_and_status_2(
    egcfg: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    ran = egcfg(*arguments)

    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("flags", [("--debug",), ("-q", "--debug")])
def test_logging_flags_may_stand_before_the_command(
    egcfg: Callable[..., Any], flags: tuple[str, ...]
) -> None:
    assert egcfg(*flags, "config").out == egcfg("config", *flags).out != ""


def test_the_environment_can_ask_for_tracebacks(
    egcfg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGCFG_DEBUG", "1")

    ran = egcfg("config", "--config", "nowhere.toml")

    assert ran.status == 2
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("egcfg: nowhere.toml: cannot be read")


def test_statuses_are_those_of_a_real_process(process: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert process("config").status == 0
    assert process("monitor", "empty").status == 1
    assert process("monitor", "nowhere").status == 2
    assert process("config", "-g", "x").status == 2


def test_a_reader_that_went_away_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)

    ran = subprocess.run(
        [sys.executable, "-m", "egcfg", "config"],
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)

    assert (ran.returncode, ran.stderr) == (1, "")


def test_logs_are_harmless_lines_and_keep_libraries_quiet(
    egcfg: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    egcfg("config", "--debug")
    capsys.readouterr()

    logging.getLogger("egcfg.somewhere").debug("model said \x1b[2J\nand more")
    logging.getLogger("httpx").info("Authorization: Bearer sk-1234567")
    logging.getLogger("httpx").warning("slow")

    assert capsys.readouterr().err == "debug: model said \\x1b[2J\\nand more\nwarning: slow\n"


def test_starting_twice_logs_once(
    egcfg: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    egcfg("config")
    start_logging()
    capsys.readouterr()

    logging.getLogger("egcfg").warning("once")

    assert capsys.readouterr().err == "warning: once\n"
