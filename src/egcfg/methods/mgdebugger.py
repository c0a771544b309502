"""Repair function by function, from the leaves up (MGDebugger; Shi et al. 2024, 2410.01215)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need, ProgramRun
from egcfg.interfaces.problem import AssertTest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run, rank
from egcfg.methods.dialogue import Dialogue, failure_text, whole_program
from egcfg.methods.function_tree import FunctionTree
from egcfg.methods.reading import made_asserts
from egcfg.prompts.wording import code_block, request, task_text

__all__ = ["MultiGranularityDebugging"]


class MultiGranularityDebugging(Method):
    """The greedy program; where it fails, it is split into small functions and repaired bottom-up.

    Each small function is run on asserts that the model makes for it, and repaired after the model
    has simulated the run that fails; then the whole is, on the visible tests. That is done from the
    greedy program anew until the visible tests pass; the answer is the best program of all. Without
    visible tests nothing says that the greedy program fails, and it stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How often.

        Attributes:
            attempts: from the greedy program anew, at most.
            fixes: per function and attempt, at most.
            asserts: per small function, at most.
            temperature: of all answers after the greedy one.
        """

        attempts: int = field(default=10, validator=validators.ge(1))
        fixes: int = field(default=3, validator=validators.ge(1))
        asserts: int = field(default=5, validator=validators.ge(1))
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the greedy program, and the best one so far after each attempt at it."""
        [seed] = await bench.draw(stage="greedy")
        best = BestSoFar(nearest_run)
        yield best.add(await bench.run([seed]), "greedy")
        if not bench.task.visible_tests:
            return
        for _ in range(self.options.attempts):
            if best.passed:
                return
            program = await self._split(bench, seed)
            for function in FunctionTree(program).below(bench.task.entry_point):
                program = await self._repair_function(bench, program, function)
            [run] = await bench.run([program])
            yield best.add([await self._fix(bench, run, None, None)], "repair")

    async def _split(self, bench: Bench, program: str) -> str:
        """Return a program as small functions; as it is where the answer has none."""
        dialogue = Dialogue.about(bench, program)
        answer = await dialogue.ask(
            "Rewrite this program, with what is wrong in it, as a tree of small functions at the "
            "top level: each does one step, has a docstring, and is called by the one above it. "
            f"{whole_program(bench)}",
            stage="split",
            temperature=self.options.temperature,
        )
        split = bench.program(answer)
        function = bench.task.entry_point
        functions = FunctionTree(split).functions
        if not functions or (function is not None and function not in functions):
            bench.note("unreadable_functions")
            return program
        return split

    async def _repair_function(self, bench: Bench, program: str, function: str) -> str:
        """Return a program with one of its small functions repaired."""
        asked = (
            f"{task_text(bench.task)}\n\nA solution is built of small functions. This is one of "
            f"them:\n{code_block(FunctionTree(program).functions[function])}\n\nWrite "
            f"{self.options.asserts} asserts about `{function}` alone: what it should give "
            "for small inputs, by its docstring and the task, whatever its code does. One per line."
        )
        [reply] = await bench.ask(
            ChatPrompt((ChatMessage("user", asked),)),
            stage="tests",
            temperature=self.options.temperature,
        )
        tests = made_asserts(reply.text, function, cut=not reply.finished)[: self.options.asserts]
        if not tests:
            bench.note("unreadable_tests")
            return program
        [run] = await bench.run([program], tests, function=function)
        return (await self._fix(bench, run, tests, function)).program

    async def _fix(
        self,
        bench: Bench,
        run: ProgramRun,
        tests: list[AssertTest] | None,
        function: str | None,
    ) -> ProgramRun:
        """Return the best run on `tests` after some fixes of one function, or of the whole."""
        if run.passed:
            return run
        name = function or bench.task.entry_point
        shown = FunctionTree(run.program).functions.get(function or "", run.program)
        wanted = f"`{function}`" if function else request(bench.task)
        dialogue = Dialogue.about(bench, shown)
        for _ in range(self.options.fixes):
            answer = await dialogue.ask(
                f"{failure_text(run)}\n\nGo through the first of them step by step, with the value "
                f"of each variable. Then write the whole of {wanted}, repaired, in one code block.",
                stage="fix",
                temperature=self.options.temperature,
            )
            fixed = bench.program(answer, function)
            whole = FunctionTree(run.program)
            if name is None and fixed.strip():
                program = fixed
            elif name in FunctionTree(fixed).functions:
                program = whole.with_definitions(fixed).source if whole.functions else fixed
            else:
                bench.note("unreadable_program")
                continue
            [new] = await bench.run([program], tests, function=function)
            run = max(run, new, key=rank)
            if run.passed:
                break
        return run
