"""What goes into the sandbox is one file that needs the standard library only."""

from __future__ import annotations

import subprocess
import sys

from egcfg_tracers.bundle import engine_file


def test_the_engine_loads_and_rehearses_in_a_bare_interpreter_and_leaves_nothing_behind():
    check = f"""
import sys, types
path = {str(engine_file())!r}
module = types.ModuleType("instrument")
exec(compile(open(path).read(), path, "exec"), module.__dict__)
assert callable(module.Instrument.start)
limit = sys.getrecursionlimit()
for _ in range(2):
    module.rehearse()
assert (sys.gettrace(), sys.getrecursionlimit()) == (None, limit)
print([name for name in sys.modules if "egcfg" in name or "site-packages" in name])
"""
    command = [sys.executable, "-I", "-S", "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_file_comes_back_when_the_temporary_folder_was_tidied_up():
    text = engine_file().read_text()
    engine_file().unlink()
    assert engine_file().read_text() == text
