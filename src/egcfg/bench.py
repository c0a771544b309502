"""The bench at which a method works on one task: asks, runs and decodes, counted by stage."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

from attrs import define, evolve, field, frozen

from egcfg.datasets.quickstart import QuickstartDataset
from egcfg.decoding.answer import AnswerReader
from egcfg.decoding.code import Response, distinct_programs, executable_program
from egcfg.decoding.definitions import preamble
from egcfg.decoding.extraction import extract_code
from egcfg.decoding.feedback import Feedback, PlaceboFeedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import PAPER, Policies
from egcfg.errors import (
    BudgetError,
    ContextOverflowError,
    EgcfgError,
    PluginError,
    TaskBudgetError,
    UsageError,
)
from egcfg.interfaces.backend import Continuation, LogprobBackend, SampleRequest, SamplingParams
from egcfg.interfaces.method import (
    Attempt,
    Configuration,
    Need,
    PartialAnswer,
    ProgramRun,
    Reply,
)
from egcfg.interfaces.problem import Problem, TestCase
from egcfg.interfaces.prompt import ChatPrompt, CodeLayout, Prompt, TextPrompt
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import Generation, LineStep, Signal, SignalEntry, Spent
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.records.recorder import ALTERNATIVES, Recorder
from egcfg.sandbox import ExecutionResult
from egcfg.sandbox.counting import CountingSandbox
from egcfg.usage.model import AskedTooOften, Model

__all__ = ["MadeAttempt", "TaskBench"]

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class MadeAttempt:
    """An attempt, and what the task had cost when it was made.

    Attributes:
        attempt: what the method yielded.
        spent: what the task had cost by then.
        share: of the visible tests that it passed, if the method ran it.
        new: whether the answer is another one than before this try.
    """

    attempt: Attempt
    spent: Spent
    share: float | None = None
    new: bool = True


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
        sandbox: where programs run, and are counted.
        wording: words a problem by a prompt builder of that name.
        scorer_of: opens a scorer by its name.
        recorder: writes down what is done; None: nobody does.
        events: how often the method noted what.
        on_note: sees each event as it is noted, with its facts; None: nobody does.
    """

    task: Problem
    prompt: Prompt
    configurations: Sequence[Configuration]
    model: Model
    feedback: Feedback
    rule: OpenComponent
    sandbox: CountingSandbox
    wording: Callable[[Problem, str | None], Prompt]
    scorer_of: Callable[[str], OpenComponent]
    recorder: Recorder | None = None
    events: Counter[str] = field(factory=Counter)
    on_note: Callable[[str, Mapping[str, Any]], None] | None = None
    _asked: int = field(default=0, init=False)
    _read: set[tuple[int, ...]] = field(factory=set, init=False)
    _judged: dict[str, Score] = field(factory=dict, init=False)
    _cut: dict[str, bool] = field(factory=dict, init=False)
    _shown: tuple[SignalEntry, ...] = field(default=(), init=False)

    @property
    def offers(self) -> frozenset[Need]:
        """What the model offers besides text."""
        capabilities = self.model.capabilities
        offered = {Need.CHAT: capabilities.chat, Need.LOGPROBS: capabilities.logprobs}
        return frozenset(need for need, has in offered.items() if has)

    @property
    def left(self) -> float:
        """Share of the task's token budget that is left; 1 where there is none."""
        return self.model.left

    @property
    def spent(self) -> Spent:
        """What the task cost so far."""
        return Spent(
            usage=sum(self.model.usage.values(), Usage()),
            calls=self.model.calls,
            executions=self.sandbox.executions,
        )

    @property
    def cut_short(self) -> bool:
        """Whether the run's budget ended the work, rather than the task's own, or the method."""
        return not isinstance(self.model.refusal, TaskBudgetError | None)

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
        seed = self._new_seed()
        by_ids = isinstance(self.model.backend.instance, LogprobBackend)
        ids = await self.model.encode(prompt, stage) if by_ids else ()
        unread = 0 if ids in self._read else len(ids)  # a cache may know what was read before
        self.model.check(unread)
        params = SamplingParams(
            temperature=temperature,
            top_p=top_p,
            max_tokens=self.model.at_most(max_tokens or settings.max_tokens, prompt=unread),
            stop=tuple(stop),
            seed=seed,
        )
        if by_ids:
            [found] = await self.model.sample([SampleRequest(ids, count, params)], stage)
            self._read.add(ids)
            replies = [Reply(text=one.text, finished=one.finished) for one in found]
        else:
            answers = [
                await self.model.complete(prompt, evolve(params, seed=params.seed + number), stage)
                for number in range(count)
            ]
            replies = [Reply(text=one.text, finished=one.finished) for one in answers]
        if self.recorder is not None:
            self.recorder.call(
                stage, prompt, temperature, params.max_tokens, replies, self.task.task_id
            )
        return replies * (n // count)

    async def draw(self, n: int = 1, *, stage: str, temperature: float = 0.0) -> list[str]:
        """Return the programs of `n` answers to the task's own prompt."""
        replies = await self.ask(
            self.prompt.unconditional(), stage=stage, n=n, temperature=temperature
        )
        return [self._drawn(reply) for reply in replies]

    async def extend(
        self,
        answers: Sequence[PartialAnswer],
        *,
        stage: str,
        lines: int | None = 1,
        temperature: float = 0.8,
    ) -> list[PartialAnswer]:
        """Continue answers, all side by side; see `egcfg.interfaces.method.Bench.extend`."""
        settings, seed = self.configurations[0].settings, self._new_seed()
        ids = await self.model.encode(self.prompt.unconditional(), stage)
        growing = [n for n, answer in enumerate(answers) if not answer.finished]
        requests = []
        for number in growing:
            left = settings.max_tokens - len(answers[number].ids)
            params = SamplingParams(
                temperature=temperature,
                top_p=settings.top_p,
                max_tokens=self.model.at_most(left),
                max_lines=lines,
                seed=zlib.crc32(f"{seed}/{number}".encode()),
            )
            requests.append(SampleRequest(ids + answers[number].ids, 1, params))
        found = await self.model.sample(requests, stage) if requests else []
        extended = list(answers)
        for number, [addition] in zip(growing, found, strict=True):
            extended[number] = self._extended(answers[number], addition)
        if self.recorder is not None and growing:
            replies = [Reply(text=extended[n].text, finished=extended[n].finished) for n in growing]
            prompt, most = self.prompt.unconditional(), settings.max_tokens
            self.recorder.call(stage, prompt, temperature, most, replies, self.task.task_id)
        return extended

    def _extended(self, answer: PartialAnswer, addition: Continuation) -> PartialAnswer:
        ids, text = answer.ids + addition.ids, answer.text + addition.text
        response = Response(self.model, self.task, self.prompt)
        response.extend(ids, text)
        most = self.configurations[0].settings.max_tokens
        finished = addition.finished or response.over or len(ids) >= most or not addition.ids
        if finished:
            program = response.program()
            self._cut[program] = not (addition.finished or response.over)
        else:
            so_far = response.program_with()
            program = executable_program(so_far, self.task.entry_point) or ""
        return PartialAnswer(ids=ids, text=text, program=program, finished=finished)

    def _new_seed(self) -> int:
        """Return the seed of the next question: the same in every run."""
        self._asked += 1
        name = f"{self.configurations[0].settings.seed}/{self.task.task_id}/ask{self._asked}"
        return zlib.crc32(name.encode())

    def program(self, reply: str, function: str | None = None) -> str:
        """Return the program in an answer; see `egcfg.interfaces.method.Bench.program`."""
        task = self.task
        known = preamble(task.given_code, task.entry_point)
        return extract_code(reply, CodeLayout.FENCED, function or task.entry_point, known=known)

    def _drawn(self, reply: Reply) -> str:
        """Return the program in an answer to the task's own prompt, and keep whether it was cut."""
        prompt, function = self.prompt, self.task.entry_point
        response = prompt.response_prefix + reply.text
        program = extract_code(response, prompt.layout, function, prompt.given_code)
        reader = AnswerReader.of(prompt, function, reasoning=False)
        reader.read(response)
        self._cut[program] = not reply.finished and reader.span.end is None  # else only words are
        return program

    async def run(
        self,
        programs: Sequence[str],
        tests: Sequence[TestCase] | None = None,
        *,
        function: str | None = None,
        traces: bool = False,
    ) -> list[ProgramRun]:
        """Run programs on tests; see `egcfg.interfaces.method.Bench.run`."""
        task = self.task
        if tests is not None:
            task = evolve(task, visible_tests=tests, entry_point=function or task.entry_point)
        distinct = list(dict.fromkeys(programs))
        # Once for verdicts, once for what calls lead to: a judge's process drives the first run, in
        # which values stay with the program, and a scorer, maybe a plugin's, tells verdicts alone.
        scores, outcomes = await asyncio.gather(
            self._scores(task, distinct), self._outcomes(task, distinct)
        )
        traced = await self.feedback.traces(task, distinct) if traces else [()] * len(distinct)
        runs = {}
        for program, score, outcome, trace in zip(distinct, scores, outcomes, traced, strict=True):
            results, cut = score.results, self._cut.get(program, False)
            runs[program] = ProgramRun(
                program=program, results=results, outcomes=outcome, traces=tuple(trace), cut=cut
            )
        if tests is None:
            self._judged |= zip(distinct, scores, strict=True)
        if self.recorder is not None:
            self.recorder.runs([*runs.values()], self.task.task_id, own_tests=tests is not None)
        return [runs[program] for program in programs]

    async def signal(self, programs: Sequence[str], *, away: bool = False) -> Signal:
        """Word what running programs led to; see `egcfg.interfaces.method.Bench.signal`."""
        signal = await self.feedback.signal(
            self.task,
            distinct_programs(programs, self.task.entry_point),
            self.configurations[0].settings.signal_tokens,
            self._shown,
        )
        self._shown = signal.entries
        return evolve(signal, away=away)

    def another(self) -> Self:
        """Return a bench at another task; see `egcfg.interfaces.method.Bench.another`."""
        other = next(
            each
            for each in QuickstartDataset(QuickstartDataset.Options()).problems()
            if each.description != self.task.description
        )
        prompt = self.wording(other, self.configurations[0].prompt)
        return evolve(self, task=evolve(other, hidden_tests=()), prompt=prompt)

    async def decode(
        self,
        configuration: Configuration | None = None,
        *,
        policies: Policies = PAPER,
        signal: Signal | None = None,
    ) -> AsyncGenerator[LineStep | Generation, None]:
        """Decode line by line; see `egcfg.interfaces.method.Bench.decode`."""
        chosen = configuration or self.configurations[0]
        prompt = self.wording(self.task, chosen.prompt)
        settings = evolve(
            chosen.settings, max_tokens=self.model.at_most(chosen.settings.max_tokens)
        )
        feedback = evolve(self.feedback, judge=self.judge)
        if policies.placebo and settings.gamma != 0.0 and signal is None:
            feedback = await self._placebo(chosen)
        recorder, number = self.recorder, 0
        if recorder is not None:
            configured = evolve(chosen, settings=settings)
            number = recorder.decoding(configured, prompt, policies, self.task.task_id)
        steps = decode(
            *(self.model, feedback, self.rule, self.task, prompt, settings, policies, signal),
            alternatives=0 if recorder is None else ALTERNATIVES,
        )
        try:
            async for step in steps:
                if recorder is not None:
                    recorder.decoded(number, step)
                yield step
        finally:
            await steps.aclose()

    def note(self, event: str, **facts: Any) -> None:
        """Count an event; see `egcfg.interfaces.method.Bench.note`."""
        self.events[event] += 1
        if self.recorder is not None:
            self.recorder.note(event, facts)
        if self.on_note is not None:
            self.on_note(event, facts)

    async def work(
        self, method: OpenComponent, *, attempts_stand: bool = False
    ) -> AsyncGenerator[LineStep | MadeAttempt, None]:
        """Let a method work on the task: yield each line, and each attempt with its cost so far.

        Ends where the task's budget does. A method that goes on asking then is stopped, and told
        of; all that was refused is counted among the events.

        Args:
            method: what works.
            attempts_stand: whether it also ends, once there is an attempt, where the run's budget
                does, rather than by an error.

        Raises:
            PluginError: it yields something else, or raises what is no `EgcfgError`.
            BudgetError: the run's budget is used up, also where the method does not let this pass.
            EgcfgError: as the method's own questions do.
        """
        task = self.task.task_id
        answer: str | None = None
        try:
            async with aclosing(method.iterate("solve", self, task=task)) as items:
                async for item in items:
                    match item:
                        case LineStep():
                            yield item
                        case Attempt(program=str(), stage=str(), generation=Generation() | None):
                            new = item.program != answer
                            answer = item.program
                            judged = self._judged.get(item.program)
                            share = judged.accuracy if judged and judged.results else None
                            if self.recorder is not None:
                                self.recorder.attempt(item, self.model.tokens, share)
                            spent = self.spent
                            yield MadeAttempt(attempt=item, spent=spent, share=share, new=new)
                        case _:
                            raise method.broken(
                                f"solve gave {_form(item)}, neither a LineStep nor an Attempt "
                                "with a program",
                                task,
                            )
        except (EgcfgError, AskedTooOften, BaseExceptionGroup) as error:
            told = _all_told(error)
            if answer is not None and all(isinstance(each, ContextOverflowError) for each in told):
                self.note("context_overflow")  # a dialogue grew; the last attempt stands
            elif not all(isinstance(each, BudgetError | AskedTooOften) for each in told):
                raise
            if any(isinstance(each, AskedTooOften) for each in told):
                logger.warning(
                    "%s went on asking after the budget of task %s was used up, and was stopped",
                    method.title,
                    task,
                )
        if self.model.refused:
            self.events["refused"] += self.model.refused
        # Also where the method took the run's budget for the task's own.
        stands = answer is not None and attempts_stand
        if self.model.refusal is not None and self.cut_short and not stands:
            raise self.model.refusal

    async def _placebo(self, configuration: Configuration) -> PlaceboFeedback:
        """Decode another task as the paper does, and keep the signals that it was guided by."""
        other, feedback = self.another(), self.feedback
        async with aclosing(other.decode(configuration)) as steps:
            signals = [
                step.signal
                async for step in steps
                if isinstance(step, LineStep) and step.fresh and step.signal is not None
            ]
        return PlaceboFeedback(
            feedback.tracer,
            feedback.sandbox,
            feedback.model,
            self.judge,
            other.task.task_id,
            signals,
        )

    async def judge(self, programs: Sequence[str]) -> list[Score]:
        """Return the verdicts of the visible tests on programs; one that ran is not run again."""
        new = [each for each in dict.fromkeys(programs) if each not in self._judged]
        self._judged |= zip(new, await self._scores(self.task, new), strict=True)
        return [self._judged[each] for each in programs]

    async def _scores(self, task: Problem, programs: Sequence[str]) -> list[Score]:
        return await asyncio.gather(*(self._score(task, program) for program in programs))

    async def _score(self, task: Problem, program: str) -> Score:
        """Judge a program by the visible tests of a task."""
        if not task.visible_tests or not program.strip():
            return Score(results=())
        scorer = self._scorer(task)
        score = await scorer.call("score", task, program, self.sandbox, task=task.task_id)
        if not isinstance(score, Score):
            raise scorer.broken(f"score gave {type(score).__name__}", task.task_id)
        return score

    def _scorer(self, task: Problem) -> OpenComponent:
        """Return the task's scorer, or that of asserts where its visible tests are of another kind.

        HumanEval's ``check`` functions decide, but the examples of its docstrings are asserts.
        """
        scorer = self.scorer_of(task.scorer)
        try:
            scorer.ask("check", task, task=task.task_id)
        except UsageError:
            return self.scorer_of("asserts")
        return scorer

    async def _outcomes(self, task: Problem, programs: Sequence[str]) -> list[tuple[str, ...]]:
        requests = [task.executions(program) for program in programs]
        executions = [request.execution() for group in requests for request in group]
        found = iter(await self.sandbox.run(executions) if executions else [])
        return [tuple(_outcome(next(found)) for _ in group) for group in requests]


def _all_told(error: BaseException) -> list[BaseException]:
    """Return an error, or those of a group: of questions that were asked side by side."""
    if isinstance(error, PluginError) and isinstance(error.__cause__, BaseExceptionGroup):
        return _all_told(error.__cause__)
    if isinstance(error, BaseExceptionGroup):
        return [each for part in error.exceptions for each in _all_told(part)]
    return [error]


def _form(item: object) -> str:
    """Return what a method yielded, in a few words."""
    if not isinstance(item, Attempt):
        return type(item).__name__
    kinds = (type(item.program), type(item.stage), type(item.generation))
    return f"an Attempt of {', '.join(kind.__name__ for kind in kinds)}"


def _outcome(result: ExecutionResult) -> str:
    """Return what an execution led to, as text."""
    if result.raised is not None:
        return f"raised {result.raised.type}: {result.raised.message}"
    if result.has_value:
        return f"gave {result.value!r}"
    if result.unsupported is not None:
        return f"gave {result.unsupported}"
    return f"{result.outcome}, printed {result.stdout!r}"
