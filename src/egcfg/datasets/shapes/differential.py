"""A check by a reference solution: the judge reads this module, and runs it beside the test.

The rules of comparison are those of EvalPlus (Liu et al. 2023): equality, or closeness of numbers.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

FLOAT_TOLERANCE = 1e-6
RELATIVE_TOLERANCE = 1e-7


def check_against(
    reference: Callable[..., Any],
    candidate: Callable[..., Any],
    inputs: Sequence[Sequence[Any]],
    tolerance: float,
    view: Callable[[Any], Any] = lambda value: value,
    verify: Callable[..., bool] | None = None,
) -> None:
    """Call both functions with the same arguments and compare what they return.

    Args:
        reference: the right solution.
        candidate: the program's function.
        inputs: the arguments of each call.
        tolerance: how far a number may be from the right one; 0: not at all, for floats 1e-6.
        view: what of a result is compared, such as ``set``.
        verify: decides about a result instead, given the arguments and the result.

    Raises:
        AssertionError: a result is wrong.
    """
    for arguments in inputs:
        found = candidate(*copy.deepcopy(arguments))
        if verify is not None:
            assert verify(*copy.deepcopy(arguments), found), f"wrong: {found!r}"
            continue
        wanted = view(reference(*copy.deepcopy(arguments)))
        assert is_same(view(found), wanted, tolerance), f"{found!r} instead of {wanted!r}"


def is_same(found: Any, wanted: Any, tolerance: float) -> bool:
    """Return whether a result is the right one."""
    if found == wanted or (is_nan(found) and is_nan(wanted)):
        return True
    floats = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    if tolerance == 0 and floats and all(isinstance(item, float) for item in floats):
        tolerance = FLOAT_TOLERANCE
    return tolerance != 0 and is_close(found, wanted, tolerance)


def is_close(found: Any, wanted: Any, tolerance: float) -> bool:
    """Return whether two numbers, or nested lists of numbers, are close."""
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(is_close(f, w, tolerance) for f, w in zip(found, wanted, strict=True))
        )
    if found == wanted or (is_nan(found) and is_nan(wanted)):
        return True
    if not all(isinstance(item, int | float | complex) for item in (found, wanted)):
        return False
    try:
        distance: float = abs(found - wanted)
        near: float = tolerance + RELATIVE_TOLERANCE * abs(wanted)
        return distance < math.inf and distance <= near
    except OverflowError:  # of whole numbers beyond floats
        return False


def is_nan(value: Any) -> bool:
    """Return whether a value is a float that is no number."""
    return isinstance(value, float) and math.isnan(value)


def truth(value: Any) -> bool:
    """Return what a result says as an answer to yes or no: any object but None says yes."""
    return value if isinstance(value, bool) else value is not None
