"""``egcfg trace`` says what to try next where its trace shows less than was wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from egcfg.reports.trace_json import json_schema

F = "def f(n):\n    return n\n"
HINTS = [
    (F, (), 'the program only defines f; try --call "f(...)"'),
    (F, ("--call", "g(1)"), "the program has no g: it defines f"),
    ("x = 1", ("--call", "g(1)"), "the program has no g: it defines no function"),
    ("x = input()", (), "the program reads standard input; --stdin FILE gives it some"),
    ("while True:\n    pass", ("--seconds", "0.2"), "stopped at its time limit"),
    ("def f(:", (), "nothing ran, as this is no valid program"),
    ("x = '\0'", (), "nothing ran, as this is no valid program"),
]
PROGRAMS = [
    ("def f(n):\n    yield from [n, {n}, object()]\n    raise KeyError", "list(f(1))", "bytecode"),
    ("import os\nos._exit(3)", None, "full"),
    ("def f(:", "f(1)", "minimal"),
]


@pytest.mark.parametrize(("source", "arguments", "hint"), HINTS)
def test_a_hint_is_given(
    egcfg: Callable[..., Any], tmp_path: Path, source: str, arguments: tuple[str, ...], hint: str
) -> None:
    (tmp_path / "program.py").write_text(source)
    ran = egcfg("trace", "program.py", *arguments)
    assert (ran.status, ran.err.startswith(hint)) == (0, True), ran.err
    assert ran.out


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("import math\nx = math.pi", ()),
        ("", ()),
        ("from math import sqrt", ("--call", "sqrt(x)")),
        ("f = lambda n: m", ("--call", "f(3)")),
    ],
)
def test_a_program_that_can_run_needs_no_hint(
    egcfg: Callable[..., Any], tmp_path: Path, source: str, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "program.py").write_text(source)
    assert egcfg("trace", "program.py", *arguments).err == ""


@pytest.mark.parametrize(("source", "call", "tracer"), PROGRAMS)
def test_the_json_is_what_the_schema_in_the_docs_says(
    egcfg: Callable[..., Any], tmp_path: Path, source: str, call: str | None, tracer: str
) -> None:
    (tmp_path / "program.py").write_text(source)
    asked = () if call is None else ("--call", call)
    ran = egcfg("trace", "program.py", *asked, "--tracer", tracer, "--format", "json")
    jsonschema.validate(json.loads(ran.out), json_schema())


def test_a_byte_order_mark_is_none_of_the_program(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text("x = 1\nprint(x)", encoding="utf-8-sig")
    ran = egcfg("trace", "program.py")
    assert (ran.err, ran.out.splitlines()[:2]) == ("", ["run", "L1 x = 1"])
