"""Shows how a line was decided: candidates, what happened when they ran, what guidance changed."""

from __future__ import annotations

import click
from attrs import evolve, frozen

from egcfg.cli.terminal import printable, printable_line
from egcfg.interfaces.solution import LineStep, Signal, TokenChoice
from egcfg.interfaces.tracer import Tracer

__all__ = ["Explainer", "explain_step"]

TRACE_CHARS = 1200


@frozen
class Explainer:
    """Writes each step to standard error as it is decided.

    Attributes:
        tracer: renders the traces as the model saw them.
        response_prefix: the start of the response that the prompt forces, which no step decides.
    """

    tracer: Tracer
    response_prefix: str = ""

    def __call__(self, step: LineStep) -> None:
        """Write one step, after what is forced if it is the first."""
        if step.index == 0 and self.response_prefix:
            lines = self.response_prefix.rstrip("\n").split("\n")
            click.echo(printable("\n".join(f"  forced  | {line}" for line in lines)), err=True)
        click.echo(printable(explain_step(step, self.tracer)), err=True)


def explain_step(step: LineStep, tracer: Tracer) -> str:
    """Return the account of one step, on several lines."""
    lines = [f"--- step {step.index} ({'code' if step.in_code else 'before the code'})"]
    if step.signal is not None:
        lines += _signal_lines(step.signal, tracer) if step.fresh else ["  signal: as before"]
    if step.taken_back:
        lines += [f"  taken back | {line}" for line in step.taken_back.rstrip("\n").split("\n")]
    lines += [f"  policy {printable_line(decision)}" for decision in step.decisions]
    for choice in step.tokens:
        if choice.changed:
            lines.append(_changed(choice))
    if not step.taken_back:
        lines += [f"  decided | {line}" for line in step.text.rstrip("\n").split("\n")]
    return "\n".join(lines)


def _signal_lines(signal: Signal, tracer: Tracer) -> list[str]:
    if not signal.entries:
        return ["  signal: no candidate could be executed"]
    about = ", shortened to fit" if signal.cut else ""
    about += ", to lead away from" if signal.away else ""
    lines = [f"  signal: {_counted(len(signal.entries), 'program')}, {signal.tokens} tokens{about}"]
    for number, entry in enumerate(signal.entries, start=1):
        origin = _counted(entry.samples, "candidate") if entry.samples else "the solution so far"
        shown = "" if entry.shown else ", not shown to the model"
        lines.append(f"  program {number} ({origin}{shown})")
        lines += [f"    | {line}" for line in entry.program.rstrip("\n").split("\n")]
        for trace in entry.traces:
            what = trace.call if trace.call is not None else f"stdin {trace.stdin!r}"
            lines.append(f"    {printable_line(what)}: {trace.outcome.value}")
            text = tracer.render(trace, TRACE_CHARS).rstrip("\n")
            lines += [f"      {line}" for line in text.split("\n")]
    if signal.against is not None:
        lines += _signal_lines(evolve(signal.against, away=True), tracer)
    return lines


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _changed(choice: TokenChoice) -> str:
    return (
        f"  guidance chose {choice.text!r} over {choice.unconditional_text!r} "
        f"(unconditional log-probability {choice.logprob_unconditional:.2f}, "
        f"guided {choice.logprob_guided:.2f})"
    )
