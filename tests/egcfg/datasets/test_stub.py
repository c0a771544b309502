"""Stubs and files of tests: what becomes of them, and what is said of the rest."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.datasets.stub import read_stub, read_tests
from egcfg.errors import DataError

SIGNATURE = "def double(x: int) -> int:\n"
DOCUMENTED = SIGNATURE + '    """Return twice x."""\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stub.py"


@pytest.mark.parametrize(
    ("body", "given_code"),
    [
        ('    """Return twice x."""\n', DOCUMENTED),
        ('    """Return twice x."""\n    ...\n', DOCUMENTED),
        ('    """Return twice x."""\n    # to do\n    pass\n', DOCUMENTED),
        ('    """Return twice x."""\n    raise NotImplementedError\n', DOCUMENTED),
        ('    """Return twice x."""\n    raise NotImplementedError("later")', DOCUMENTED),
        ("    ...\n", SIGNATURE),
        ("    pass", SIGNATURE),
    ],
)
def test_what_stands_for_a_body_is_cut_off(file: Path, body: str, given_code: str) -> None:
    file.write_text(f"import math\n\n\n{SIGNATURE}{body}")
    stub = read_stub(file)
    assert stub.entry_point == "double"
    assert stub.given_code == f"import math\n\n\n{given_code}"
    assert ("Return twice x." in stub.description) == ("Return" in body)


@pytest.mark.parametrize(
    ("line", "given_code"),
    [
        ("def f(x): ...", "def f(x):\n"),
        ("def f(x='ü'): pass", "def f(x='ü'):\n"),
        ("def f(x): 'Twice x.'", "def f(x):\n    'Twice x.'\n"),
        ("@wraps\ndef f(\n    x,\n): ...", "@wraps\ndef f(\n    x,\n):\n"),
    ],
)
def test_a_stub_may_be_one_line(file: Path, line: str, given_code: str) -> None:
    file.write_text(line)
    assert read_stub(file).given_code == given_code


def test_definitions_after_the_function_are_moved_in_front_of_it(file: Path) -> None:
    file.write_text(f"{DOCUMENTED}    ...\n\n\ndef other(y):\n    return y\n\n\nimport math\n")
    stub = read_stub(file)
    assert stub.given_code.endswith(DOCUMENTED)
    names = [getattr(s, "name", "math") for s in ast.parse(stub.given_code).body]
    assert names == ["other", "math", "double"]


def test_the_files_docstring_describes_a_function_without_one(file: Path) -> None:
    file.write_text('"""Doubles."""\ndef f(x): ...\n')
    assert read_stub(file).description == "Doubles."
    file.write_text("def f(x): ...\n")
    assert "function f" in read_stub(file).description


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(x):\n    return x\n", "no function at the top level lacks its body"),
        ("x = 1\n", "no function at the top level lacks its body"),
        ("def f(x): ...\ndef g(x): ...\n", r"several functions lack their body \(f, g\)"),
        ("def f(x): ...\nprint(f(2))\n", "line 2: code after the function 'f'"),
        ("def f(x:\n", "line 1: it is no Python"),
        ("def f(x): ...\0", "it is no Python"),
    ],
)
def test_a_file_that_is_no_stub_is_told_with_what_to_write(
    file: Path, text: str, said: str
) -> None:
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_stub(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_stub(tmp_path / "nowhere.py")
    with pytest.raises(DataError, match="cannot be read"):
        read_tests(tmp_path, "f")


def test_one_of_several_functions_is_chosen_by_its_name(file: Path) -> None:
    file.write_text("def f(x): ...\ndef g(x): ...\n")
    assert read_stub(file, "g").entry_point == "g"
    with pytest.raises(DataError, match="no function 'h'"):
        read_stub(file, "h")


def test_tests_are_read_as_pytest_and_python_have_them(tmp_path: Path) -> None:
    tests = tmp_path / "test_stub.py"
    tests.write_text('''"""Tests."""
import math
import pytest
from stub import f

BIG = 10
assert f(1) == 2


def test_two():
    """Says what."""
    assert f(2) == 4
    assert f(0) == 0, "none"


def test_named():
    x = [3]
    y = x
    assert f(x) == y


def test_again():
    x = 3
    assert f(x) == 6
    x = 4
    assert f(x) == 8


@pytest.mark.parametrize("a", [1, (2, 3)])
@pytest.mark.parametrize(("b", "c"), [(5, 6)])
def test_many(a, b, c):
    assert f(a, b) == c


def test_loop():
    for n in range(3):
        assert f(n) == n + n
''')
    found = read_tests(tests, "f", "stub")
    assert found.asserts == (
        "assert f(1) == 2",
        "assert f(2) == 4",
        "assert f(0) == 0, 'none'",
        "y = [3]\nassert f([3]) == y",
        "assert f(3) == 6",
        "assert f(4) == 8",
        "assert f(1, 5) == 6",
        "assert f((2, 3), 5) == 6",
        "for n in range(3):\n    assert f(n) == n + n",
    )
    assert found.setup_code == "import math\nBIG = 10\n"
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def test_g(tmp_path):\n    assert f(1)\n", "test_g: it takes a fixture"),
        ("def test_g():\n    with pytest.raises(E):\n        f(1)\n", "test_g: it uses pytest"),
        ("def test_g():\n    f(1)\n", "test_g: it asserts nothing"),
        ("@given(1)\ndef test_g():\n    assert f(1)\n", "test_g: its decorator"),
        (
            "@pytest.mark.parametrize('a', values)\ndef test_g(a):\n    assert f(a)\n",
            "test_g: it takes a fixture",
        ),
        (
            "@pytest.mark.parametrize('a,b', [(1, 2, 3)])\ndef test_g(a, b):\n    assert f(a)\n",
            "test_g: ",
        ),
        ("class TestG:\n    def test(self):\n        assert f(1)\n", "TestG: a class of tests"),
        ("assert g(1)\n", r"assert g\(1\): it does not call f"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    tests = tmp_path / "test_f.py"
    tests.write_text(text)
    with pytest.raises(DataError, match=f"no usable assert about 'f' \\({why}"):
        read_tests(tests, "f")
    tests.write_text(f"{text}assert f(2)\n")
    found = read_tests(tests, "f")
    assert found.asserts == ("assert f(2)",)
    assert len(found.left_out) == 1


VALUES = st.recursive(
    st.integers() | st.text(max_size=5) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(value=VALUES, wanted=VALUES)
def test_a_value_in_the_place_of_its_name_is_the_same_value(
    tmp_path_factory: pytest.TempPathFactory, value: object, wanted: object
) -> None:
    tests = tmp_path_factory.getbasetemp() / "test_values.py"
    tests.write_text(
        f"def test_it():\n    x = {value!r}\n    assert f(x) == {wanted!r}\n", encoding="utf-8"
    )
    [source] = read_tests(tests, "f").asserts
    seen: list[object] = []
    exec(source, {"f": lambda x: seen.append(x) or wanted})
    assert seen == [value]
