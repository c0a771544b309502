"""A chat with the model about one task, and how what went wrong is worded in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from attrs import define, field

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.method import Bench, ProgramRun
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.interfaces.tracer import Trace
from egcfg.prompts.wording import code_block, request, task_text

__all__ = [
    "Dialogue",
    "cut",
    "failure_text",
    "failures",
    "program_in",
    "trace_of",
    "whole_program",
]

MOST_FAILURES = 3
LONGEST_TEXT = 600
"""Characters of one test, and of what came of it: a test may hold megabytes."""


@define
class Dialogue:
    """What was said so far, all of which stays in the prompt.

    Where it outgrows the model's context, the turns after the first exchange are dropped, the
    oldest first.

    Attributes:
        bench: where the model is asked.
        messages: what was said, users and assistants in turn.
    """

    bench: Bench
    messages: list[ChatMessage] = field(factory=list)

    @classmethod
    def about(cls, bench: Bench, program: str) -> Self:
        """Begin a dialogue with the task, and with a program as its first answer."""
        task = f"{task_text(bench.task)}\n\nWrite {request(bench.task)}."
        answer = code_block(program) if program.strip() else "I have no program."
        return cls(bench, [ChatMessage("user", task), ChatMessage("assistant", answer)])

    async def ask(self, text: str, *, stage: str, temperature: float = 0.0) -> str:
        """Say `text`, and return the answer; both are part of the dialogue from then on.

        Raises:
            ContextOverflowError: it does not fit the model's context, even without older turns.
            BudgetError, BackendError: as `egcfg.interfaces.method.Bench.ask`.
        """
        self.messages.append(ChatMessage("user", text))
        while True:
            prompt = ChatPrompt(tuple(self.messages))
            try:
                [reply] = await self.bench.ask(prompt, stage=stage, temperature=temperature)
            except ContextOverflowError:
                if len(self.messages) <= 3:
                    raise
                self.bench.note("dropped_turn")
                del self.messages[2:4]
                continue
            self.messages.append(ChatMessage("assistant", reply.text))
            return reply.text


def whole_program(bench: Bench) -> str:
    """Return the sentences that ask for a whole program."""
    # An assert of its own that fails would hide what the program does on every test.
    return f"Answer with the whole of {request(bench.task)} in one code block. Leave out tests."


def program_in(bench: Bench, answer: str) -> str:
    """Return the program in an answer; one that has none is counted."""
    program = bench.program(answer)
    if not program.strip():
        bench.note("unreadable_program")
    return program


def failures(run: ProgramRun) -> list[int]:
    """Return the places of the tests that did not pass: exceptions and limits first."""
    places = [n for n, r in enumerate(run.results) if r.status is not TestStatus.PASSED]
    return sorted(places, key=lambda n: run.results[n].status is TestStatus.FAILED)


def failure_text(run: ProgramRun, places: Sequence[int] | None = None) -> str:
    """Return tests that did not pass, and what came of each, for a prompt.

    Args:
        run: of a program that did not pass.
        places: which of its tests to tell; None: the first of `failures`.
    """
    failing = failures(run)
    if not failing:
        return "No program could be found in the answer."
    shown = failing[:MOST_FAILURES] if places is None else places
    told = [f"- {cut(run.results[n].name)}\n  {cut(_came(run, n))}" for n in shown]
    more = len(failing) - len(shown)
    return "\n".join(["These tests fail:", *told, *([f"- and {more} more"] if more else [])])


def trace_of(run: ProgramRun, place: int) -> Trace | None:
    """Return the trace of a test, or the first one where they cannot be told apart."""
    # An assert that calls nothing has no trace.
    aligned = len(run.traces) == len(run.results)
    return run.traces[place] if aligned else next(iter(run.traces), None)


def cut(text: str) -> str:
    """Return a text of a prompt, a long one by its beginning."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."


def _came(run: ProgramRun, place: int) -> str:
    """Return what came of a test: the value where it is the wrong one, else the error."""
    result: TestResult = run.results[place]
    # An assert that calls nothing has no outcome, and then they cannot be told apart.
    outcomes: Sequence[str] = run.outcomes if len(run.outcomes) == len(run.results) else ()
    if result.status is TestStatus.FAILED and outcomes and outcomes[place].startswith("gave "):
        return f"the call {outcomes[place]}"
    return result.error or result.status.value
