"""The bench at which a method works on one task: asks, runs and decodes, counted by stage."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from egcfg.datasets.quickstart import QuickstartDataset
from egcfg.decoding.definitions import preamble
from egcfg.decoding.extraction import extract_code
from egcfg.decoding.feedback import Feedback, PlaceboFeedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import PAPER, DecodingSettings, Policies
from egcfg.interfaces.backend import LogprobBackend, SampleRequest, SamplingParams
from egcfg.interfaces.method import Attempt, Configuration, ProgramRun, Reply
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import ChatPrompt, CodeLayout, Prompt, TextPrompt
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import Generation, LineStep
from egcfg.plugins.component import OpenComponent
from egcfg.sandbox import Call, Execution, ExecutionResult, Sandbox
from egcfg.usage.model import Model

__all__ = ["MadeAttempt", "TaskBench"]


@frozen(kw_only=True)
class MadeAttempt:
    """An attempt, and what the task had cost when it was made.

    Attributes:
        attempt: what the method yielded.
        tokens: prompt tokens and generated ones of all stages up to then.
    """

    attempt: Attempt
    tokens: int


@define(kw_only=True, eq=False)
class TaskBench:
    """A `egcfg.interfaces.method.Bench` on open components.

    Attributes:
        task: the problem, without hidden tests.
        prompt: its wording.
        configurations: what the run's configurations and gammas come to.
        model: answers for this task, and counts what it spends.
        feedback: traces programs and words what happened.
        rule: the guidance rule.
        sandbox: where programs run.
        wording: words a problem by a prompt builder of that name.
        scorer_of: opens a scorer by its name.
        events: how often the method noted what.
    """

    task: Problem
    prompt: Prompt
    configurations: Sequence[Configuration]
    model: Model
    feedback: Feedback
    rule: OpenComponent
    sandbox: Sandbox
    wording: Callable[[Problem, str | None], Prompt]
    scorer_of: Callable[[str], OpenComponent]
    events: Counter[str] = field(factory=Counter)
    _asked: int = field(default=0, init=False)

    @property
    def left(self) -> float:
        """Share of the task's token budget that is left; 1 where there is none."""
        return self.model.left

    async def ask(
        self,
        prompt: TextPrompt | ChatPrompt,
        *,
        stage: str,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 0.95,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> list[Reply]:
        """Ask the model for `n` answers; see `egcfg.interfaces.method.Bench.ask`."""
        settings = self.configurations[0].settings
        count = n if temperature > 0 else 1
        self._asked += 1
        params = SamplingParams(
            temperature=temperature,
            top_p=top_p,
            max_tokens=self.model.at_most(max_tokens or settings.max_tokens),
            stop=tuple(stop),
            seed=zlib.crc32(f"{settings.seed}/{self.task.task_id}/ask{self._asked}".encode()),
        )
        if isinstance(self.model.backend.instance, LogprobBackend):
            ids = await self.model.encode(prompt, stage)
            [found] = await self.model.sample([SampleRequest(ids, count, params)], stage)
            replies = [Reply(text=one.text, finished=one.finished) for one in found]
        else:
            answers = [
                await self.model.complete(prompt, evolve(params, seed=params.seed + number), stage)
                for number in range(count)
            ]
            replies = [Reply(text=one.text, finished=one.finished) for one in answers]
        return replies * (n // count)

    async def draw(self, n: int = 1, *, stage: str, temperature: float = 0.0) -> list[str]:
        """Return the programs of `n` answers to the task's own prompt."""
        replies = await self.ask(
            self.prompt.unconditional(), stage=stage, n=n, temperature=temperature
        )
        return [self._program(self.prompt.response_prefix + reply.text) for reply in replies]

    def program(self, reply: str) -> str:
        """Return the program in an answer; empty if there is none."""
        task = self.task
        known = preamble(task.given_code, task.entry_point)
        return extract_code(reply, CodeLayout.FENCED, task.entry_point, known=known)

    def _program(self, response: str) -> str:
        return extract_code(
            response, self.prompt.layout, self.task.entry_point, self.prompt.given_code
        )

    async def run(self, programs: Sequence[str], *, traces: bool = False) -> list[ProgramRun]:
        """Run programs on the visible tests; see `egcfg.interfaces.method.Bench.run`."""
        distinct = list(dict.fromkeys(programs))
        scores = await self._judge(distinct)
        outcomes = await self._outcomes(distinct)
        traced = await self.feedback.traces(self.task, distinct) if traces else [()] * len(distinct)
        runs = {
            program: ProgramRun(
                program=program, results=score.results, outcomes=outcome, traces=tuple(trace)
            )
            for program, score, outcome, trace in zip(
                distinct, scores, outcomes, traced, strict=True
            )
        }
        return [runs[program] for program in programs]

    async def decode(
        self, configuration: Configuration | None = None, *, policies: Policies = PAPER
    ) -> AsyncIterator[LineStep | Generation]:
        """Decode line by line; see `egcfg.interfaces.method.Bench.decode`."""
        chosen = configuration or self.configurations[0]
        prompt = self.wording(self.task, chosen.prompt)
        settings = evolve(
            chosen.settings, max_tokens=self.model.at_most(chosen.settings.max_tokens)
        )
        feedback = evolve(self.feedback, judge=self._judge)
        if policies.placebo and settings.gamma != 0.0:
            feedback = await self._placebo(chosen.prompt, settings)
        steps = decode(self.model, feedback, self.rule, self.task, prompt, settings, policies)
        try:
            async for step in steps:
                yield step
        finally:
            await steps.aclose()

    def note(self, event: str, **facts: Any) -> None:  # noqa: ARG002 - for who records
        """Count an event; see `egcfg.interfaces.method.Bench.note`."""
        self.events[event] += 1

    def made(self, attempt: Attempt) -> MadeAttempt:
        """Return an attempt with what the task has cost so far."""
        return MadeAttempt(attempt=attempt, tokens=self.model.tokens)

    async def _placebo(self, prompt: str | None, settings: DecodingSettings) -> PlaceboFeedback:
        """Decode another task as the paper does, and keep the signals that it was guided by."""
        other = next(
            each
            for each in QuickstartDataset(QuickstartDataset.Options()).problems()
            if each.description != self.task.description
        )
        worded = self.wording(other, prompt)
        steps = decode(self.model, self.feedback, self.rule, other.task, worded, settings)
        signals = [
            step.signal
            async for step in steps
            if isinstance(step, LineStep) and step.fresh and step.signal is not None
        ]
        feedback = self.feedback
        return PlaceboFeedback(
            feedback.tracer, feedback.sandbox, feedback.model, self._judge, other.task_id, signals
        )

    async def _judge(self, programs: Sequence[str]) -> list[Score]:
        return await asyncio.gather(*(self._score(program) for program in programs))

    async def _score(self, program: str) -> Score:
        """Judge a program by the visible tests."""
        if not self.task.visible_tests or not program.strip():
            return Score(results=())
        scorer = self.scorer_of(self.task.scorer)
        score = await scorer.call("score", self.task, program, self.sandbox, task=self.task.task_id)
        if not isinstance(score, Score):
            raise scorer.broken(f"score gave {type(score).__name__}", self.task.task_id)
        return score

    async def _outcomes(self, programs: Sequence[str]) -> list[tuple[str, ...]]:
        requests = [self.task.executions(program) for program in programs]
        executions = [
            Execution(
                source=request.source,
                call=None if request.call is None else Call(request.call),
                stdin=request.stdin,
                run_as_main=request.call is None,
                limits=request.limits,
            )
            for group in requests
            for request in group
        ]
        found = iter(await self.sandbox.run(executions) if executions else [])
        return [tuple(_outcome(next(found)) for _ in group) for group in requests]


def _outcome(result: ExecutionResult) -> str:
    """Return what an execution led to, as text."""
    if result.raised is not None:
        return f"raised {result.raised.type}: {result.raised.message}"
    if result.has_value:
        return f"gave {result.value!r}"
    if result.unsupported is not None:
        return f"gave {result.unsupported}"
    return f"{result.outcome}, printed {result.stdout!r}"
