"""The engine as one file, as the sandbox takes it: its modules' sources, joined."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["engine_file"]

# Each may import those before it.
_MODULES = (
    "values",
    "journal",
    "forms",
    "differences",
    "variables",
    "comprehensions",
    "codes",
    "activation",
    "iterations",
    "engine",
    "rehearsal",
)

_PACKAGE = "egcfg_tracers"
_TEMPLATE = '''\
"""Joined by egcfg_tracers.bundle; defines Instrument and rehearse."""
import sys, types
package = sys.modules[{package!r}] = types.ModuleType({package!r})
package.__path__ = []
for name, path, source in {parts!r}:
    module = types.ModuleType(f"{package}.{{name}}")
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
for name in list(sys.modules):  # the program is not to find them by accident
    if name.startswith("{package}."):
        del sys.modules[name]
del sys.modules[{package!r}]
Instrument, rehearse = module.Instrument, module.rehearse
'''


def engine_file() -> Path:
    """Return the path of a file that defines `Instrument` and `rehearse`.

    It imports the standard library only. It lives as long as this process, in its temporary folder.
    """
    folder = Path(_folder().name)
    path = folder / "engine.py"
    if not path.exists():  # at first, or after something has tidied the temporary folder up
        folder.mkdir(exist_ok=True)
        here = Path(__file__).parent
        sources = [here / f"{name}.py" for name in _MODULES]
        parts = [(file.stem, str(file), file.read_text("utf-8")) for file in sources]
        path.write_text(_TEMPLATE.format(package=_PACKAGE, parts=parts), "utf-8")
    return path


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="egcfg-engine-")
    atexit.register(folder.cleanup)  # else Python warns that it does so
    return folder
