"""``egcfg trace``: run a file in the sandbox and show what happened."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import fields

from egcfg.cli.logs import log_options
from egcfg.cli.running import run_async
from egcfg.cli.settings import SETTINGS_OF_RUNS, SettingCommand, setting_options
from egcfg.cli.terminal import printable, printable_line
from egcfg.config import EffectiveConfig, RunConfig
from egcfg.config.schema import Group
from egcfg.errors import DataError, UsageError

if TYPE_CHECKING:
    from egcfg.interfaces.tracer import Trace, TraceRequest
    from egcfg.plugins.component import OpenComponent

__all__ = ["trace_command"]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PASSIVE = (*_DEFINITIONS, ast.Import, ast.ImportFrom)
_WALL_SECONDS = 3  # real time for each second of processor time


@click.command("trace", cls=SettingCommand)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--call", metavar="EXPRESSION", help='what to evaluate, such as "f(3)"')
@click.option(
    "--stdin",
    "stdin_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="what standard input of the program holds  [nothing]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    help="processor time that the program may use",
)
@click.option("--max-chars", type=click.IntRange(min=40), default=20_000, show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@setting_options(
    without=(
        Group.MODEL,
        Group.PROBLEMS,
        Group.BUDGET,
        *("prompt", "gamma", "temperature", "candidates", "horizon", "signal_interval", "unit"),
        *("partial", "top_p", "signal_tokens", "guidance", "drafts"),
        *("guided_temperature", "reuse_candidates"),
        *SETTINGS_OF_RUNS,
    )
)
@log_options
def trace_command(
    effective: EffectiveConfig,
    file: Path,
    call: str | None,
    stdin_file: Path | None,
    seconds: float,
    max_chars: int,
    form: str,
) -> None:
    """Run FILE (or - for standard input) in the sandbox and show its trace.

    With --call the expression is evaluated after FILE ran; without, FILE runs as a program. The
    exit status says whether a trace was made, not how the program ended.
    """
    from egcfg.interfaces.tracer import TraceRequest
    from egcfg.reports.trace_json import to_json
    from egcfg.sandbox import Limits

    source = sys.stdin.read() if str(file) == "-" else _read(file)
    if call is not None:
        try:
            compile(call, "--call", "eval")
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"--call: {call!r} is no expression; write it like f(3)") from error
    request = TraceRequest(
        source=source.removeprefix("\ufeff"),  # a byte order mark is none of a file's text
        call=call,
        stdin=_read(stdin_file) if stdin_file is not None else "",
        limits=Limits(cpu_seconds=seconds, wall_seconds=_WALL_SECONDS * seconds),
    )
    tracer = _tracer_for_a_person(effective.config, max_chars)
    trace = run_async(_trace(effective.config, tracer, request))
    if form == "json":
        # ASCII only: text of the traced program cannot drive the terminal.
        click.echo(json.dumps(to_json(trace), indent=2))
    else:
        click.echo(printable(tracer.ask("render", trace, max_chars)).rstrip("\n"))
    hint = _hint(trace, seconds)
    if hint is not None:
        click.echo(printable_line(hint), err=True)


def _hint(trace: Trace, seconds: float) -> str | None:
    """Return what to try next where a trace shows less than a user will have wanted."""
    from egcfg.sandbox import Outcome

    if trace.outcome is Outcome.TIMEOUT:
        return f"stopped at its time limit; --seconds N gives it more than {seconds:g}"
    raised = trace.raised
    if raised is not None and raised.type == "EOFError" and not trace.stdin:
        return "the program reads standard input; --stdin FILE gives it some"
    try:
        body = ast.parse(trace.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "nothing ran, as this is no valid program"
    names = [node.name for node in body if isinstance(node, _DEFINITIONS)]
    defines = f"it defines {', '.join(names[:10])}" if names else "it defines no function"
    called = (trace.call or "").partition("(")[0].strip()
    if raised is not None and raised.message == f"name {called!r} is not defined":
        return f"the program has no {called}: {defines}"
    if trace.call is None and names and all(isinstance(node, _PASSIVE) for node in body):
        return f'the program only defines {", ".join(names[:10])}; try --call "{names[-1]}(...)"'
    return None


async def _trace(config: RunConfig, tracer: OpenComponent, request: TraceRequest) -> Trace:
    from egcfg.config.components import configured_sandbox
    from egcfg.interfaces.tracer import Trace

    async with configured_sandbox(config) as sandbox:
        traces = await tracer.call("trace", [request], sandbox)
    match traces:
        case [Trace() as trace]:
            return trace
        case _:
            raise tracer.broken("trace gave something else than one trace")


def _tracer_for_a_person(config: RunConfig, max_chars: int) -> OpenComponent:
    """Open the tracer so that it shows what a prompt has no room for, unless told otherwise."""
    from egcfg.config.components import component_options
    from egcfg.plugins.component import OpenComponent
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import create, options_class, title_of

    kind, name = Kind.TRACER, config.tracer
    options = component_options(config, kind, name)
    known = {option.name for option in fields(options_class(kind, name))}
    for option, value in {"max_chars": max_chars, "show_opcodes": True}.items():
        if option in known:
            options.setdefault(option, value)
    tracer = create(kind, name, options)
    return OpenComponent(kind, tracer, title_of(kind, tracer))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; convert it first") from error
