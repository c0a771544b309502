"""The decisions of the line policies: functions of programs, verdicts, values and outcomes alone.

The loop asks them, and does what they say; `egcfg.decoding.settings.Policies` says what each policy
is for.
"""

from __future__ import annotations

import ast

from egcfg.decoding.definitions import Strength, parse, strength

__all__ = ["is_whole"]


def is_whole(program: str, entry_point: str | None) -> bool:
    """Whether nothing is missing from a program, as far as its form tells.

    Args:
        program: code, possibly cut off anywhere.
        entry_point: a function, whose last statement must then leave it; None for a whole program,
            which must print.
    """
    tree = parse(program)
    if tree is None or strength(tree, entry_point) < Strength.FULL:
        return False
    for statement in reversed(tree.body):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name == entry_point:
                    return isinstance(statement.body[-1], ast.Return | ast.Raise)
            case ast.ClassDef(name=name) if name == entry_point:
                return False
    return True
