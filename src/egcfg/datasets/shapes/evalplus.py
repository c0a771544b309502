"""EvalPlus' releases: HumanEval+ and MBPP+, whose tests are inputs and a reference solution."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from egcfg.datasets.records import Record
from egcfg.datasets.shapes import differential
from egcfg.datasets.shapes.humaneval import stub_problem
from egcfg.datasets.shapes.parts import mbpp_plus_time_limit, python_text
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem

__all__ = ["humaneval_plus_problem", "mbpp_plus_release_problem", "typed"]

CHECK = """\
{library}

REFERENCE = {reference!r}
INPUTS = {inputs}


def check(candidate):
    space = {{"__name__": "reference"}}
    exec(compile(REFERENCE, "<reference>", "exec"), space)
    check_against(space[{name!r}], candidate, INPUTS, {tolerance!r}, {how})
"""

VERIFIED = {
    # Any root will do; the given code has the polynomial.
    "find_zero": "verify=lambda xs, x: abs(space['poly'](xs, x)) <= {tolerance!r}",
}


def humaneval_plus_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of HumanEval+: the docstring's examples are visible.

    The reference's results on the base inputs and on the further ones score, in two tests.

    Raises:
        DataError: the record cannot be used.
    """
    name = record.text("entry_point")
    reference = record.text("prompt") + record.text("canonical_solution")
    how = VERIFIED.get(name, "").format(tolerance=record.values.get("atol") or 0)
    checks = _checks(record, reference, _inputs(record, "base"), _inputs(record, "plus"), how)
    return stub_problem(record, checks, "check", visible)


def mbpp_plus_release_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of MBPP+: the asserts on the base inputs are visible.

    The reference's results on the base inputs and on the further ones score, in two tests. JSON
    has lost which arguments are tuples or sets; they are so where the asserts' are.

    Raises:
        DataError: the record cannot be used.
    """
    name = record.text("entry_point")
    setup, asserts = _split(record, "assertion", record.text("assertion"))
    description, [shown, *_] = _words(record)
    stored = _inputs(record, "base")
    if len(stored) != len(asserts):
        raise record.error("assertion", "must have one assert per base input")
    base = [_arguments(record, *pair, name) for pair in zip(asserts, stored, strict=True)]
    places = [list(place) for place in zip_longest(*base)]
    plus = [
        [typed(value, places[i] if i < len(places) else []) for i, value in enumerate(arguments)]
        for arguments in _inputs(record, "plus")
    ]
    how = ""
    if "set" in {_wrapper(test) for test in (*asserts, shown)}:
        how, asserts = "view=set", [_as_sets(test) for test in asserts]
    elif all(_is_yes_or_no(test, name) for test in asserts):
        how = "view=truth"
    return Problem(
        task_id=record.name("task_id"),
        description=description,
        entry_point=name,
        visible_tests=[AssertTest(test) for test in asserts[:visible]],
        hidden_tests=_checks(record, record.text("canonical_solution"), base, plus, how),
        setup_code=setup,
        scorer="check",
        time_limit=mbpp_plus_time_limit(record),
        memory_limit=record.limit("memory_limit"),
    )


def typed(value: Any, examples: Sequence[Any], inherited: type = list) -> Any:
    """Return a value of JSON's types with the types that values in its place have.

    Args:
        value: what JSON holds.
        examples: values that stand in the same place elsewhere.
        inherited: what a list becomes where no example is a sequence: as the sequence around it.
    """
    match value:
        case list():
            alike = [e for e in examples if isinstance(e, list | tuple | set | frozenset)]
            kinds = Counter(type(e) for e in alike) or Counter([inherited])
            [(kind, _)] = kinds.most_common(1)
            anywhere = [item for e in alike for item in e]
            items = []
            for place, item in enumerate(value):
                if not isinstance(item, list | dict | str):
                    items.append(item)
                    continue
                # A tuple's places have types of their own; those of other lengths have not.
                here = [e[place] for e in alike if isinstance(e, tuple) and place < len(e)]
                here = [e for e in here if isinstance(e, list | tuple) == isinstance(item, list)]
                items.append(typed(item, here if kind is tuple and here else anywhere, kind))
            return kind(items)
        case dict():
            maps = [e for e in examples if isinstance(e, dict)]
            keys = [key for e in maps for key in e]
            values = [item for e in maps for item in e.values()]
            return {typed(key, keys): typed(item, values) for key, item in value.items()}
        case str() if examples and all(isinstance(e, int | float | complex) for e in examples):
            return _number(value)
    return value


def _number(text: str) -> Any:
    """Return the number that a text stands for, which JSON cannot write; else the text."""
    for kind in (int, float, complex):
        with suppress(ValueError):
            return kind(text)
    return text


def _inputs(record: Record, which: str) -> list[list[Any]]:
    field = f"{which}_input"
    if record.values.get(field) == {}:  # how some releases write that there are none
        return []
    inputs = record.items(field)
    for number, arguments in enumerate(inputs):
        if not isinstance(arguments, list):
            raise record.error(f"{field}[{number}]", "must be a list of arguments")
    return inputs


def _checks(
    record: Record, reference: str, base: list[list[Any]], plus: list[list[Any]], how: str
) -> list[CheckTest]:
    name = record.text("entry_point")
    return [
        CheckTest(
            CHECK.format(
                library=inspect.getsource(differential),
                reference=reference,
                inputs=python_text(inputs),
                name=name,
                tolerance=record.values.get("atol") or 0,
                how=how,
            ),
            name,
            label,
        )
        for label, inputs in (("base", base), ("plus", plus))
        if inputs
    ]


def _words(record: Record) -> tuple[str, list[str]]:
    """Return the task in words, and the asserts that its prompt shows."""
    prompt = record.text("prompt").strip().strip("\"'").strip()
    lines = prompt.splitlines()
    shown = [line.strip() for line in lines if line.startswith("assert ")]
    if not shown:
        raise record.error("prompt", "must show an assert after the words")
    words = "\n".join(line for line in lines if not line.startswith("assert "))
    return words.strip(), shown


def _split(record: Record, field: str, source: str) -> tuple[str, list[str]]:
    """Return the statements of a script of asserts that are none, and the asserts."""
    try:
        statements = ast.parse(source.strip()).body
    except (SyntaxError, ValueError) as error:
        raise record.error(field, f"is no Python: {error}; correct it") from error
    texts = [(node, ast.get_source_segment(source.strip(), node) or "") for node in statements]
    asserts = [text for node, text in texts if isinstance(node, ast.Assert)]
    return "\n".join(text for node, text in texts if not isinstance(node, ast.Assert)), asserts


def _arguments(record: Record, test: str, stored: list[Any], name: str) -> list[Any]:
    """Return the arguments that an assert calls the function with: literals, or else as stored."""
    for node in ast.walk(ast.parse(test)):
        match node:
            case ast.Call(func=ast.Name(id=called), args=written) if called == name:
                arguments = list(stored)
                for place, argument in enumerate(written[: len(stored)]):
                    with suppress(ValueError):
                        arguments[place] = ast.literal_eval(argument)
                return arguments
    raise record.error("assertion", f"must call {name!r} in every assert")


def _is_yes_or_no(test: str, name: str) -> bool:
    """Whether a test asserts the call itself, or that it is false."""
    match _condition(test):
        case (
            ast.Call(func=ast.Name(id=called))
            | ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id=called)))
        ):
            return called == name
    return False


def _condition(test: str) -> ast.expr:
    statement = ast.parse(test).body[0]
    assert isinstance(statement, ast.Assert)
    return statement.test


def _wrapper(test: str) -> str | None:
    """Return the function around the call in ``assert wrapper(call) == ...``."""
    match _condition(test):
        case ast.Compare(left=ast.Call(func=ast.Name(id=wrapper), args=[ast.Call()])):
            return wrapper
    return None


def _as_sets(test: str) -> str:
    match _condition(test):
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if not _wrapper(test):
            return f"assert set({ast.unparse(left)}) == set({ast.unparse(right)})"
    return test
