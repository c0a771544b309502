"""Shows how a line was decided: candidates, what happened when they ran, what guidance changed.

Nothing is said twice: a program that an earlier step has shown with its traces is named by it,
lines that it shares with the one above it are counted, and so are runs that go as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

from attrs import define, field
from rich.console import Console
from rich.text import Text

from egcfg.cli.terminal import console, printable, printable_line
from egcfg.interfaces.solution import Alternative, LineStep, TokenChoice
from egcfg.interfaces.tracer import Trace, Tracer
from egcfg.records.telling import Teller, ToldProgram
from egcfg.sandbox.types import Outcome

__all__ = ["Explainer", "code_lines", "styled"]

TRACE_CHARS = 1200

LEAST_ALIKE = 3
"""Lines that are worth a reference."""


@define
class Explainer:
    """Writes each step of a decoding as it is decided, in colour where the terminal has any.

    Attributes:
        tracer: renders the traces as the model saw them.
        response_prefix: the start of the response that the prompt forces, which no step decides.
        screen: where to write; by default standard error.
    """

    tracer: Tracer
    response_prefix: str = ""
    screen: Console = field(factory=console)
    _teller: Teller = field(factory=Teller, init=False)
    _above: list[str] = field(factory=list, init=False)  # lines of the program shown last
    _runs: dict[str, str] = field(factory=dict, init=False)  # what each call was shown to do

    def __call__(self, step: LineStep) -> None:
        """Write one step, after what is forced if it is the first."""
        for line in self.lines(step):
            self.screen.print(line)

    def lines(self, step: LineStep) -> Iterator[Text]:
        """Yield the account of one step, line by line."""
        if step.index == 0 and self.response_prefix:
            yield from code_lines(self.response_prefix, "  forced  | ", "dim")
        where = "code" if step.in_code else "before the code"
        yield styled(f"--- step {step.index} ({where})", "bold")
        told = self._teller.step(step)
        if told.signal:
            yield styled(f"  signal: {told.signal}", "" if told.programs else "dim")
        for program in told.programs:
            yield from self._program(program)
        if step.taken_back:
            yield from code_lines(step.taken_back, "  taken back | ", "red")
        for decision in step.decisions:
            yield styled(f"  policy {decision}", "magenta")
        for choice in step.tokens:
            if choice.changed:
                yield from _changed(choice)
        if not step.taken_back:
            yield from code_lines(step.text, "  decided | ", "bold cyan")

    def _program(self, program: ToldProgram) -> Iterator[Text]:
        if program.before:
            yield styled(f"  {program.name}: {program.before}", "dim")
            return
        yield styled(f"  {program.name}", "red" if program.failed else "green")
        lines = program.entry.program.rstrip("\n").split("\n")
        pairs = zip(lines, self._above, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if alike >= LEAST_ALIKE:
            yield styled(f"    | ... {alike} lines as above", "dim")
        else:
            alike = 0
        self._above = lines
        yield from code_lines("\n".join(lines[alike:]), "    | ", "") if lines[alike:] else ()
        for trace in program.entry.traces:
            yield from self._trace(trace)

    def _trace(self, trace: Trace) -> Iterator[Text]:
        what = trace.call if trace.call is not None else f"stdin {trace.stdin!r}"
        style = "green" if trace.outcome is Outcome.OK else "red"
        text = self.tracer.render(trace, TRACE_CHARS)
        if self._runs.get(what) == text:
            yield styled(f"    {what}: {trace.outcome.value}, as before", "dim")
            return
        self._runs[what] = text
        yield styled(f"    {what}: {trace.outcome.value}", style)
        yield from code_lines(text, "      ", "dim")


def styled(line: str, style: str) -> Text:
    """Return a line that cannot drive a terminal, in a style."""
    return Text(printable_line(line), style=style)


def code_lines(text: str, margin: str, style: str) -> Iterable[Text]:
    """Return the lines of a text, each after a margin."""
    return [
        Text.assemble(margin, (printable(line), style)) for line in text.rstrip("\n").split("\n")
    ]


def _changed(choice: TokenChoice) -> Iterator[Text]:
    conditional = choice.logprob_conditional
    with_signal = "" if conditional is None else f"{conditional:.2f} with it, "
    yield styled(f"  guidance chose {choice.text!r} over {choice.unconditional_text!r}", "yellow")
    yield styled(
        f"    log-probability {choice.logprob_unconditional:.2f} without the signal, "
        f"{with_signal}{choice.logprob_guided:.2f} guided",
        "yellow",
    )
    for name, likeliest in (
        ("without", choice.likeliest_unconditional),
        ("with it", choice.likeliest_conditional),
    ):
        if likeliest:
            yield styled(f"    {name}: {_listed(likeliest)}", "dim")


def _listed(likeliest: Iterable[Alternative]) -> str:
    return "  ".join(f"{each.text!r} {each.logprob:.2f}" for each in likeliest)
