"""One problem in words: code on standard output, everything else beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SQUARE = "def f(x):\n    return x * x\n"
RIGHT = ("solve", "Square a number", "--test", "assert f(3) == 9", "--backend", "scripted")
PROMPT = ("-p", "chat")
EGCFG = ("--method", "egcfg")


def test_a_solved_problem_prints_its_code_and_nothing_else(process: Callable[..., Any]) -> None:
    ran = process(*RIGHT, *PROMPT, "-o", "backend.noisy=true")

    assert (ran.status, ran.out) == (0, SQUARE), ran.err
    assert "solved (method best_of_n, " in ran.err
    assert "a library says hello" in ran.err


def test_a_problem_that_is_not_solved_prints_its_best_code_and_ends_with_1(
    egcfg: Callable[..., Any],
) -> None:
    ran = egcfg(
        *("solve", "Double", "--test", "assert f(2) == 4", "--test", "assert f(3) == 6"),
        *("--backend", "scripted", *PROMPT),
    )

    assert (ran.status, ran.out) == (1, SQUARE)
    assert "passed: assert f(2) == 4" in ran.err
    assert "failed: assert f(3) == 6" in ran.err
    assert "not solved" in ran.err


def test_explain_shows_candidates_traces_and_decisions_on_standard_error(
    egcfg: Callable[..., Any],
) -> None:
    ran = egcfg(*RIGHT, *PROMPT, *EGCFG, "-g", "1", "--explain", "--tracer", "full")

    assert (ran.status, ran.out) == (0, SQUARE)
    assert "solved (gamma 1, " in ran.err
    assert "=== ns3t0.7d2_chat_ln, gamma 1" in ran.err
    assert "decided |     return x * x" in ran.err
    assert "f(3): ok" in ran.err
    assert "9" in ran.err


def test_explain_tells_what_a_policy_decided(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*RIGHT, *PROMPT, *EGCFG, "-g", "1", "--explain", "-o", "method.accept=true")

    assert (ran.status, ran.out) == (0, SQUARE)
    assert "=== ns3t0.7d2_chat_ln,accept=true, gamma 1" in ran.err
    assert "  policy accept: candidate 1 passes all visible tests\n" in ran.err


def test_explain_tells_what_a_method_decided(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(
        *("solve", "Double", "--test", "assert f(2) == 4", "--test", "assert f(3) == 6"),
        *("--backend", "scripted", *PROMPT, "-g", "1", "--explain"),
        *("--method", "cascade", "-o", "method.n=1"),
    )

    assert (ran.status, ran.out) == (1, SQUARE)
    assert "=== method=cascade,n=1\n" in ran.err
    assert "answer 1 (greedy): 2 lines, 50% of the tests passed, after " in ran.err
    assert "  method chosen: of 2, agree 2, passing 50%\n" in ran.err
    assert "  policy gate: unguided, 1 distinct program, " in ran.err
    assert "not solved (method cascade, " in ran.err


def test_explain_shows_what_the_prompt_forces_before_the_first_step(
    egcfg: Callable[..., Any],
) -> None:
    ran = egcfg(*RIGHT, "-p", "deepseek_instruct", *EGCFG, "-g", "1", "--explain", "-s", "1")

    assert (ran.status, ran.out) == (0, SQUARE)
    before, _, steps = ran.err.partition("--- step 0")
    assert "forced  | ```python\n" in before
    assert "forced  | " not in steps
    assert "signal: 1 program, " in steps
    assert "program 1 (1 candidate)" in steps


def test_the_grid_is_tried_in_turn_until_a_solution_passes(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*RIGHT, *PROMPT, *EGCFG, "-g", "0", "-g", "3", "--explain")

    assert ran.status == 0
    assert "gamma 0" in ran.err
    assert "gamma 3" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("solve", "x", "--test", "assert f("), "syntax error in the test 'assert f('"),
        (("solve", "x", "--test", "print(1)"), "must be one assert statement"),
        (("solve", "x", "--test", "assert 1 == 1"), "name it with --function NAME"),
        (
            ("solve", "x", "--test", "assert f(1)", "--test", "assert g(1)", "--function", "f"),
            "'assert g(1)' does not call 'f'",
        ),
        (("solve", " ", "--test", "assert f(1)"), "the description is empty"),
        (("solve", "x"), "there is no test; give at least one --test ASSERT"),
        (("solve", "x.py", "--test", "assert f(1)"), "x.py cannot be read"),
        (("solve", "x", "--tests", "x.py", "--function", "f"), "x.py cannot be read"),
        (("solve", "x", "--stdin", "1"), "1 --stdin and 0 --expect; give one --expect for each"),
        (("solve", "x.py", "--stdin", "1", "--expect", "1"), "leave out stub, --test"),
        ((*RIGHT, "--expect", "1"), "test a whole program"),
        ((*RIGHT, "--seconds", "0"), "'--seconds'"),
        ((*RIGHT, "--tokens", "0"), "'--tokens'"),
        ((*RIGHT, "--method", "greed"), "no method named 'greed'; did you mean 'greedy'"),
        ((*RIGHT, "--method", "best_of_n", "-o", "method.m=1"), "has no option 'm'"),
        ((*RIGHT, "--backend", "scriptd"), "no backend named 'scriptd'; did you mean 'scripted'"),
        ((*RIGHT, "--tracer", "ful"), "no tracer named 'ful'; did you mean 'full'"),
        ((*RIGHT, "-g", "much"), "--gamma: 'much' is not a number"),
        ((*RIGHT, "-o", "backend.cod=1"), "has no option 'cod'; did you mean 'code'"),
        ((*RIGHT, "--base-url", "http://h"), "the backend 'scripted' takes no --base-url"),
        ((*RIGHT, "--limit", "3"), "No such option"),
        ((*RIGHT, "-o", "scorer.nope=1"), "-o scorer.nope: the scorer 'asserts' has no option"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    egcfg: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    ran = egcfg(*arguments)

    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_model_that_fails_is_one_line_and_status_1(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*RIGHT, *PROMPT, "-o", "backend.fails=true")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "egcfg: the model is out to lunch; try again later\n"


def test_debug_shows_the_traceback_of_a_failure(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("--debug", *RIGHT, *PROMPT, "-o", "backend.fails=true")

    assert ran.status == 1
    assert "Traceback" in ran.err


@pytest.mark.parametrize("code", ["def f(x):\\n    return x*x # \x1b[31m", "x = 1"])
def test_what_the_model_writes_reaches_a_pipe_unchanged(
    egcfg: Callable[..., Any], code: str
) -> None:
    ran = egcfg(*RIGHT, *PROMPT, "-g", "0", "-o", f"backend.code={code}")

    assert ran.out == code.replace("\\n", "\n") + "\n"
    assert "\x1b" not in ran.err


# --- stubs, test files, inputs ------------------------------------------------------------------

STUB = 'def f(x):\n    """Square x."""\n    ...\n'
WRITTEN = r'import math\n\n\ndef f(x):\n    """Square x."""\n    return x * x'


def test_a_stub_and_a_test_file_are_a_problem(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "stub.py").write_text(f"import math\n\n\n{STUB}")
    (tmp_path / "test_stub.py").write_text(
        "from stub import f\nBIG = 5\n"
        "def test_f():\n    assert f(3) == 9\n    assert f(BIG) == 25\n"
        "def test_g(tmp_path):\n    assert f(1)\n"
    )
    ran = egcfg(
        *("solve", "stub.py", "--tests", "test_stub.py", "--test", "assert f(2) == 4"),
        *("--backend", "scripted", *PROMPT, "-o", f"backend.code={WRITTEN}"),
    )

    assert ran.status == 0, ran.err
    assert ran.out == WRITTEN.replace(r"\n", "\n") + "\n"
    assert "left out of test_stub.py: test_g: it takes a fixture" in ran.err
    for passed in ("f(2) == 4", "f(3) == 9", "f(BIG) == 25"):
        assert f"passed: assert {passed}" in ran.err


def test_inputs_and_outputs_are_texts_or_files(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("4\n")
    (tmp_path / "out.txt").write_text("16\n")
    ran = egcfg(
        *("solve", "Square a number", "--stdin", "3", "--expect", "9"),
        *("--stdin", "in.txt", "--expect", "out.txt", "--backend", "scripted", *PROMPT),
        *("-o", "backend.code=print(int(input()) ** 2)"),
    )

    assert (ran.status, ran.out) == (0, "print(int(input()) ** 2)\n"), ran.err
    assert "passed: stdin: '4\\n'" in ran.err


# --- methods and limits -------------------------------------------------------------------------


def test_each_answer_of_a_method_is_shown_as_it_is_made(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*RIGHT, *PROMPT, "--explain")

    assert (ran.status, ran.out) == (0, SQUARE)
    assert "answer 1 (greedy): 2 lines, 100% of the tests passed, after " in ran.err
    assert "  |     return x * x" in ran.err
    assert "solved (method best_of_n, " in ran.err


@pytest.mark.parametrize(
    "limit", [("--tokens", "60"), ("--seconds", "0.000001")], ids=["tokens", "seconds"]
)
def test_a_limit_that_is_too_small_for_one_answer_is_told(
    egcfg: Callable[..., Any], limit: tuple[str, str]
) -> None:
    for method in ("egcfg", "greedy", "egcfg_grid"):
        ran = egcfg(*RIGHT, *PROMPT, "--method", method, *limit)

        assert (ran.status, ran.out) == (3, ""), ran.err
        assert "there is no answer: " in ran.err
        assert f"run again with a larger {limit[0]} to go on" in ran.err


def test_the_last_answer_within_the_limit_stands(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(
        *("solve", "Square", "--test", "assert f(2) == 4", "--test", "assert f(3) == 6"),
        *("--backend", "scripted", *PROMPT),
        *("--method", "best_of_n", "-o", "method.n=1000", "--tokens", "230"),
    )

    assert (ran.status, ran.out) == (3, SQUARE), ran.err
    assert "run again with more" in ran.err


def test_a_model_that_hangs_is_left_at_the_deadline(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(
        *(*RIGHT, *PROMPT, "-g", "0", "--seconds", "0.5"),
        *("-o", "backend.seconds_per_question=600"),
    )

    assert (ran.status, ran.out) == (3, "")
    assert "the time for task solve is over" in ran.err
