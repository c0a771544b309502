"""The stdio scorer: whole programs and solve(), comparison of lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, Comparison, Problem, StdioTest
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.scorers.stdio import StdioOptions, StdioScorer

OPTIONS = StdioOptions(cpu_seconds=0.5, wall_seconds=2.0)
DOUBLE = "n = int(input())\nprint(n * 2)\n"


Result = Callable[..., TestResult]
Passes = Callable[..., bool]


@pytest.fixture
def result(judge: Callable[[Scorer, Problem, str], Score]) -> Result:
    """Judge a program by one pair of input and output."""

    def judge_one(
        code: str,
        stdin: str,
        stdout: str,
        entry_point: str | None = None,
        *,
        options: StdioOptions = OPTIONS,
        time_limit: float | None = None,
        memory_limit: float | None = None,
        **rule: Any,
    ) -> TestResult:
        problem = Problem(
            task_id="t",
            description="",
            entry_point=entry_point,
            visible_tests=(StdioTest(stdin, stdout, **rule),),
            scorer="stdio",
            time_limit=time_limit,
            memory_limit=memory_limit,
        )
        [only] = judge(StdioScorer(options), problem, code).results
        return only

    return judge_one


@pytest.fixture
def passes(result: Result) -> Callable[..., bool]:
    """Judge a program, which is right or wrong but ends well."""

    def judge_one(*arguments: Any, **options: Any) -> bool:
        status = result(*arguments, **options).status
        assert status in (TestStatus.PASSED, TestStatus.FAILED)
        return status is TestStatus.PASSED

    return judge_one


@pytest.mark.parametrize(
    ("code", "entry_point"),
    [
        (DOUBLE, None),
        (DOUBLE + "import sys\nsys.exit()", None),
        ("if __name__ == '__main__':\n    print(int(input()) * 2, end='   ')", None),
        ("def solve():\n    print(int(input()) * 2)\n    return 'ignored'", "solve"),
        ("import sys\ndef solve():\n    print(int(input()) * 2)\n    sys.exit(0)", "solve"),
    ],
)
def test_right_programs_pass(result: Result, code: str, entry_point: str | None) -> None:
    assert result(code, "21\n", "42\n", entry_point).status is TestStatus.PASSED
    wrong = result(code, "22\n", "42\n", entry_point)
    assert (wrong.status, wrong.error) == (TestStatus.FAILED, "line 1 is '44', not '42'")


@pytest.mark.parametrize(
    ("printed", "expected", "passes"),
    [
        ("a  \nb\n\n\n", "a\nb", True),
        ("a\r\nb", "a\nb\n", True),
        ("a\n\nb", "a\nb", False),
        (" a", "a", False),
        ("a", "a\nb", False),
        ("", "", True),
    ],
)
def test_output_is_compared_by_lines_without_trailing_blanks(
    result: Result, printed: str, expected: str, passes: bool
) -> None:
    code = f"import sys\nsys.stdout.write({printed!r})"
    assert (result(code, "", expected).status is TestStatus.PASSED) == passes


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("1 / 0", TestStatus.ERROR),
        ("import sys; sys.exit(1)", TestStatus.ERROR),
        ("import os; os._exit(1)", TestStatus.ERROR),
        ("input()", TestStatus.ERROR),
        ("while True: pass", TestStatus.TIMEOUT),
        ("x = [0] * 10**11", TestStatus.MEMORY),
    ],
)
def test_the_right_output_is_not_enough(result: Result, end: str, status: TestStatus) -> None:
    ended = result(f"print('42', flush=True)\n{end}", "", "42")
    assert ended.status is status
    assert ended.error


FUTURE = '"""Doubles."""\nfrom __future__ import annotations\n'


@pytest.mark.parametrize("entry_point", [None, "solve"])
def test_setup_code_leaves_the_programs_first_statement_first(
    judge: Callable[[Scorer, Problem, str], Score], entry_point: str | None
) -> None:
    problem = Problem(
        task_id="t",
        description="",
        entry_point=entry_point,
        visible_tests=(StdioTest("21\n", "42 Doubles.\n"),),
        setup_code="import math\nTWO = 2",
        scorer="stdio",
    )
    code = f"{FUTURE}def solve(n: undefined = 0):\n    print(int(input()) * TWO, __doc__)\n"
    if entry_point is None:
        code += "solve()\n"
    assert judge(StdioScorer(OPTIONS), problem, code).passed


def test_a_byte_order_mark_is_none_of_the_program(result: Result) -> None:
    assert result(f"\ufeff{DOUBLE}", "21\n", "42\n").status is TestStatus.PASSED


def test_what_a_program_imported_is_in_the_result(result: Result) -> None:
    numpy = result(f"import numpy\n{DOUBLE}", "21\n", "42\n")
    assert [name.partition("==")[0] for name in numpy.packages] == ["numpy"]
    assert result(DOUBLE, "21\n", "42\n").packages == ()


LONG = "\n".join(map(str, range(200_000)))
"""1.3 MB."""
PRINT_LONG = "print('\\n'.join(map(str, range(200_000))))\n"


def test_output_may_be_twice_as_long_as_what_is_expected(result: Result, passes: Passes) -> None:
    assert passes(PRINT_LONG, "", LONG)
    assert not passes("print('x' * 2_500_000)", "", LONG)
    longer = result("print('x' * 3_000_000)", "", LONG)
    assert longer.status is TestStatus.ERROR
    assert longer.error == f"it printed more than {2 * len(LONG)} bytes"
    assert result(PRINT_LONG, "", "0").error == f"it printed more than {1 << 20} bytes"


def test_output_has_a_limit_of_its_own_option(result: Result, passes: Passes) -> None:
    small = evolve(OPTIONS, output_bytes=1000)
    assert passes("print('x' * 990)", "", "x" * 990, options=small)
    longer = result("print('x' * 1000)", "", "x", options=small)
    assert longer.error == "it printed more than 1000 bytes"
    assert not passes(PRINT_LONG, "", "0", options=evolve(OPTIONS, output_bytes=4 << 20))


def test_standard_error_may_be_any_amount(passes: Passes) -> None:
    assert passes("import sys\nprint('e' * 3_000_000, file=sys.stderr)\nprint('42')", "", "42")


def test_bytes_that_are_no_text_never_pass(result: Result, passes: Passes) -> None:
    code = "import sys\nsys.stdout.buffer.write(b'\\xff')"
    for expected in ("\\xff", "\xff", "\udcff", ""):
        wrong = result(code, "", expected)
        assert (wrong.status, wrong.error) == (TestStatus.FAILED, "its output is no UTF-8 text")
    assert passes("print('\\\\xff')", "", "\\xff")


def test_a_rule_of_the_test_comes_before_the_options(passes: Passes) -> None:
    options = evolve(OPTIONS, ignore_case=True, absolute_tolerance=0.1)
    assert passes("print('YES 1.05')", "", "yes 1", options=options)
    strict = Comparison()
    assert not passes("print('YES 1.05')", "", "yes 1", options=options, comparison=strict)
    rule = Comparison(ignore_whitespace="inline")
    assert passes("print('a', '', 'b')", "", "a b", comparison=rule)


CHECKER = """
def check(input, output, expected):
    n = int(input)
    a, b = map(int, output.split())
    return a * b == n and len(expected.split()) == 2
"""


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("print(2, 21)", TestStatus.PASSED, None),
        ("print(-6)\nprint(-7)", TestStatus.PASSED, None),
        ("print(2, 20)", TestStatus.FAILED, "the checker refuses the output"),
        ("print('x')", TestStatus.FAILED, "the checker ended by ValueError: "),
        ("print(2, 21)\nraise SystemExit(3)", TestStatus.ERROR, "SystemExit: 3"),
        ("open(1, 'wb').write(b'2 21 \\xff')", TestStatus.FAILED, "its output is no UTF-8 text"),
    ],
)
def test_a_checker_decides_about_whatever_ended_well(
    result: Result, code: str, status: TestStatus, error: str | None
) -> None:
    judged = result(code, "42\n", "6 7\n", checker=CHECKER)
    assert judged.status is status
    assert (judged.error or "").startswith(error or "")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("return 1", TestStatus.ERROR, "the checker returned neither True nor False; correct it"),
        ("return undefined", TestStatus.FAILED, "the checker ended by NameError: "),
        ("while True: pass", TestStatus.TIMEOUT, "the checker ended by it took too much processor"),
        ("import os; os._exit(0)", TestStatus.ERROR, "the checker ended by it left by itself"),
        ("print('x' * 3_000_000); return True", TestStatus.PASSED, None),
        (
            "return [input, output, expected] == ['i\\r\\n\\ud800', '\\U0001f600\\0\\n', 'e']",
            TestStatus.PASSED,
            None,
        ),
    ],
)
def test_a_checker_is_given_the_texts_as_they_are_and_has_to_answer(
    result: Result, body: str, status: TestStatus, error: str | None
) -> None:
    checker = f"def check(input, output, expected):\n    {body}\n"
    judged = result("print('\\U0001f600\\0')", "i\r\n\ud800", "e", checker=checker)
    assert judged.status is status
    assert (judged.error or "").startswith(error or "")


def test_a_checker_never_meets_the_program(passes: Passes) -> None:
    code = "import builtins, sys\nbuiltins.check = sys.modules['__main__'].check = lambda *_: True"
    own = "def check(input, output, expected):\n    return __import__('sys').argv is None\n"
    assert not passes(code, "42", "6 7", checker=own)
    asks = "print('check' in globals(), any('secret' in str(v) for v in globals().values()))"
    checker = "def check(input, output, expected):\n    return output == 'False True\\n'\n"
    assert not passes(asks.replace("'secret'", "'sec' + 'ret'"), "", "secret", checker=checker)


def test_a_checker_takes_long_texts(passes: Passes) -> None:
    checker = "def check(input, output, expected):\n    return input == output[:-1] == expected\n"
    text = "7 " * 1_500_000
    assert passes("print(input())", text, text, checker=checker)


def test_a_checker_may_come_from_a_file(passes: Passes, tmp_path: Path) -> None:
    file = tmp_path / "checker.py"
    file.write_text(CHECKER)
    options = evolve(OPTIONS, checker=file)
    assert passes("print(3, 14)", "42", "6 7", options=options)
    own = "def check(input, output, expected):\n    return False\n"
    assert not passes("print(3, 14)", "42", "6 7", options=options, checker=own)
    rule = Comparison(ignore_case=True)
    assert not passes("print(3, 14)", "42", "6 7", options=options, comparison=rule)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "scorer.checker: cannot read .*: No such file or directory; check the path"),
        ("def check(", r"checker\.py is no Python: .*; correct it"),
        ("check = 1", r"checker\.py defines no function 'check'; add def check\(input, output, "),
    ],
)
def test_a_file_that_is_no_checker_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "checker.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message):
        StdioScorer(StdioOptions(checker=file))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (AssertTest("assert f() == 1"), "takes pairs of input and output, not AssertTest"),
        (StdioTest("", "", checker="x = 1"), "task t: the checker defines no function 'check'"),
        (StdioTest("", "", checker="x ="), "task t: the checker is no Python"),
    ],
)
def test_what_it_cannot_judge_by_is_told_beforehand(
    test: AssertTest | StdioTest, message: str
) -> None:
    problem = Problem(task_id="t", description="", entry_point="f", visible_tests=[test])
    with pytest.raises(UsageError, match=message):
        StdioScorer(OPTIONS).check(problem)


def test_a_problem_has_limits_of_its_own(result: Result, passes: Passes) -> None:
    spin = "while True: pass"
    generous = evolve(OPTIONS, cpu_seconds=50, wall_seconds=150)
    timed_out = result(spin, "", "1", options=generous, time_limit=0.2)
    assert timed_out.status is TestStatus.TIMEOUT
    assert timed_out.seconds < 40
    sleep = "import time\ntime.sleep(1.5)\nprint(1)"
    impatient = evolve(OPTIONS, cpu_seconds=0.05, wall_seconds=0.05)
    assert result(sleep, "", "1", options=impatient).status is TestStatus.TIMEOUT
    assert passes(sleep, "", "1", options=impatient, time_limit=60)
    fill = "x = bytearray(150 << 20)\nprint(1)"
    assert passes(fill, "", "1")
    assert result(fill, "", "1", memory_limit=100).status is TestStatus.MEMORY
    small = evolve(OPTIONS, memory_bytes=100 << 20)
    assert result(fill, "", "1", options=small).status is TestStatus.MEMORY
    assert passes(fill, "", "1", options=small, memory_limit=300)


def test_input_reaches_the_program_as_it_is(passes: Passes) -> None:
    code = "import sys\nprint(ascii(sys.stdin.read()))"
    assert passes(code, "a\r\nb\rc\x0cd\n", r"'a\r\nb\rc\x0cd\n'")
