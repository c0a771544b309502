"""Plugins as users meet them: real packages, really installed, good and broken."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Coroutine
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import egcfg
from egcfg.cli.program import invoke
from egcfg.errors import (
    BudgetError,
    CapabilityError,
    ConfigError,
    MissingExtraError,
    PluginError,
    UnknownNameError,
    UsageError,
)
from egcfg.interfaces.backend import LogprobBackend, Logprobs, TextBackend
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.plugins import hookspecs
from egcfg.plugins import registry as registry_module
from egcfg.plugins.hookspecs import Component, Kind
from egcfg.plugins.options import make_options
from egcfg.plugins.registry import (
    HOOKS,
    INTERFACES,
    Registry,
    component_class,
    create,
    load_registry,
    options_class,
)
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ROOT = Path(__file__).parents[3]
PACKAGES = ROOT / "tests" / "plugins"
EXAMPLE = ROOT / "examples" / "plugin_package"
TEMPLATE = ROOT / "examples" / "plugin_template"
WRONG = "wrong"
BROKEN = {
    "egcfg-import-error": ("0.1", "ModuleNotFoundError: No module named 'package_that_is_nowhere'"),
    "egcfg-wrong-signature": ("0.2", "PluginValidationError"),
    "egcfg-misspelt-hook": (
        "0.3",
        "unknown hook 'egcfg_component'; did you mean 'egcfg_components'?",
    ),
    "egcfg-name-clash": ("0.4", "the tracer 'full' is taken by egcfg"),
}


@pytest.fixture(scope="module")
def installed(made_once: Callable[..., Path], build_wheels: Callable[..., list[Path]]) -> Path:
    """Return a folder into which pip installed every package of tests/plugins and the example."""
    return made_once("plugins", lambda folder: install(folder, build_wheels)) / "site"


def install(folder: Path, build_wheels: Callable[..., list[Path]]) -> None:
    """Build the packages in a folder, and install them into ``site`` in it."""
    # Building leaves files beside the sources, so it is done on a copy.
    sources = [
        shutil.copytree(package, folder / "sources" / package.name)
        for package in (*sorted(PACKAGES.iterdir()), EXAMPLE)
    ]
    for taught in ("guidance.py", "method.py"):
        results = folder / "sources" / "egcfg-results" / "egcfg_results"
        shutil.copy(TEMPLATE / "kinds" / taught, results / taught)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-index", "--target", str(folder / "site")]
    command += map(str, build_wheels(sources, folder / "wheels"))
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def known(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the registry of this process with the installed packages in it."""
    monkeypatch.syspath_prepend(str(installed))
    found = load_registry(entry_points(group="egcfg"))
    _use(found, monkeypatch)
    return found


def _use(found: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `found` the registry of this process."""
    monkeypatch.setattr(registry_module, "registry", lambda: found)
    monkeypatch.setattr("egcfg.config.components.registry", lambda: found)


def _egcfg(
    folder: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "egcfg", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_is_found_and_used_from_the_command_line(
    installed: Path, tmp_path: Path
) -> None:
    program = tmp_path / "double.py"
    program.write_text("def double(x):\n    return 2 * x\n")
    command = ["trace", str(program), "--call", "double(21)", "--tracer", "results"]

    plain = _egcfg(installed, *command, cwd=tmp_path)
    with_option = _egcfg(installed, *command, "-o", "tracer.arrow==>", cwd=tmp_path)

    assert (plain.returncode, plain.stdout) == (0, "double(21) -> 42\n"), plain.stderr
    assert (with_option.returncode, with_option.stdout) == (0, "double(21) => 42\n")


def test_listing_names_distribution_version_and_cause_of_broken_plugins(installed: Path) -> None:
    text = _egcfg(installed, "plugins")
    listing = json.loads(_egcfg(installed, "plugins", "--format", "json").stdout)

    assert text.returncode == 0
    broken = {entry["distribution"]: entry for entry in listing if entry["error"]}
    assert broken.keys() == BROKEN.keys()
    for distribution, (version, cause) in BROKEN.items():
        assert broken[distribution]["version"] == version
        assert cause in broken[distribution]["error"]
        assert broken[distribution]["components"] == []
        assert f"[{distribution} {version}]" in text.stdout
    assert "only what each call returns  [egcfg-results 1.2.3]" in text.stdout
    assert any(entry["distribution"] == "egcfg" and entry["builtin"] for entry in listing)


def test_broken_plugins_disturb_nothing_that_is_not_theirs(installed: Path) -> None:
    listed = _egcfg(installed, "datasets", "quickstart", "--limit", "1")

    assert (listed.returncode, listed.stderr) == (0, "")


@pytest.mark.parametrize("distribution", BROKEN)
def test_selecting_a_broken_plugin_raises_its_cause(known: Registry, distribution: str) -> None:
    version, cause = BROKEN[distribution]

    with pytest.raises(PluginError) as by_distribution:
        known.get(Kind.TRACER, distribution)
    with pytest.raises(PluginError) as by_name:
        known.get(Kind.TRACER, distribution.removeprefix("egcfg-"))

    for error in (by_distribution.value, by_name.value):
        assert cause in str(error)
        assert f"{distribution} {version}" in str(error)
        assert error.__cause__ is not None


def test_selecting_a_broken_plugin_on_the_command_line_is_one_line_and_status_2(
    installed: Path, tmp_path: Path
) -> None:
    program = tmp_path / "p.py"
    program.write_text("pass\n")

    result = _egcfg(installed, "trace", str(program), "--tracer", "import-error", cwd=tmp_path)

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "No module named 'package_that_is_nowhere'" in result.stderr


def test_a_name_like_a_known_one_warns_of_the_plugins_that_might_have_brought_it(
    known: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="egcfg.plugins.registry"),
        pytest.raises(UnknownNameError, match="no tracer named 'fulll'; did you mean 'full'"),
    ):
        known.get(Kind.TRACER, "fulll")

    [message] = caplog.messages
    assert all(cause in message for _, cause in BROKEN.values())


def test_selecting_a_component_of_a_plugin_that_does_not_import_shows_the_cause(
    known: Registry,
) -> None:
    with pytest.raises(PluginError, match="no prompt named 'haiku' is here, and") as caught:
        known.get(Kind.PROMPT, "haiku")

    assert all(cause in str(caught.value) for _, cause in BROKEN.values())
    assert "`egcfg plugins` lists every plugin" in str(caught.value)


def test_strict_mode_makes_any_broken_plugin_fatal(installed: Path) -> None:
    result = _egcfg(installed, "plugins", EGCFG_STRICT_PLUGINS="1")

    assert result.returncode == 2
    assert "EGCFG_STRICT_PLUGINS" in result.stderr
    assert any(distribution in result.stderr for distribution in BROKEN)


def test_a_builtin_cannot_be_shadowed(known: Registry) -> None:
    full = known.get(Kind.TRACER, "full")

    assert full.target == "egcfg_tracers.tracers:FullTracer"


@pytest.mark.usefixtures("known")
def test_a_package_that_its_extra_brings_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError) as caught:
        component_class(Kind.TRACER, "needs-extra")

    assert str(caught.value).endswith("run: pip install 'egcfg-late-failures[gpu]'")
    assert "'package_of_the_extra'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("own-bug", "cannot import name 'no_such_name'"),
        ("no-module", "No module named 'egcfg_late_failures.nowhere'"),
        ("no-class", "has no attribute 'Nowhere'"),
        ("wrong-base", "it is no subclass of Tracer"),
        ("abstract", "it does not implement trace"),
        ("no-options", "its Options is no attrs class"),
        ("unresolved", "NameError: name 'Path' is not defined"),
    ],
)
@pytest.mark.usefixtures("known")
def test_any_other_failure_is_shown_as_the_plugins_own_bug(name: str, cause: str) -> None:
    with pytest.raises(PluginError) as caught:
        component_class(Kind.TRACER, name)

    assert cause in str(caught.value)
    assert "egcfg-late-failures 0.5" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("name", "options", "cause"),
    [
        ("unresolved", {}, "NameError: name 'Path' is not defined"),
        ("unconvertible", {}, "StructureHandlerNotFoundError"),
        ("no-arguments", {}, "TypeError: "),
    ],
)
@pytest.mark.usefixtures("known")
def test_a_component_that_cannot_be_made_is_shown_as_the_plugins_own_bug(
    name: str, options: dict[str, str], cause: str
) -> None:
    with pytest.raises(PluginError) as caught:
        create(Kind.TRACER, name, options)

    assert cause in str(caught.value)
    assert f"the tracer {name!r} of egcfg-late-failures 0.5 is broken" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.usefixtures("known")
def test_a_component_that_refuses_is_not_called_broken() -> None:
    with pytest.raises(CapabilityError, match=r"^not on this machine; use another one$"):
        create(Kind.TRACER, "refusing")


def test_a_missing_extra_of_our_own_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # What an installation without the extra looks like to the import system.
    for name in [n for n in sys.modules if n.partition(".")[0] == "egcfg_backends_hf"]:
        monkeypatch.delitem(sys.modules, name)
    for package in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[hf\]'"):
        component_class(Kind.BACKEND, "hf")


class _Entry:
    """An entry point of a distribution that is not on disk."""

    def __init__(self, *components: object) -> None:
        self.components = components
        self.name = "inline"
        self.dist = None

    def load(self) -> object:
        plugin = type(sys)("inline_plugin")
        plugin.egcfg_components = hookspecs.hookimpl(  # type: ignore[attr-defined]
            _named(lambda: self.components)
        )
        return plugin


def _named(function: object) -> object:
    function.__name__ = "egcfg_components"  # type: ignore[attr-defined]
    return function


def _component(**changes: object) -> Component:
    values = {"kind": Kind.SCORER, "name": "mine", "target": "mine:Mine", "summary": "mine"}
    return Component(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("components", "cause"),
    [
        ((), "it registers nothing"),
        (("full",), "gave str, not Component"),
        ((_component(), _component()), "registers the scorer 'mine' twice"),
        ((_component(kind="scorer"),), "must be a Kind, not 'scorer'"),
        ((_component(target="mine.Mine"),), "must be 'module:Class', not 'mine.Mine'"),
        ((_component(options="Mine"),), "the options of the scorer 'mine' must be 'module:Class'"),
    ],
)
def test_a_registration_that_makes_no_sense_breaks_the_whole_plugin(
    components: tuple[object, ...], cause: str
) -> None:
    (report,) = load_registry([_Entry(*components)]).reports  # type: ignore[list-item]

    assert report.components == ()
    assert cause in str(report.error)


def test_the_same_registration_without_a_flaw_works() -> None:
    (report,) = load_registry([_Entry(_component())]).reports  # type: ignore[list-item]

    assert report.error is None
    assert [component.name for component in report.components] == ["mine"]


def _known_as(component: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_registry([_Entry(component)])  # type: ignore[list-item]
    _use(found, monkeypatch)


def test_options_with_a_target_of_their_own_need_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = "egcfg_backends_hf.options:HFOptions"
    _known_as(_component(target="no_such_module:Scorer", options=own), monkeypatch)

    assert options_class(Kind.SCORER, "mine").__name__ == "HFOptions"
    with pytest.raises(PluginError, match="No module named 'no_such_module'"):
        component_class(Kind.SCORER, "mine")


def test_options_other_than_the_classes_own_are_the_plugins_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = "egcfg.scorers.check:CheckScorer"
    own = "egcfg_backends_hf.options:HFOptions"
    _known_as(_component(target=target, options=own), monkeypatch)

    with pytest.raises(PluginError, match=f"its Options is another class than {own}"):
        component_class(Kind.SCORER, "mine")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("collecting", [True, False])
def test_an_import_looks_for_no_garbage_and_leaves_it_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collecting: bool, fails: bool
) -> None:
    code = "import gc\nfrom egcfg.scorers.check import CheckScorer\n"
    code += "class It(CheckScorer):\n    collected = gc.isenabled()\n"
    (tmp_path / "slow_import.py").write_text(code + "raise OSError\n" * fails)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow_import", raising=False)
    _known_as(_component(target="slow_import:It"), monkeypatch)
    if not collecting:
        gc.disable()
    try:
        if fails:
            with pytest.raises(PluginError, match="OSError"):
                component_class(Kind.SCORER, "mine")
        else:
            assert not component_class(Kind.SCORER, "mine").collected
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def test_every_builtin_comes_through_the_same_door() -> None:
    found = load_registry(entry_points(group="egcfg"))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]

    builtins = [report for report in found.reports if report.builtin]
    assert {report.name for report in builtins} == set(declared["egcfg"])
    assert all(report.error is None for report in builtins)
    for kind in Kind:
        assert found.components(kind), kind


@attrs.frozen
class _Options:
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    ratio: float = 0.5
    on: bool = False
    where: str | None = None
    words: tuple[str, ...] = ()


def test_options_from_text_get_their_declared_types() -> None:
    options = make_options(
        _Options,
        {"count": "3", "ratio": "0.25", "on": "true", "where": "here", "words": "a, b"},
        "tracer.mine",
    )

    assert options == _Options(count=3, ratio=0.25, on=True, where="here", words=("a", "b"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cout": "3"}, "tracer.mine has no option 'cout'; did you mean 'count'"),
        ({"count": "three"}, "wrong option: tracer.mine.count 'three' is not a whole number"),
        ({"count": 3.7}, "3.7 is not a whole number"),
        ({"count": 0}, "tracer.mine 'count' must be >= 1: 0"),
        ({"on": "perhaps"}, "tracer.mine.on 'perhaps' is neither true nor false"),
        ({"ratio": "1", "words": 3}, "tracer.mine.words"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_options(_Options, values, "tracer.mine")


@pytest.mark.usefixtures("known")
def test_create_hands_the_options_over() -> None:
    tracer = create(Kind.TRACER, "results", {"arrow": "="})

    assert tracer.options.arrow == "="


@pytest.mark.usefixtures("known")
def test_a_third_partys_scorer_judges_in_the_sandbox(run: Run) -> None:
    scorer = create(Kind.SCORER, "survives")
    problem = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=[AssertTest("assert f(1) == 'anything'"), AssertTest("assert f(0) == 1")],
    )

    async def judged() -> Score:
        async with Sandbox() as sandbox:
            score: Score = await scorer.score(problem, "def f(x):\n    return 1 / x\n", sandbox)
            return score

    statuses = [result.status for result in run(judged()).results]
    assert statuses == [TestStatus.PASSED, TestStatus.ERROR]


@pytest.mark.usefixtures("known")
def test_a_third_partys_guidance_rule_decides_between_the_branches() -> None:
    rule = create(Kind.GUIDANCE, "surer")
    sure, unsure = Logprobs(np.log([0.9, 0.1])), Logprobs(np.log([0.4, 0.6]))

    assert rule.mix(unsure, sure, 0.5).distribution is sure
    assert rule.mix(sure, unsure, 0.5).distribution is sure


# --- a kind of test that a plugin brings --------------------------------------------------------


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("refuses", "passes"), [(True, True), (False, False)])
def test_a_data_set_brings_its_own_kind_of_test_and_is_solved_by_it(
    refuses: bool, passes: bool
) -> None:
    lines = ["def half(x):", "    return x / 2"]
    if refuses:
        lines[1:1] = ["    if x < 0:", "        raise ValueError(x)"]
    answer = "\n".join(lines) + "\n```"

    def script(text: str) -> str:
        so_far = text.rpartition("```python\n")[2]
        return answer[len(so_far) :] if answer.startswith(so_far) else ""

    [problem] = create(Kind.DATASET, "raising").problems()
    steps = egcfg.solve_steps(
        problem,
        backend=ScriptedBackend(ScriptedOptions(script=script, noise=0.05)),
        prompt="long_code",
        gamma=0.5,
    )
    *lines_decided, solution = steps

    assert isinstance(solution, Solution)
    assert solution.passed is passes
    assert {r.name: r.status for r in solution.score.results} == {
        "half(-4) raises ValueError": TestStatus.PASSED if passes else TestStatus.FAILED,
        "half(0) raises nothing": TestStatus.PASSED,
    }
    # Its visible tests, and those alone, were executed for the signal.
    signals = [s.signal for s in lines_decided if isinstance(s, LineStep) and s.signal]
    entries = [entry for signal in signals for entry in signal.entries]
    assert {trace.call for entry in entries for trace in entry.traces} == {"half(4)"}
    assert not any("half(-4)" in signal.text for signal in signals)


@pytest.mark.usefixtures("known")
def test_a_scorer_refuses_another_kind_of_test_before_a_model_is_asked() -> None:
    backend = ScriptedBackend(ScriptedOptions(script=lambda _: "x"))
    [problem] = create(Kind.DATASET, "raising").problems()
    with pytest.raises(UsageError, match="the scorer 'asserts' takes assert statements, not Raise"):
        egcfg.solve(attrs.evolve(problem, scorer="asserts"), backend=backend)
    assert backend.scored == []


# --- components that answer wrongly -------------------------------------------------------------

FAULTS = [
    ("backend", "none", "score gave NoneType, not an Answer"),
    ("backend", "raises", "score raised RuntimeError: cannot think"),
    ("backend", "few", "score gave 0 answers to 1 requests"),
    ("backend", "nan", "score gave nan as a log-probability"),
    ("backend", "probabilities", "score gave 0.95"),
    ("tracer", "none", "trace gave NoneType for 1 requests, not one trace each"),
    ("tracer", "raises", "trace raised RuntimeError: out of ideas"),
    ("tracer", "few", "trace gave 0 for 1 requests, not one trace each"),
    ("guidance", "none", "mix gave NoneType, not Guided"),
    ("guidance", "raises", "mix raised RuntimeError: out of ideas"),
    ("guidance", "nan", "mix gave nan as a log-probability"),
    ("method", "raises", "solve raised RuntimeError: out of ideas"),
    ("method", "text", "solve gave str, neither a LineStep nor an Attempt with a program"),
    ("method", "attempt", "solve gave an Attempt of NoneType, str, NoneType, neither"),
    ("method", "plain", "solve raised "),
    ("prompt", "none", "build gave NoneType"),
    ("prompt", "raises", "build raised RuntimeError: out of ideas"),
    ("prompt", "text", "build gave str"),
    ("scorer", "none", "score gave NoneType"),
    ("scorer", "raises", "score raised RuntimeError: out of ideas"),
]
DOUBLE = Problem(
    task_id="t/1",
    description="Double x.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(2) == 4")],
    scorer="wrong",
)


def _solve(gamma: float = 0.5, **options: dict[str, str]) -> Solution:
    return egcfg.solve(
        DOUBLE,
        backend=WRONG,
        tracer=WRONG,
        guidance=WRONG,
        method=WRONG if "method" in options else None,
        prompt=WRONG,
        options=options,
        gamma=gamma,
    )


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("kind", "fault", "said"), FAULTS)
def test_a_component_that_answers_wrongly_is_named_with_its_distribution_and_the_task(
    kind: str, fault: str, said: str
) -> None:
    with pytest.raises(PluginError) as caught:
        _solve(0 if kind == "backend" else 0.5, **{kind: {"fault": fault}})
    message = str(caught.value)
    title = f"the {kind} 'wrong' of egcfg-wrong-answers 0.6"
    assert message.startswith(f"{title} is broken on task t/1: {said}")
    assert message.endswith("; report it to its authors")
    assert "\n" not in message
    assert (caught.value.__cause__ is not None) == (fault in ("raises", "plain"))


@pytest.mark.usefixtures("known")
def test_the_same_components_without_a_fault_work() -> None:
    solution = _solve()
    assert solution.passed
    assert solution.generation.signals > 0


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    known: Registry,  # noqa: ARG001 - which the command asks for its components
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_logging: None,  # noqa: ARG001
) -> Command:
    """Run a command in this process; return its status, and what it printed and told."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = invoke(arguments)
        return status, *capsys.readouterr()

    return run


SOLVING = ("solve", "Double x.", "--test", "assert f(2) == 4", "--gamma", "0.5")
PROGRAM = "def f(x):\n    return x * 2\n"


def _wrong(*kinds: str) -> list[str]:
    return [word for kind in kinds for word in (f"--{kind}", WRONG)]


@pytest.mark.parametrize("method", [WRONG, "egcfg"])
def test_the_same_components_without_a_fault_work_on_the_command_line(
    command: Command, method: str
) -> None:
    chosen = _wrong("backend", "tracer", "guidance", "prompt")
    status, printed, told = command(*SOLVING, *chosen, "--method", method)
    assert (status, printed) == (0, PROGRAM), told


@pytest.mark.parametrize(("kind", "fault", "said"), [FAULTS[n] for n in (3, 6, 8, 11, 15)])
def test_a_wrong_answer_is_one_line_and_status_2_on_the_command_line(
    command: Command, kind: str, fault: str, said: str
) -> None:
    chosen = _wrong("backend", "tracer", "guidance", "prompt")
    chosen += ["--method", WRONG if kind == "method" else "egcfg"]
    status, printed, told = command(*SOLVING, *chosen, "-o", f"{kind}.fault={fault}")
    assert (status, printed) == (2, "")
    assert f"the {kind} 'wrong' of egcfg-wrong-answers 0.6 is broken" in told
    assert said in told
    assert told.count("\n") == 1, told


def _ask_for_more(fault: str, problem: Problem = DOUBLE, **arguments: Any) -> Solution:
    options = {"method": {"fault": fault}}
    return egcfg.solve(
        problem, backend=WRONG, prompt=WRONG, method=WRONG, options=options, **arguments
    )


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("fault", ["works", "swallows", "insists", "group", "all_at_once"])
def test_a_method_that_asks_past_its_budget_comes_to_an_end_and_its_last_attempt_stands(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    solution = _ask_for_more(fault, tokens=60)

    assert solution.passed
    assert [attempt.stage for attempt in solution.attempts] == ["draw"]
    assert solution.generation.total_usage.output_tokens <= 400
    refused = {"works": 0, "swallows": 1, "insists": 101}
    assert fault not in refused or solution.events.get("refused", 0) == refused[fault]
    assert ("went on asking" in caplog.text) == (fault in ("insists", "all_at_once"))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("fault", ["swallows", "insists", "group"])
def test_the_budget_of_a_run_ends_the_work_whatever_a_method_does(fault: str) -> None:
    with pytest.raises(BudgetError, match="--max-tokens-total 60 is used up"):
        _ask_for_more(fault, budget=egcfg.Budget(max_tokens=60))


@pytest.mark.usefixtures("known")
def test_a_method_without_an_answer_gives_a_solution_that_says_so() -> None:
    problem = attrs.evolve(DOUBLE, scorer="asserts")
    solution = _ask_for_more("none", problem=problem)
    assert not solution.passed
    assert solution.score.general_error is not None
    assert "there is no answer: the method gave none" in solution.score.general_error


@pytest.mark.parametrize(
    ("fault", "arguments", "status", "said"),
    [
        ("none", (), 1, "there is no answer: the method gave none; choose another --method"),
        ("empty", (), 1, "answer 1 (wrong): no program"),
        ("works", ("--tokens", "1"), 3, "there is no answer: task solve has spent 0 of 1 tokens"),
        ("insists", ("--tokens", "60"), 0, "went on asking after the budget of task solve was"),
    ],
)
def test_what_a_method_leaves_undone_is_told_on_the_command_line(
    command: Command, fault: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    chosen = _wrong("backend", "prompt", "method")
    found, printed, told = command(*SOLVING, *arguments, *chosen, "-o", f"method.fault={fault}")
    assert (found, printed) == (status, "" if status else PROGRAM), told
    assert said in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("known")
def test_the_method_of_the_tutorial_tells_the_model_what_failed() -> None:
    wrong, right = "def f(x):\n    return x\n", "def f(x):\n    return 2 * x\n"
    answers = [f"```python\n{text}```" for text in (wrong, right)]
    backend = AnsweringBackend(AnsweringBackend.Options(answers))
    told = attrs.evolve(DOUBLE, scorer="asserts", hidden_tests=[AssertTest("assert f(7) == 14")])

    solution = egcfg.solve(told, backend=backend, method="retell")

    assert solution.passed
    assert [attempt.stage for attempt in solution.attempts] == ["answer", "retell"]
    assert dict(solution.events) == {"told": 1}
    assert "An answer failed:\nassert f(2) == 4" in backend.said(1)
    assert not any("f(7)" in backend.said(number) for number in range(2))

    blind = attrs.evolve(told, visible_tests=[])
    assert len(egcfg.solve(blind, backend=backend, method="retell").attempts) == 1


# --- the tutorial -------------------------------------------------------------------------------


def test_the_example_of_the_tutorial_installs_and_works(installed: Path) -> None:
    listing = json.loads(_egcfg(installed, "plugins", "--format", "json").stdout)

    (entry,) = [e for e in listing if e["distribution"] == "egcfg-ends"]
    assert entry["error"] is None
    assert [(c["kind"], c["name"]) for c in entry["components"]] == [("tracer", "ends")]
    assert entry["components"][0]["unavailable"] is None


def test_every_hook_kind_and_interface_method_is_documented() -> None:
    tutorial = (ROOT / "plugins.md").read_text()
    assert len(HOOKS) == 5
    assert all(f"`{hook}`" in tutorial for hook in HOOKS)
    for field in attrs.fields(Component):
        assert f"`{field.name}`" in tutorial, field.name
    interfaces = [LogprobBackend, TextBackend]
    for kind, interface in INTERFACES.items():
        module, _, name = interface.partition(":")
        interfaces.append(getattr(importlib.import_module(module), name))
        assert f"`Kind.{kind.name}`" in tutorial
    for cls in interfaces:
        name = cls.__name__
        assert f"`{name}`" in tutorial
        for method in cls.__abstractmethods__:
            assert f"`{method}`" in tutorial or f"def {method}(" in tutorial, (name, method)
