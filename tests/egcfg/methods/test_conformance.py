"""The built-in methods keep what every method promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import registry
from egcfg.testing import MethodSuite

# With a model that is always wrong each round is like the last: two show as much as the usual ten.
FEW: Mapping[str, Mapping[str, Any]] = {
    "best_of_n": {"n": 3},
    "ldb": {"rounds": 2},
    "lpw": {"revisions": 2, "repairs": 2},
    "mgdebugger": {"attempts": 2},
    "retry": {"n": 3},
}

for _name in registry().components(Kind.METHOD):
    _class = f"Test{_name.title().replace('_', '')}"
    _made = {"name": _name, "options": FEW.get(_name, {})}
    globals()[_class] = type(_class, (MethodSuite,), _made)
