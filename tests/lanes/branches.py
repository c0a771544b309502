"""Branch coverage of each room by its own tests, held against the floors in ``floors.toml``.

``python tests/lanes/branches.py ROOM ...``: one room after the other; the exit status is 1 where
one is below its floor, and its lines that no test ran are listed. Processes that the tests start
are counted, too, but for the sandbox's, which have no site-packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS: dict[str, int] = tomllib.loads(Path(__file__).with_name("floors.toml").read_text("utf-8"))
SETTINGS = """
[run]
branch = true
source_dirs = {source}
data_file = {folder}/data
patch = subprocess
disable_warnings = no-data-collected
[report]
exclude_also =
    if TYPE_CHECKING:
    assert_never
"""


def measured(room: str) -> tuple[float, dict[str, list[int]]]:
    """Run a room's tests; return its coverage in percent, and the lines of each file that none ran.

    Raises:
        subprocess.CalledProcessError: a test fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings")
        settings.write_text(SETTINGS.format(source=ROOT / "src" / room, folder=folder))
        coverage = [sys.executable, "-m", "coverage"]
        given = f"--rcfile={settings}"
        tests = [str(ROOT / "tests" / room), "-q", "-n0", "-p", "no:cacheprovider"]
        subprocess.run([*coverage, "run", given, "-m", "pytest", *tests], cwd=ROOT, check=True)
        subprocess.run([*coverage, "combine", "-q", given], cwd=ROOT, check=False)
        report = Path(folder, "report.json")
        subprocess.run([*coverage, "json", "-q", given, "-o", report], cwd=ROOT, check=True)
        found = json.loads(report.read_text())
    missing = {name: file["missing_lines"] for name, file in found["files"].items()}
    return found["totals"]["percent_covered"], missing


def main() -> int:
    """Print each room's coverage; return 1 where one is below its floor."""
    below = 0
    for room in sys.argv[1:]:
        percent, missing = measured(room)
        floor = FLOORS.get(room, 0)
        held = f"the floor is {floor} %" if floor else "it has no floor"
        print(f"{room}: {percent:.1f} % of lines and branches; {held}", flush=True)
        if percent < floor:
            below += 1
            for name, lines in missing.items():
                if lines:
                    print(f"  {name}: {', '.join(map(str, lines))}")
    return min(below, 1)


if __name__ == "__main__":
    sys.exit(main())
