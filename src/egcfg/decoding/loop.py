"""The line loop of execution-guided decoding: an asynchronous generator that yields each line.

Knows nothing about models (it passes token ids to one) nor about how programs are run or worded,
and awaits nothing but them. `decode` is the method; what it does in each stage is below.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress

from attrs import evolve

from egcfg.decoding.active import ActiveSignal
from egcfg.decoding.branch import Branch, resolve, score_greedy_line
from egcfg.decoding.candidates import CandidatePool, Drafts
from egcfg.decoding.code import CandidateProgram, Response, distinct_programs
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.policies import is_confident, is_whole
from egcfg.decoding.rollback import Checkpoint, Rollback
from egcfg.decoding.sampling import Sampler
from egcfg.decoding.settings import PAPER, DecodingSettings, GuidanceUnit, Policies
from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import Logprobs, SamplingParams, ScoreRequest
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import (
    FinishReason,
    Generation,
    LineStep,
    Signal,
    Stage,
    TokenChoice,
)
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.usage.model import Model

__all__ = ["decode"]

logger = logging.getLogger(__name__)


async def decode(
    model: Model,
    feedback: Feedback,
    rule: OpenComponent,
    problem: Task,
    prompt: Prompt,
    settings: DecodingSettings,
    policies: Policies = PAPER,
    given: Signal | None = None,
    alternatives: int = 0,
) -> AsyncGenerator[LineStep | Generation, None]:
    """Decode one response: yield each line as it is decided, and last the generation.

    Args:
        model: answers for this task.
        feedback: makes the signal.
        rule: the guidance rule.
        problem: what is asked.
        prompt: the problem worded, with a slot for the signal.
        settings: the strength of guidance, the candidates' shape, the limits.
        policies: where to depart from the paper.
        given: the signal that guides all of the response, without any candidates; None: signals are
            made from candidates.
        alternatives: how many of the likeliest tokens of each distribution to tell of a choice.

    Raises:
        ContextOverflowError: the bare prompt does not fit the model's context.
        BackendError: the model did not answer.
        SandboxError: the sandbox runs no program, not even an empty one.
        PluginError: a component answered wrongly.
    """
    decoding = _Decoding(model, feedback, rule, problem, prompt, settings, policies, given)
    decoding.response.alternatives = alternatives
    if not model.capabilities.logprobs:
        yield await decoding.complete()
        return
    await decoding.read_prompt()
    index = 0
    while decoding.finish is None:
        usage, seconds = dict(model.usage), decoding.execution_seconds
        length = len(decoding.response.text)
        stage = Stage.PREFIX

        # 1. The signal: bring the candidates up to date, run them, fill the prompt's slot.
        wanted = decoding.response.in_code and settings.gamma != 0.0
        if wanted and not await decoding.is_confident():
            stage = Stage.GUIDED
            if decoding.signal_is_due():
                await decoding.make_signal(index)

        # 2. The line's tokens, by the guidance rule, with the candidates as drafts ...
        decoding.guides = stage is Stage.GUIDED and decoding.finish is None
        signal = decoding.active.signal if decoding.guides else None
        tokens: list[TokenChoice] = []
        started_in_code = decoding.response.in_code
        while decoding.finish is None and not decoding.taken_back:
            if (token := await decoding.next_token(stage)) is None:
                break
            tokens.append(token)
            # 3. ... until the line is over, or the response.
            if decoding.line_is_over(length, started_in_code=started_in_code):
                break
        if policies.accept and settings.gamma != 0.0 and decoding.finish is None:
            await decoding.accept_solution()

        yield LineStep(
            index=index,
            in_code=wanted or decoding.response.in_code,
            text=decoding.line_decided(length),
            tokens=tuple(tokens),
            signal=signal,
            fresh=signal is not None and decoding.active.created_at_step == index,
            usage={s: spent - usage.get(s, Usage()) for s, spent in model.usage.items()},
            execution_seconds=decoding.execution_seconds - seconds,
            decisions=decoding.decisions_made(),
            taken_back=decoding.taken_back,
        )
        decoding.taken_back = ""
        index += 1
    yield decoding.generation(decoding.finish)


class _Decoding:
    """The state of one decoding, and what happens in each stage of a line."""

    def __init__(
        self,
        model: Model,
        feedback: Feedback,
        rule: OpenComponent,
        problem: Task,
        prompt: Prompt,
        settings: DecodingSettings,
        policies: Policies,
        given: Signal | None,
    ) -> None:
        self.model = model
        self.feedback = feedback
        self.problem = problem
        self.prompt = prompt
        self.settings = settings
        self.policies = policies
        self.given = given
        self.sampler = Sampler(settings.guided_temperature, settings.seed, problem.task_id)
        self.response = Response(model, problem, prompt)
        self.unconditional = Branch()
        self.active = ActiveSignal(model, rule, prompt, settings.gamma, policies)
        self.drafts = Drafts()
        self.guides = False  # whether the current line is guided
        self.warned_truncation = False
        self.lines_since_signal = 0
        self.execution_seconds = 0.0
        self.counts: Counter[str] = Counter()
        self.finish: FinishReason | None = None
        self.choices: list[TokenChoice] = []  # of the response's tokens
        self.rollback = Rollback(policies.rollback)
        self.taken_back = ""
        self.decisions: list[str] = []

    async def read_prompt(self) -> None:
        """Encode the prompt, and see what the model's context leaves for response and signal."""
        self.prompt_ids = await self.model.encode(self.prompt.unconditional())
        self.unconditional.reset(self.prompt_ids)
        self.limit = self.settings.max_tokens  # response tokens at most
        self.signal_limit: int | None = None  # tokens of the signal at most; None: not known
        context = self.model.capabilities.context_length
        if context is not None:
            left = context - len(self.prompt_ids)
            if left < 1:
                raise ContextOverflowError(len(self.prompt_ids) + 1, context)
            self.limit = min(self.limit, left)
            frame = self.prompt.signal_header + self.prompt.signal_footer
            left -= self.limit + await self.model.count_tokens(frame)
            self.signal_limit = max(0, left)
        self.pool = CandidatePool(self.model, self.problem, self.prompt, self.settings, self.limit)

    def generation(self, finish: FinishReason) -> Generation:
        """Return the finished decoding."""
        return Generation(
            response=self.response.text,
            code=self.response.program(),
            ids=self.response.ids,
            finish=finish,
            usage=dict(self.model.usage),
            execution_seconds=self.execution_seconds,
            **{name: int(count) for name, count in self.counts.items()},
        )

    async def complete(self) -> Generation:
        """Decode without guidance by a model that knows text only: one answer, cut as any other."""
        params = SamplingParams(temperature=0.0, max_tokens=self.settings.max_tokens)
        completion = await self.model.complete(self.prompt.unconditional(), params)
        self.response.read(self.prompt.response_prefix + completion.text)
        if self.response.over:
            return self.generation(FinishReason.CODE_END)
        ended = completion.finished
        return self.generation(FinishReason.END_OF_SEQUENCE if ended else FinishReason.MAX_TOKENS)

    # --- 1. the signal --------------------------------------------------------------------------

    def signal_is_due(self) -> bool:
        """Whether the next line needs a new signal."""
        unit, interval = self.settings.unit, self.settings.signal_interval
        if self.active.signal is None:
            return True
        if self.given is not None or unit is GuidanceUnit.PREFIX:
            return False
        return unit is GuidanceUnit.TOKEN or self.lines_since_signal >= interval

    async def make_signal(self, step: int) -> None:
        """Fill the slot with the signal that is given, or with what running candidates led to."""
        signal = self.given or await self._candidates_signal()
        if signal is None:
            return
        self.decisions += signal.decisions
        if self.policies.rollback and self._goes_back(signal, step):
            return
        signal = await self._show(signal)
        self.active.created_at_step = step
        self.lines_since_signal = 0
        self.counts.update(signals=1, signals_cut=signal.cut, signals_empty=not signal.text)

    async def _candidates_signal(self) -> Signal | None:
        """Bring the candidates up to date, and run them; None where one of them is the answer."""
        with suppress(ContextOverflowError):  # no room for candidates, perhaps for the line itself
            await self.pool.resample(self.prompt_ids, self.response.ids, self.response.text)
        if self.policies.accept and await self._accept_candidate():
            return None
        if self.settings.drafts and self.model.capabilities.scores_drafts:
            await self.drafts.update(self.model, self.pool.candidates)

        started = time.perf_counter()
        known = self.active.signal.all_entries if self.active.signal else ()
        signal = await self.feedback.signal(
            self.problem, self._programs(), self.settings.signal_tokens, known, self.policies
        )
        self.execution_seconds += time.perf_counter() - started
        return signal

    def _programs(self) -> list[CandidateProgram]:
        """Return the distinct programs of the candidates; first the code so far, where wanted."""
        response, entry_point = self.response, self.problem.entry_point
        texts = [candidate.text for candidate in self.pool.candidates]
        comments = self.policies.comments
        programs = distinct_programs(map(response.program_with, texts), entry_point, comments)
        if not self.settings.partial:
            return programs
        so_far = distinct_programs([response.program_with()], entry_point, comments)
        return [evolve(program, samples=0) for program in so_far] + [
            program for program in programs if all(program.source != s.source for s in so_far)
        ]

    async def _show(self, signal: Signal) -> Signal:
        """Fill the slot with `signal`, as far as the model's context has room; return that."""
        remaining = self.signal_limit
        if remaining is not None and signal.longest > remaining:
            if not self.warned_truncation:
                self.warned_truncation = True
                logger.warning(
                    "task %s: the model's context has room for %d tokens of the signal, not %d; "
                    "candidates and traces are left out of it",
                    *(self.problem.task_id, remaining, signal.longest),
                )
            signal = await self.feedback.shorten(signal, remaining)
        if await self.active.show(signal, self.response.ids):
            self.unconditional.forget_exact()
        return signal

    # --- 2. the tokens of one line --------------------------------------------------------------

    async def next_token(self, stage: Stage) -> TokenChoice | None:
        """Decide the next token and append it; None where the response ends instead."""
        while True:
            try:
                unconditional, guided = await self._distributions(stage)
            except ContextOverflowError as error:
                if await self._shrink_signal(error):
                    continue
                self.finish = FinishReason.MAX_TOKENS
                return None
            position = len(self.response.ids)
            guided = self.rollback.allowed(self.response.ids, unconditional, guided)
            token = self.sampler.choose(guided.distribution, position)
            if self.sampler.is_near_tie(guided.distribution, position, self._rounding()):
                self.counts.update(near_ties=1)
            if token in self.model.end_ids:
                self.finish = FinishReason.END_OF_SEQUENCE
                return None
            return await self._append(token, unconditional, guided)

    async def _distributions(self, stage: Stage) -> tuple[Logprobs, Guided]:
        """Return the next token's unconditional and guided distributions."""
        branches = [self.unconditional, *self._guiding]
        if any(branch.next is None for branch in branches):
            await self._score(branches, stage)
        # Each was asked for just now at the latest.
        unconditional, *conditional = [b.next for b in branches if b.next is not None]
        if not conditional:
            return unconditional, Guided(unconditional)
        guided = self.active.mix(unconditional, *conditional)
        if not guided.unresolved or not self.model.capabilities.exact_logprobs:
            return unconditional, guided
        position = len(self.response.ids)
        return await resolve(
            self.model,
            branches,
            self.active.mix,
            lambda distribution, offset: self.sampler.choose(distribution, position + offset),
        )

    async def _score(self, branches: list[Branch], stage: Stage) -> None:
        """Ask for what is missing here and after each drafted token, on all branches at once."""
        drafts = self.drafts.lines(self.limit - len(self.response.ids) - 1) or [()]
        pending = [(b, draft) for b in branches for draft in drafts if not b.knows(draft)]
        if len(branches) > 1 and not self.active.is_read:
            stage = Stage.SIGNAL
        answers = await self.model.score(
            [ScoreRequest(branch.ids, draft) for branch, draft in pending], stage
        )
        self.active.is_read = True
        for (branch, draft), distributions in zip(pending, answers, strict=True):
            branch.learn(draft, distributions)

    @property
    def _guiding(self) -> tuple[Branch, ...]:
        """What guides the next token: no signal tells of prose between two blocks of code."""
        return self.active.branches if self.guides and self.response.in_code else ()

    def _rounding(self) -> float:
        """How far rounding may move a log-probability of the next token, in nats."""
        rounding = self.model.capabilities.rounding
        guides = self.guides and self.active.branches
        return rounding * self.active.amplification if guides else rounding

    async def _shrink_signal(self, error: ContextOverflowError) -> bool:
        """Halve the signal: the context turned out shorter than its backend could say.

        Returns:
            False where there is no signal to shorten.

        Raises:
            ContextOverflowError: `error`; the bare prompt does not fit.
        """
        signal = self.active.signal
        if signal is None or not self.active.branches:
            if not self.response.ids:
                raise error
            return False
        self.counts.update(signals_cut=not signal.cut)
        self.signal_limit = signal.longest // 2
        await self._show(signal)
        return True

    async def _append(self, token: int, unconditional: Logprobs, guided: Guided) -> TokenChoice:
        """Append `token` to the response and to all branches."""
        conditional = next((branch.resolved(()) for branch in self._guiding), None)
        preferred = unconditional.argmax()
        preferred_text = await self.response.addition(preferred)
        likeliest = [await self.response.likeliest(d) for d in (unconditional, conditional)]
        text = await self.response.append(token)
        for each in (self.drafts, self.unconditional, self.active):
            each.advance(token)
        last_scored = [self.unconditional, *self._guiding][-1]
        choice = TokenChoice(
            id=token,
            text=text,
            unconditional_id=preferred,
            unconditional_text=preferred_text,
            logprob_unconditional=unconditional.logprob(token),
            logprob_guided=guided.distribution.logprob(token),
            logprob_conditional=None if conditional is None else conditional.logprob(token),
            drafted=last_scored.next is not None,
            likeliest_unconditional=likeliest[0],
            likeliest_conditional=likeliest[1],
        )
        self.choices.append(choice)
        self.counts.update(
            tokens_changed=choice.changed,
            tokens_drafted=choice.drafted,
            uncertain_choices=not guided.certain,
        )
        return choice

    # --- 3. where the response is ---------------------------------------------------------------

    def line_is_over(self, line_start: int, *, started_in_code: bool) -> bool:
        """Whether the line that starts there is decided, or the response is; sets `finish`."""
        if self.response.over:
            self.finish = FinishReason.CODE_END
        elif len(self.response.ids) >= self.limit:
            self.finish = FinishReason.MAX_TOKENS
        return (
            self.finish is not None
            # Guidance starts here, in the middle of a line.
            or (self.response.in_code and not started_in_code)
            or (self.active.signal is not None and self.settings.unit is GuidanceUnit.TOKEN)
            or "\n" in self.response.text[line_start:]
        )

    def line_decided(self, line_start: int) -> str:
        """Return the text of the line that starts there, and count it."""
        text = self.response.text[line_start:]
        # A blank line changes no program, so what its candidates would show is known already.
        self.lines_since_signal += bool(text.strip())
        return text

    # --- policies -------------------------------------------------------------------------------

    def decisions_made(self) -> tuple[str, ...]:
        """Return what policies decided since this was last asked."""
        decisions, self.decisions = tuple(self.decisions), []
        return decisions

    async def is_confident(self) -> bool:
        """Whether the unconditional model is sure of its own line, at every token of it."""
        threshold = self.policies.confident
        if threshold is None:
            return False
        remaining = self.limit - len(self.response.ids)
        try:
            confident = await score_greedy_line(
                self.model, self.unconditional, remaining, lambda d: is_confident(d, threshold)
            )
        except ContextOverflowError:  # as will be seen again where the line gets there
            return False
        if confident:
            self.decisions.append(f"confident: each likeliest token is above {threshold:g}")
        return confident

    def _goes_back(self, signal: Signal, step: int) -> bool:
        """Take the response back to an earlier line where all candidates of this one fail alike."""
        response = self.response
        here = Checkpoint(step, len(response.ids), response.text, Counter(self.counts))
        back = self.rollback.look(signal.all_entries, here)
        if back is None:
            return False
        line = self.choices[back.tokens :]
        first = next((n for n, choice in enumerate(line, 1) if "\n" in choice.text), len(line))
        token = self.rollback.rule_out(response.ids[: back.tokens], line[:first])
        self.taken_back = response.text[len(back.text) :]
        response.take_back(response.ids[: back.tokens], back.text)
        del self.choices[back.tokens :]
        # What was counted of tokens is taken back with them; signals were made all the same.
        made = {name: self.counts[name] for name in self.counts if name.startswith("signals")}
        made["rollbacks"] = self.counts["rollbacks"] + 1
        self.counts = Counter(back.counts) | Counter(made)
        self.unconditional.reset(self.prompt_ids + response.ids)
        self.active.clear()
        self.pool.restart()
        self.drafts = Drafts()
        self.decisions.append(
            f"rollback: all candidates fail alike; back to step {back.step}, now without "
            f"{token.text!r}"
        )
        return True

    async def accept_solution(self) -> None:
        """End the response here if it is a whole program that passes all visible tests."""
        program = self.response.program()
        if is_whole(program, self.problem.entry_point) and await self._passes(program):
            self._accept("the solution so far")

    async def _accept_candidate(self) -> bool:
        """End the response with the first candidate whose program passes all visible tests."""
        for number, candidate in enumerate(self.pool.candidates, 1):
            program = self.response.program(candidate.text)
            whole = candidate.ended or is_whole(program, self.problem.entry_point)
            if whole and await self._passes(program):
                self.response.extend(candidate.ids, candidate.text)
                self._accept(f"candidate {number}")
                return True
        return False

    def _accept(self, what: str) -> None:
        self.finish = FinishReason.ACCEPTED
        self.decisions.append(f"accept: {what} passes all visible tests")

    async def _passes(self, program: str) -> bool:
        started = time.perf_counter()
        [score] = await self.feedback.judge([program])
        self.execution_seconds += time.perf_counter() - started
        return score.passed
