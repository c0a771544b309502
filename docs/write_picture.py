"""Draw the picture of the README: how execution rescued a task, as `egcfg show` tells it.

    make demo && .venv/bin/python docs/write_picture.py

Reads the record that `make demo` leaves, and writes docs/pictures/rescue.svg: two steps of the
program's second line, what the traces say folded to their results.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

RESULTS = Path("demo-results")
PICTURE = Path(__file__).parent / "pictures" / "rescue.svg"
WIDTH = 104
# Traces are dim; what a call came to is their last line.
TRACE_LINE = re.compile(r"^\s*\x1b\[2m")
OUTCOME = re.compile(r"^\s*\x1b\[2m\s*(result|raised)\b")


def main() -> None:
    """Write the picture; exits with a message where the demo has not run."""
    records = sorted(RESULTS.rglob("task_id=factorial_gamma=1.0.json"))
    if not records:
        sys.exit(f"{RESULTS} has no record of factorial: run `make demo` first")
    command = [sys.executable, "-m", "egcfg", "show", str(records[0]), "--line", "2"]
    shown = subprocess.run(
        command,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ egcfg show {records[0].name} --line 2", style="bold"))
    for line in shown.splitlines():
        if not TRACE_LINE.match(line) or OUTCOME.match(line):
            console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis")
    picture = console.export_svg(title="egcfg show")
    # Fonts from another host: the reader's own monospaced one will do.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


if __name__ == "__main__":
    main()
