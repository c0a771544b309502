"""The table of settings: each one declared once, with its type, default, help and flags.

A setting called ``top_p`` is the flag ``--top-p``, the environment variable ``EGCFG_TOP_P`` and the
key ``top_p`` of ``egcfg.toml``; short flags are listed beside it. Knows nothing about where values
come from.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import attrs
from attrs import field, frozen

from egcfg.datasets.decoder_tests import DecoderTests
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.config_string import SETTINGS_IN_STRING, SignalConfig
from egcfg.sandbox.packages import package_names
from egcfg.usage.prices import PriceTable

__all__ = [
    "BACKEND_SETTINGS",
    "ENVIRONMENT_PREFIX",
    "SIGNAL_AXES",
    "Executor",
    "Group",
    "Horizon",
    "OptionValue",
    "RunConfig",
    "SandboxMode",
    "Schedule",
    "Setting",
    "settings",
]

ENVIRONMENT_PREFIX = "EGCFG_"

SIGNAL_AXES = frozenset({"prompt", *SETTINGS_IN_STRING})
"""The settings that a config string (``signal``) holds, too."""

Horizon: TypeAlias = Annotated[int | None, "lines, or inf"]
"""Further lines per candidate; None (spelt ``inf``) for no limit."""


class SandboxMode(enum.StrEnum):
    """What to do where an isolation layer is not available."""

    AUTO = "auto"
    STRICT = "strict"


class Schedule(enum.StrEnum):
    """In which order a run makes the attempts of its tasks."""

    TASKS = "tasks"
    ROUNDS = "rounds"


class Order(enum.StrEnum):
    """In which order a run takes the tasks, configurations and gammas of its grid."""

    PAPER = "paper"
    CHEAP_FIRST = "cheap_first"


class Executor(enum.StrEnum):
    """Where a run's units are solved."""

    LOCAL = "local"
    RAY = "ray"


class Group(enum.StrEnum):
    """The headings that ``--help`` sorts the settings under."""

    MODEL = "Model"
    PROBLEMS = "Problems"
    GUIDANCE = "Guidance (several values of a repeatable flag make a grid)"
    EXECUTION = "Execution and results"
    BUDGET = (
        "Budgets (the run stops cleanly at one, with exit status 3, and goes on with a larger one)"
    )


@frozen(kw_only=True)
class OptionValue:
    """One option of one component.

    Attributes:
        kind: kind of the component.
        component: its name; empty for whichever is selected.
        name: the option.
        value: as its source holds it.
        origin: the source, for messages.
    """

    kind: Kind
    component: str
    name: str
    value: Any
    origin: str = field(default="", eq=False)


@frozen(kw_only=True)
class Setting:
    """One row of the table.

    Attributes:
        name: attribute of `RunConfig`, and key of the configuration file.
        group: heading in ``--help``.
        help: one line; says the unit where there is one.
        short: a one-letter flag, such as ``-t``.
        metavar: placeholder of the value in ``--help``.
        type: annotation of the attribute.
        default: value where no source gives one.
        validate: raises ValueError or ConfigError where a value of that type is out of range.
    """

    name: str
    group: Group
    help: str
    short: str | None
    metavar: str
    type: Any
    default: Any
    validate: Callable[[Any], None]

    @property
    def flag(self) -> str:
        """The long flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def repeatable(self) -> bool:
        """Whether it holds several values."""
        return getattr(self.type, "__origin__", None) is tuple

    @property
    def switch(self) -> bool:
        """Whether it is either on or off."""
        return self.type is bool


def _setting(
    group: Group,
    text: str,
    default: Any,
    short: str | None = None,
    metavar: str = "TEXT",
    check: Callable[[Any], object] | None = None,
) -> Any:
    """Return the field of a setting.

    Args:
        group, text, default, short, metavar: see `Setting`.
        check: raises where a value (each one, of several) is out of range; a setting that
            `DecodingSettings` has as well is checked as it is there.
    """

    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        for item in value if isinstance(value, tuple) else (value,):
            if attribute.name in _DECODING:
                _check_decoding(attribute.name, item)
            elif check is not None and item is not None:
                check(item)

    metadata = {"group": group, "help": text, "short": short, "metavar": metavar}
    return field(default=default, metadata=metadata, validator=validate)


def _check_decoding(name: str, value: Any) -> None:
    """See that a setting of `DecodingSettings` is in the range that is declared there."""
    try:
        DecodingSettings(**{name: value})
    except ValueError as error:
        step = f"; {_NEXT_STEPS[name]}" if name in _NEXT_STEPS else ""
        raise ValueError(str(error).removeprefix(f"{name!r} ") + step) from error


def _at_least(least: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if value < least:
            raise ValueError(f"must be at least {least}, not {value}")

    return check


def _above_zero(value: float) -> None:
    if value <= 0:
        raise ValueError(f"must be above 0, not {value:g}")


BACKEND_SETTINGS = ("model", "base_url", "route", "tokenizer", "device", "dtype")
"""Settings that are options of whichever backend is selected; None: as that backend has it."""

_DECODING = {f.name: f.default for f in attrs.fields(DecodingSettings)}
_NEXT_STEPS = {
    "candidates": "for decoding without any, set --gamma 0",
    "horizon": "for no limit, write inf",
    "signal_interval": "for one signal only, set --unit prefix",
    "temperature": "for the likeliest tokens, write 0",
    "guided_temperature": "for the likeliest tokens, write 0",
}
"""What a user wants who sets one out of its range."""


@frozen(kw_only=True)
class RunConfig:
    """What a run is asked to do. The tuples of the guidance group span the grid of a run."""

    backend: str = _setting(Group.MODEL, "where the model runs", "hf", metavar="NAME")
    model: str | None = _setting(
        Group.MODEL, "hub id, folder or .gguf file; or the endpoint's name for it", None
    )
    base_url: str | None = _setting(
        Group.MODEL,
        "the endpoint, such as http://localhost:8000/v1",
        None,
        metavar="URL",
    )
    route: str | None = _setting(
        Group.MODEL, "how the endpoint is asked: auto, completions or chat", None, metavar="NAME"
    )
    tokenizer: str | None = _setting(
        Group.MODEL, "a local tokenizer of the endpoint's model; saves requests", None
    )
    device: str | None = _setting(
        Group.MODEL, "where a local model runs: auto, cpu, cuda:1", None, metavar="NAME"
    )
    dtype: str | None = _setting(
        Group.MODEL, "a local model's numbers: auto, float32, bfloat16", None, metavar="NAME"
    )
    max_tokens: int = _setting(
        Group.MODEL, "response tokens at most", _DECODING["max_tokens"], metavar="N"
    )
    seed: int = _setting(Group.MODEL, "of everything random", _DECODING["seed"], metavar="N")

    dataset: str = _setting(
        Group.PROBLEMS,
        "a data set's name, or a .jsonl or .parquet file",
        "quickstart",
        metavar="NAME|FILE",
    )
    data: Path | None = _setting(  # noqa: RUF009 - makes an attrs field
        Group.PROBLEMS, "read the data set from this file", None, metavar="FILE"
    )
    protocol: str | None = _setting(
        Group.PROBLEMS,
        "a data set and which of its tests are seen, by one name, such as mbpp-1 (`egcfg datasets` "
        "lists them)",
        None,
        metavar="NAME",
    )
    strict_data: bool = _setting(
        Group.PROBLEMS,
        "refuse a file with a record that cannot be used, instead of its rest",
        False,
    )
    task: tuple[str, ...] = _setting(
        Group.PROBLEMS, "only this task id (repeatable)", (), metavar="ID"
    )
    start: int | None = _setting(
        Group.PROBLEMS,
        "position of the first task, from 0",
        None,
        metavar="N",
        check=_at_least(0),
    )
    end: int | None = _setting(
        Group.PROBLEMS, "position after the last task", None, metavar="N", check=_at_least(0)
    )
    limit: int | None = _setting(
        Group.PROBLEMS, "at most this many tasks", None, metavar="N", check=_at_least(1)
    )
    decoder_tests: DecoderTests = _setting(  # noqa: RUF009 - makes an attrs field
        Group.PROBLEMS,
        "which tests the decoder may execute and show, hidden ones never: visible, as the data set "
        "says; docstring, the examples in the given code's docstring alone; none",
        DecoderTests.VISIBLE,
        metavar="visible|docstring|none",
    )
    scorer: str | None = _setting(
        Group.PROBLEMS, "judge by this scorer, not the data set's own", None, metavar="NAME"
    )

    tracer: str = _setting(
        Group.GUIDANCE, "what is recorded while candidates run", "full", metavar="NAME"
    )
    gamma: tuple[float, ...] = _setting(
        Group.GUIDANCE,
        "guidance strength; 0 is the unconditional model, below 0 leads away",
        (0.0, 1.0),
        "-g",
        "X",
    )
    prompt: tuple[str, ...] = _setting(
        Group.GUIDANCE, "how problems are worded", ("chat",), "-p", "NAME"
    )
    temperature: tuple[float, ...] = _setting(
        Group.GUIDANCE, "of sampled candidates", (_DECODING["temperature"],), "-t", "X"
    )
    candidates: tuple[int, ...] = _setting(
        Group.GUIDANCE, "sampled per signal", (_DECODING["candidates"],), "-s", "N"
    )
    horizon: tuple[Horizon, ...] = _setting(
        Group.GUIDANCE, "lines per candidate", (_DECODING["horizon"],), "-d", "N|inf"
    )
    signal_interval: tuple[int, ...] = _setting(
        Group.GUIDANCE, "lines between two signals", (_DECODING["signal_interval"],), "-k", "N"
    )
    unit: tuple[GuidanceUnit, ...] = _setting(
        Group.GUIDANCE,
        "how long a signal guides",
        (_DECODING["unit"],),
        metavar="line|token|prefix",
    )
    partial: bool = _setting(
        Group.GUIDANCE, "also execute and show the solution so far", _DECODING["partial"]
    )
    signal: tuple[str, ...] = _setting(
        Group.GUIDANCE,
        "prompt, -t, -s, -d, -k, unit and partial in one string: ns2t0.75d2_ln; one of these flags "
        "replaces its part of a string that stands in the file or the environment",
        (),
        metavar="STRING",
        check=SignalConfig.parse,
    )
    top_p: float = _setting(
        Group.GUIDANCE, "nucleus mass of sampled candidates", _DECODING["top_p"], metavar="X"
    )
    signal_tokens: int = _setting(
        Group.GUIDANCE, "token budget of a signal", _DECODING["signal_tokens"], metavar="N"
    )
    method: str = _setting(
        Group.GUIDANCE, "how a task is turned into a program", "egcfg", metavar="NAME"
    )
    tokens_per_task: int | None = _setting(
        Group.GUIDANCE,
        "tokens that a method may spend on a task: prompt tokens that no cache answers, and "
        "generated ones; its last answer up to then stands",
        None,
        metavar="N",
        check=_at_least(1),
    )
    guidance: str = _setting(
        Group.GUIDANCE, "the rule that combines both distributions", "cfg", metavar="NAME"
    )
    guided_temperature: float = _setting(
        Group.GUIDANCE,
        "sample guided tokens at this temperature; 0 takes the likeliest",
        _DECODING["guided_temperature"],
        metavar="X",
    )
    reuse_candidates: bool = _setting(
        Group.GUIDANCE,
        "candidates that the response follows live on; off: all are sampled for each signal",
        _DECODING["reuse_candidates"],
    )
    drafts: bool = _setting(
        Group.GUIDANCE,
        "use candidates as drafts; the text stays (in 16-bit numbers up to rounding)",
        _DECODING["drafts"],
    )

    results_dir: Path = _setting(  # noqa: RUF009 - makes an attrs field
        Group.EXECUTION, "folder of the result files", Path("results"), metavar="DIR"
    )
    concurrency: int | None = _setting(
        Group.EXECUTION,
        "tasks to work on at once; no text depends on it, near-ties apart  [as the backend says: "
        "16 of an endpoint, by memory on a GPU, 8 of others]",
        None,
        metavar="N",
        check=_at_least(1),
    )
    schedule: Schedule = _setting(  # noqa: RUF009 - makes an attrs field
        Group.EXECUTION,
        "tasks: all attempts at a task, then the next task; rounds: one attempt at each unsolved "
        "task, then the next round: where a budget ends it, all were tried alike, and their last "
        "answers count. No text depends on it",
        Schedule.TASKS,
        metavar="tasks|rounds",
    )
    order: Order = _setting(  # noqa: RUF009 - makes an attrs field
        Group.EXECUTION,
        "paper: every configuration and gamma of a task, then the next task; cheap_first: gamma 0 "
        "of all tasks, then one configuration and gamma of all tasks after the other, so that "
        "unfinished runs compare",
        Order.PAPER,
        metavar="paper|cheap_first",
    )
    stop_when_solved: bool = _setting(
        Group.EXECUTION, "leave a task after its first solution that passes", False
    )
    executor: Executor = _setting(  # noqa: RUF009 - makes an attrs field
        Group.EXECUTION,
        "local: in this process; ray: on the actors of a Ray cluster",
        Executor.LOCAL,
        metavar="local|ray",
    )
    ray_address: str = _setting(
        Group.EXECUTION,
        "the Ray cluster: auto finds the one that this node belongs to",
        "auto",
        metavar="auto|HOST:PORT",
    )
    ray_actors: int | None = _setting(
        Group.EXECUTION,
        "actors, each with the model and --concurrency tasks; Ray places them, and may add nodes "
        "for them  [as many as the cluster has place for at the start]",
        None,
        metavar="N",
        check=_at_least(1),
    )
    ray_cpus: int | None = _setting(
        Group.EXECUTION,
        "CPUs that each actor takes  [1 beside its GPU; else those of the smallest node]",
        None,
        metavar="N",
        check=_at_least(1),
    )
    sandbox: SandboxMode = _setting(  # noqa: RUF009 - makes an attrs field
        Group.EXECUTION,
        "strict: refuse to run with an isolation layer missing",
        SandboxMode.AUTO,
        metavar="auto|strict",
    )
    sandbox_packages: str | None = _setting(
        Group.EXECUTION,
        "what programs and tests may import besides the standard library, as pip calls it, each "
        "with what it needs  [numpy, pandas, scipy, sympy, networkx, sortedcontainers, where "
        "installed]",
        None,
        metavar="none|NAME,...",
        check=package_names,
    )

    max_requests: int | None = _setting(
        Group.BUDGET,
        "requests to an endpoint at most, retries included",
        None,
        metavar="N",
        check=_at_least(1),
    )
    max_tokens_total: int | None = _setting(
        Group.BUDGET,
        "tokens at most, sent (cached ones included) and generated ones together",
        None,
        metavar="N",
        check=_at_least(1),
    )
    max_cost: float | None = _setting(
        Group.BUDGET, "cost at most; needs prices", None, metavar="X", check=_above_zero
    )
    prices: PriceTable | None = _setting(  # noqa: RUF009 - makes an attrs field
        Group.BUDGET,
        "what a million tokens cost: input=0.2,cached_input=0.1,output=0.6; shows the cost "
        "everywhere; one table per model: [prices.NAME] in the file",
        None,
        metavar="PRICES",
    )

    options: tuple[OptionValue, ...] = ()
    """Options of components, a later one winning over an earlier one; no row of the table
    (``-o KIND.NAME=VALUE``, tables in the file)."""

    def options_for(self, kind: Kind, component: str) -> dict[str, OptionValue]:
        """Return the options of one component by name."""
        return {
            option.name: option
            for option in self.options
            if option.kind is kind and option.component in ("", component)
        }


@cache
def settings() -> Mapping[str, Setting]:
    """Return the table of settings by name, in the order of ``--help``."""
    attrs.resolve_types(RunConfig, include_extras=True)
    return {
        f.name: Setting(
            name=f.name,
            type=f.type,
            default=f.default,
            validate=partial(f.validator, None, f),
            **f.metadata,
        )
        for f in attrs.fields(RunConfig)
        if f.validator  # as every setting's
    }
