"""Faults put into a copy of ``src``, one at a time: the room's tests must notice each of them.

``python tests/lanes/mutants.py named`` applies the faults of ``mutants.toml``, which once went
unnoticed; ``python tests/lanes/mutants.py sandbox --sample 40`` applies a sample of all that the
kinds of change below make of a room's code. What survives is printed as a difference, and the exit
status is 1. Those of ``equivalent.toml`` are left out: nobody can see them, for the reason there.

A sandbox with a fault may let hostile programs out. So of its tests those run that do no harm then,
and they run where they see no processes but their own, with bounded memory (`unshare`, `prlimit`).

Known tools (mutmut, cosmic-ray) change the working tree or need their package where the changed
code runs, which in the sandbox's processes is nowhere; and the change that shows most here, a
statement left out, is not among theirs.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue

from attrs import frozen

ROOT = Path(__file__).parents[2]
NAMED = Path(__file__).with_name("mutants.toml")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
APART = (
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "prlimit",
    "--as=17179869184",
)
if os.geteuid() != 0:
    APART = (APART[0], "--map-root-user", *APART[1:])
PATIENCE = 3  # times the unchanged code's time, and a minute: then it hangs, which is noticed, too

SWAPPED: dict[type[ast.AST], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.And: "or",
    ast.Or: "and",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}


@frozen
class Room:
    """Modules to change, and the tests that should notice; quick ones first, for all stop early."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


HARMLESS = "codec arrays messages layers service handles files report benign".split()  # noqa: SIM905
ROOMS = {
    "sandbox": Room(
        ("egcfg/sandbox/*.py", "egcfg/sandbox/confined/*.py"),
        tuple(f"tests/egcfg/sandbox/test_{name}.py" for name in HARMLESS),
    ),
    "scorers": Room(
        ("egcfg/scorers/*.py",), ("tests/egcfg/scorers", "tests/egcfg/evaluation/test_cases.py")
    ),
    "guidance": Room(
        ("egcfg/guidance/*.py",), ("tests/egcfg/guidance", "tests/egcfg/decoding/test_loop.py")
    ),
    "decoder": Room(("egcfg/decoding/*.py",), ("tests/egcfg/decoding",)),
}


@frozen
class Mutant:
    """A changed module.

    Attributes:
        module: its path below ``src``.
        source: all of its text, changed.
        tests: what should notice.
        name: of one in ``mutants.toml``.
    """

    module: str
    source: str
    tests: tuple[str, ...]
    name: str = ""

    @cached_property
    def change(self) -> tuple[int, str, str]:
        """The number of the first line that was changed, and the lines before and after."""
        old = (ROOT / "src" / self.module).read_text("utf-8").splitlines()
        new = self.source.splitlines()
        first = _alike(old, new)
        last = _alike(old[first:][::-1], new[first:][::-1])
        return first + 1, *("\n".join(lines[first : len(lines) - last]) for lines in (old, new))

    @property
    def difference(self) -> str:
        """What was changed, without the lines around it."""
        number, *sides = self.change
        told = [f"{self.module}:{number} {self.name}"]
        for sign, side in zip("-+", sides, strict=True):
            told += [f"{sign}{line}" for line in side.splitlines()]
        return "\n  ".join(told)


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """Return with how many equal lines two texts begin."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((n for n, (one, two) in pairs if one != two), min(len(old), len(new)))


def named() -> list[Mutant]:
    """Return the mutants of ``mutants.toml``.

    Raises:
        ValueError: what one of them changes is not to be found once.
    """
    found = []
    for name, entry in tomllib.loads(NAMED.read_text("utf-8")).items():
        source = (ROOT / "src" / entry["module"]).read_text("utf-8")
        if source.count(entry["old"]) != 1:
            raise ValueError(f"{name}: not once in {entry['module']}:\n{entry['old']}")
        changed = source.replace(entry["old"], entry["new"])
        found.append(Mutant(entry["module"], changed, tuple(entry["tests"]), name))
    return found


def mutants_of(room: Room) -> list[Mutant]:
    """Return all that can be made of a room's modules, those of ``equivalent.toml`` too."""
    paths = [path for pattern in room.modules for path in sorted((ROOT / "src").glob(pattern))]
    return [
        Mutant(str(path.relative_to(ROOT / "src")), source, room.tests)
        for path in paths
        for source in changes(path.read_text("utf-8"))
    ]


def equivalent() -> set[tuple[str, str, str]]:
    """Return the changes that nobody can see: a module, its lines, and what they become."""
    entries = tomllib.loads(EQUIVALENT.read_text("utf-8"))
    return {
        (module, change["old"], change["new"])
        for module, changes in entries.items()
        for change in changes
    }


def key(mutant: Mutant) -> tuple[str, str, str]:
    """Return a mutant as `equivalent` has it: without indentation, which says nothing there."""
    _, *sides = mutant.change
    return mutant.module, *(side.strip() for side in sides)


def changes(source: str) -> Iterator[str]:
    """Yield a module's source with one change each; annotations and texts stay."""
    encoded = source.encode()
    starts = [0]
    for line in encoded.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def replaced(start: int, end: int, text: str) -> str:
        return (encoded[:start] + text.encode() + encoded[end:]).decode()

    def place(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def between(left: ast.expr, right: ast.expr, operator: ast.AST) -> Iterator[str]:
        """Change the operator between two expressions, which brackets may surround."""
        start, end = place(left)[1], place(right)[0]
        text = encoded[start:end].decode()
        old = ast.unparse(_with(operator)).split("a", 1)[1].rsplit("b", 1)[0].strip()
        if text.count(old) == 1 and "#" not in text:
            yield replaced(start, end, text.replace(old, SWAPPED[type(operator)]))

    tree = ast.parse(source)
    annotations = {inner for annotation in _annotations(tree) for inner in ast.walk(annotation)}
    for node in ast.walk(tree):
        match node:
            case _ if node in annotations:
                continue
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise():
                yield replaced(*place(node), "pass")
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield replaced(*place(value), "None")
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield replaced(*place(test), f"not ({encoded[slice(*place(test))].decode()})")
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                yield from between(left, right, operator)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in SWAPPED:
                yield from between(left, right, operator)
            case ast.BoolOp(op=operator, values=[left, right, *_]):
                yield from between(left, right, operator)
            case ast.Constant(value=bool() as value):
                yield replaced(*place(node), str(not value))
            case ast.Constant(value=int() as value):
                yield replaced(*place(node), str(value + 1))


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if (annotation := getattr(node, field, None)) is not None:
                yield annotation


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _with(operator: ast.AST) -> ast.expr:
    left, right = ast.Name("a"), ast.Name("b")
    match operator:
        case ast.cmpop():
            return ast.Compare(left, [operator], [right])
        case ast.boolop():
            return ast.BoolOp(operator, [left, right])
        case _:
            assert isinstance(operator, ast.operator)
            return ast.BinOp(left, operator, right)


def noticed(copy: Path, tests: Sequence[str], seconds: float) -> str | None:
    """Return the first test that fails with the code in `copy`, "hangs", or None."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", "--hypothesis-profile=brief", "-W", "ignore", *tests]
    with subprocess.Popen(
        [*APART, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            said, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, 9)
            return "hangs"
    if running.returncode == 0:
        return None
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0] if lines else said[-500:]


def main() -> int:
    """Print what happened to each mutant; return 1 where one survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["named", *ROOMS])
    parser.add_argument("--sample", type=int, help="mutants at most, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--only", default="", help="a part of the module's path or the name")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at the same time")
    options = parser.parse_args()
    chosen = named()
    if options.what != "named":
        unseen = equivalent()
        chosen = [m for m in mutants_of(ROOMS[options.what]) if key(m) not in unseen]
    chosen = [m for m in chosen if options.only in f"{m.module} {m.name}"]
    whole = len(chosen)
    if options.sample is not None and options.sample < whole:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copy = shutil.copytree(ROOT / "src", Path(folder, str(number)))
            copies.put(copy)
        started = time.monotonic()
        if failing := noticed(copy, sorted({test for m in chosen for test in m.tests}), 3600):
            print(f"the unchanged code fails: {failing}")
            return 2
        limit = 60 + PATIENCE * (time.monotonic() - started)

        def judge(mutant: Mutant) -> bool:
            copy = copies.get()
            module = copy / mutant.module
            module.write_text(mutant.source, "utf-8")
            by = noticed(copy, mutant.tests, limit)
            shutil.copyfile(ROOT / "src" / mutant.module, module)
            copies.put(copy)
            print(f"{'SURVIVES' if by is None else 'killed'} {mutant.difference}", flush=True)
            if by is not None:
                print(f"  by {by}", flush=True)
            return by is not None

        with ThreadPoolExecutor(options.jobs) as pool:
            killed = sum(pool.map(judge, chosen))
    print(f"{killed} of {len(chosen)} killed; {whole} can be made")
    return int(killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
