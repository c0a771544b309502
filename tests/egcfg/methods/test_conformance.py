"""The built-in methods keep what every method promises."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import registry
from egcfg.testing import MethodSuite

for _name in registry().components(Kind.METHOD):
    _class = f"Test{_name.title().replace('_', '')}"
    globals()[_class] = type(_class, (MethodSuite,), {"name": _name})
