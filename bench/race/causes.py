"""Why guided answers differ from another arm's: where they came from, what guidance changed first.

    python bench/race/causes.py DIR/greedy DIR/egcfg   # the second with records: -- --record

Counted for the tasks that both arms solve, one of them, none: guided answers that had been sampled
as candidates before their last line was decided, and those where the first token that guidance
changed would have begun a comment. Programs are the same where their syntax trees are.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from pathlib import Path

from attrs import frozen

from egcfg.records.entries import ProgramEntry, StepEntry
from egcfg.records.reading import UnitRecord, read_record_of
from egcfg.runs.folder import scan
from egcfg.runs.store import FileState, ResultFile

COMMENTS = ("#", '"""', "'''")
KINDS = {
    (True, True): "both solve",
    (False, True): "gained",
    (True, False): "lost",
    (False, False): "neither",
}


@frozen
class Cause:
    """What is known of one guided answer.

    Attributes:
        sampled: whether it had been a candidate.
        changed: tokens that guidance changed.
        first: the first of them, without guidance and with it; empty: none.
    """

    sampled: bool
    changed: int
    first: str

    @property
    def comment(self) -> bool:
        """Whether the first token that was changed would have begun a comment or a docstring."""
        return self.first.lstrip().startswith(COMMENTS)

    @classmethod
    def of(cls, record: UnitRecord) -> Cause:
        """Read it off a record."""
        tokens = [token for step in record.of_kind(StepEntry) for token in step.tokens]
        changed = [token for token in tokens if token.changed]
        first = f"{changed[0].unconditional_text} -> {changed[0].text}" if changed else ""
        candidates = {_tree(program.source) for program in record.of_kind(ProgramEntry)}
        return cls(_tree(record.answer) in candidates, len(changed), first)


def main() -> int:
    """Print a table of counts, and a line for each task that only one of the arms solves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="results folder of the arm to compare with")
    parser.add_argument("guided", type=Path, help="results folder with records")
    options = parser.parse_args()
    other, guided = _by_task(options.other), _by_task(options.guided)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS.values()}
    singles = []
    for task in sorted(other.keys() & guided.keys(), key=lambda name: (len(name), name)):
        kind = KINDS[other[task].result.passed, guided[task].result.passed]
        cause = Cause.of(read_record_of(guided[task].path))
        same = _tree(other[task].result.code) == _tree(guided[task].result.code)
        counts[kind].update(
            tasks=1, sampled=cause.sampled, changed=cause.changed, comment=cause.comment, same=same
        )
        if kind in ("gained", "lost"):
            singles.append(f"{kind:<8}{task:<8}{cause.changed:>3} changed   {cause.first!r}")
    heads = ("tasks", "same", "sampled", "changed", "comment")
    print(f"{'':<12}" + "".join(f"{head:>9}" for head in heads))
    for kind, row in counts.items():
        print(f"{kind:<12}" + "".join(f"{row[head]:>9}" for head in heads))
    print("same: as the other arm's answer; sampled: the answer had been a candidate;")
    print("changed: tokens; comment: the first of them would have begun one\n")
    print("\n".join(singles))
    return 0


def _by_task(folder: Path) -> dict[str, ResultFile]:
    return {file.task_id: file for file in scan(folder) if file.state is FileState.DONE}


def _tree(program: str) -> str:
    """Return a program's syntax tree as text; itself, where it has none."""
    try:
        return ast.dump(ast.parse(program))
    except (SyntaxError, ValueError, RecursionError):
        return program


if __name__ == "__main__":
    sys.exit(main())
