"""Words a dynamic signal: every program, and below it what happened when it ran.

Nothing is told twice: the calls or inputs stand at the top, and a run that goes as an earlier one
did, of the same candidate or the same run of another, says so; or for how long it did. What stands
before a candidate hangs on the earlier ones alone, so that a signal that begins as the one before
it need not be read again so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from egcfg.interfaces.solution import SignalEntry
from egcfg.interfaces.tracer import Trace

__all__ = ["SignalText"]

Run: TypeAlias = tuple[int, int]
"""(number of the entry, number of the run), from 0."""

Lines: TypeAlias = list[str]


class SignalText:
    """The text of a signal, at any length.

    Args:
        entries: programs and their traces, in the order in which they are shown.
        render: gives a trace's text of so many characters (`egcfg.interfaces.tracer.Tracer.render`).
        whole_chars: characters at which a trace counts as told whole: by these texts it is decided
            which runs are alike, for shorter ones may be alike only because they are cut.
    """

    def __init__(
        self,
        entries: Sequence[SignalEntry],
        render: Callable[[Trace, int], str],
        whole_chars: int,
    ) -> None:
        self._entries = entries
        self._render = render
        self._whole = self._told(len(entries), whole_chars)

    def text(self, shown: int, chars: int) -> str:
        """Return the text of the first `shown` entries, with traces of `chars` characters each."""
        told = self._told(shown, chars)
        parts = [_runs_text(self._entries[0].traces)]
        for number, entry in enumerate(self._entries[:shown]):
            program = f"{self._name(number)}:\n```python\n{entry.program}\n```\n"
            parts.append(program + "".join(self._run_texts(number, told)))
        return "\n".join(parts)

    def _told(self, shown: int, chars: int) -> dict[Run, Lines]:
        return {
            (number, run): self._lines(trace, chars)
            for number, entry in enumerate(self._entries[:shown])
            for run, trace in enumerate(entry.traces)
        }

    def _lines(self, trace: Trace, chars: int) -> Lines:
        text = self._render(trace, chars).rstrip()
        if trace.call and text.startswith(trace.call):
            # Its first line begins with the call, which stands at the top under its number.
            text = text[len(trace.call) :]
        else:
            text = f":\n{text}"
        return text.split("\n")

    def _name(self, number: int) -> str:
        return f"Candidate {number + 1}" if self._entries[number].samples else "The code so far"

    def _run_texts(self, number: int, told: Mapping[Run, Lines]) -> list[str]:
        texts = []
        runs = [(number, run) for run in range(len(self._entries[number].traces))]
        for model, group in groupby(runs, key=self._twin):
            alike = [run + 1 for _, run in group]
            if model is None:
                texts += [f"Run {run}{self._run_text((number, run - 1), told)}\n" for run in alike]
            else:
                which = f"Run {alike[0]}" if len(alike) == 1 else f"Runs {alike[0]} to {alike[-1]}"
                texts.append(f"{which}: as {model}\n")
        return texts

    def _twin(self, run: Run) -> str | None:
        """Return the name of an earlier run that went just so, if there is one."""
        models = self._models(run)
        return next((n for n, m in models.items() if self._whole[m] == self._whole[run]), None)

    def _models(self, run: Run) -> dict[str, Run]:
        """Return what a run may be likened to: the same run of earlier entries, earlier runs."""
        number, place = run
        others = {_lower(self._name(earlier)): (earlier, place) for earlier in range(number)}
        return others | {f"run {earlier + 1}": (number, earlier) for earlier in range(place)}

    def _run_text(self, run: Run, told: Mapping[Run, Lines]) -> str:
        """Return what happened in a run, its beginning by reference where that is shorter."""
        lines, most, begins = told[run], 0, ""
        for name, model in self._models(run).items():
            # Alike in truth, and as it is told.
            shared = min(_common(self._whole[run], self._whole[model]), _common(lines, told[model]))
            reference = f": as {name} for {shared} lines, then"
            saved = sum(len(line) + 1 for line in lines[:shared]) - len(reference)
            if most < shared < len(lines) and saved > 0:
                most, begins = shared, reference
        return "\n".join([begins, *lines[most:]] if begins else lines)


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _common(one: Lines, other: Lines) -> int:
    """Return how many lines the two begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _runs_text(traces: Sequence[Trace]) -> str:
    """Return what is run, numbered: the same for every program, so it is said only once."""
    return "".join(
        f"Run {run}: {trace.call or 'the program'}"
        + (f" with input {trace.stdin!r}" if trace.stdin else "")
        + "\n"
        for run, trace in enumerate(traces, 1)
    )
