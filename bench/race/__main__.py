"""The race: every method on the same tasks, one model, one sandbox; then `egcfg compare`.

    python bench/race --model FILE --data mbpp.jsonl.gz --tasks 11-210 --out DIR
    python bench/race --arms greedy best_of_n egcfg --limit 12 --out DIR   # the built-in problems
    python bench/race --data mbpp.jsonl.gz --tasks 11-210 --out DIR --left # what is left to do

The arms are those of arms.py, in its order; each is one `egcfg run` into a folder of its own below
DIR. Started again it goes on where it was stopped, also with further arms. At the end, and however
it ends, it says what is left, and writes what `egcfg compare` finds: race.md, race.svg, and in
saved/ the few bytes per task that comparing again needs. What follows `--` goes to every run.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from arms import ARMS

from egcfg.errors import RunError
from egcfg.runs.folder import scan
from egcfg.runs.store import FileState

EGCFG = (sys.executable, "-m", "egcfg")
INTERRUPTED = (130, 143, -2, -15)


def main() -> int:
    """Run the arms that are asked for; return the exit status."""
    options, for_runs = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shared = _shared(options, for_runs)
    commands = {
        arm: [*EGCFG, "run", *shared, *ARMS[arm], "--results-dir", str(options.out / arm)]
        for arm in options.arms
    }
    _say_what_is_left(options)
    if options.left:
        return 0
    failed: dict[str, int] = {}
    try:
        for arm, command in commands.items():
            print(f"=== {arm}: egcfg {shlex.join(command[3:])}", file=sys.stderr, flush=True)
            # The table of a single arm is of no interest; progress and errors go to stderr.
            status = _run(command)
            if status in INTERRUPTED:
                return 130
            if status:
                failed[arm] = status
    except KeyboardInterrupt:
        return 130
    finally:
        _say_what_is_left(options)
        compared = _compare(options)
    for arm, status in failed.items():
        print(f"{arm} ended with status {status}; see above", file=sys.stderr)
    return 1 if failed else compared


def _run(command: Sequence[str]) -> int:
    """Run a command, and return its exit status; asked to end, have it end its own way first."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait()
        except SystemExit:
            process.terminate()
            raise


def _options() -> tuple[argparse.Namespace, Sequence[str]]:
    arguments = sys.argv[1:]
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    parser = argparse.ArgumentParser(
        prog="python bench/race",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--model", help="hub id, folder or .gguf file (default: the embedded one)")
    parser.add_argument("--protocol", help="default: mbpp-1 with --data, else none: quickstart")
    parser.add_argument("--data", type=Path, help="the data set's file, such as mbpp.jsonl.gz")
    parser.add_argument("--tasks", help="task ids from first to last, such as 11-210")
    parser.add_argument("--limit", type=int, help="at most this many tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--left", action="store_true", help="say what is left, and do nothing")
    options = parser.parse_args(own)
    return options, arguments[len(own) + 1 :]


def _shared(options: argparse.Namespace, for_runs: Sequence[str]) -> list[str]:
    """Return the options of every run."""
    protocol = options.protocol or ("mbpp-1" if options.data else None)
    shared = [f"--seed={options.seed}"]
    if options.model:
        shared.append(f"--model={options.model}")
    if protocol:
        shared.append(f"--protocol={protocol}")
        if protocol.startswith("mbpp-"):
            shared.append("-odataset.split=all")
    if options.data:
        shared.append(f"--data={options.data}")
    if options.tasks:
        first, _, last = options.tasks.partition("-")
        shared += [f"--task={number}" for number in range(int(first), int(last or first) + 1)]
    if options.limit:
        shared.append(f"--limit={options.limit}")
    return [*shared, *for_runs]


def _done(folder: Path) -> int:
    """Return how many result files a folder has."""
    try:
        return sum(record.state is FileState.DONE for record in scan(folder))
    except RunError:
        return 0


def _say_what_is_left(options: argparse.Namespace) -> None:
    done = {arm: _done(options.out / arm) for arm in options.arms}
    tasks = max([*done.values(), _wanted(options)])
    for arm, number in done.items():
        state = "done" if 0 < tasks <= number else f"{number} of {tasks or '?'} tasks"
        print(f"{arm:<20}{state}", file=sys.stderr)


def _wanted(options: argparse.Namespace) -> int:
    """Return how many tasks were asked for; 0: as many as the data set has."""
    first, _, last = (options.tasks or "").partition("-")
    asked = int(last or first) - int(first) + 1 if first else 0
    return min(asked, options.limit) if asked and options.limit else asked or options.limit or 0


def _compare(options: argparse.Namespace) -> int:
    """Write what the arms come to; return the exit status of `egcfg compare`."""
    found = [f"{arm}={options.out / arm}" for arm in options.arms if _done(options.out / arm)]
    if not found:
        return 0
    bases = [arm for arm in ("best_of_n", "greedy") if any(f.startswith(f"{arm}=") for f in found)]
    command = [*EGCFG, "compare", *found, *(f"--baseline={arm}" for arm in bases)]
    keep = ["--plot", str(options.out / "race.svg"), "--save", str(options.out / "saved")]
    status = subprocess.run([*command, "--quiet", *keep], check=False).returncode
    if status == 0:
        markdown = subprocess.run(
            [*command, "--format=markdown"], stdout=subprocess.PIPE, check=True
        )
        (options.out / "race.md").write_bytes(markdown.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
