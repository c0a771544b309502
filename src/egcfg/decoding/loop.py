"""The line loop of execution-guided decoding: one generator that yields a step per line.

Knows nothing about models (it speaks token ids to a `LogprobBackend`) nor about how programs are
run or worded. The stages of one line:

1. refresh the signal: bring the candidates up to date, run them, fill the slot;
2. decide the line's tokens by the guidance rule, with the candidates as free drafts;
3. see whether the response has reached its code, or its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from typing import Final

from attrs import evolve, frozen

from egcfg.decoding.branch import Lookahead, line_drafts, repeated_run
from egcfg.decoding.candidates import CandidatePool
from egcfg.decoding.doubts import Doubts
from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.programs import Program, distinct_programs
from egcfg.decoding.response import Response
from egcfg.decoding.sampling import TokenChooser
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ContextOverflowError
from egcfg.guidance.cfg import Guided, guidance_rule
from egcfg.interfaces.backend import LogprobBackend, ScoreQuery, TokenLogprobs, TokenSequence, Usage
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import FinishReason, Generation, LineStep, Signal, Stage, TokenChoice

__all__ = ["Decoder"]

logger = logging.getLogger(__name__)

REPEATED: Final = 4
"""Tokens of a draft that only repeats what followed the same words before."""


@frozen
class _Guide:
    """What guides the tokens until the next refresh.

    Attributes:
        signal: the signal behind it.
        branch: the conditional branch; None where the signal is empty, so that both are the same.
        fresh_for: index of the step that it was made for.
    """

    signal: Signal
    branch: TokenSequence | None
    fresh_for: int


class Decoder:
    """One decoding of one problem by one set of settings.

    Args:
        backend: the model.
        signals: makes the dynamic signal.
        problem: what is asked.
        prompt: the problem worded, with a slot for the signal.
        settings: the strength of guidance, the candidates' shape, the limits.

    Raises:
        ContextOverflowError: the bare prompt does not fit the model's context.
        UnknownNameError: the settings name a guidance rule that does not exist.
    """

    def __init__(
        self,
        backend: LogprobBackend,
        signals: SignalBuilder,
        problem: Problem,
        prompt: Prompt,
        settings: DecodingSettings,
    ) -> None:
        self.backend = backend
        self.signals = signals
        self.problem = problem
        self.prompt = prompt
        self.settings = settings
        self.rule = guidance_rule(settings.rule)
        self.chooser = TokenChooser(settings.guided_temperature, settings.seed, problem.task_id)
        self.prompt_ids = backend.encode(prompt.unconditional())
        self.plain = backend.start(self.prompt_ids, "unconditional")
        self.plain_ahead = Lookahead()
        self.conditional_ahead = Lookahead()
        self.doubts = Doubts(backend, self.rule, settings.gamma)
        self.drafts: list[tuple[int, ...]] = []
        self.response = Response(backend, problem, prompt)
        self.limit = self._token_limit()
        self.pool = CandidatePool(backend, problem, prompt, settings, self.limit)
        self.room = self._signal_room()
        self.guide: _Guide | None = None
        self.signal_is_read = True
        self.told_of_room = False
        self.lines_since_refresh = 0
        self.finish: FinishReason | None = None
        self.usage: dict[Stage, Usage] = {}
        self.execution_seconds = 0.0
        self.signals_cut = 0
        self.uncertain = 0

    def run(self) -> Generator[LineStep, None, Generation]:
        """Decode the response, yielding each line as it is decided; return the generation.

        Raises:
            BackendError: the model did not answer.
            SandboxError: the sandbox failed twice on the same program.
        """
        index = signals = changed = drafted = 0
        while self.finish is None:
            usage_before, seconds_before = dict(self.usage), self.execution_seconds
            guided = self.response.in_code and self.settings.gamma != 0.0
            if guided and self._refresh_is_due():
                self.guide = self._new_guide(index)
                self.lines_since_refresh = 0
                signals += 1
                self.signals_cut += self.guide.signal.cut
            text_before = len(self.response.text)
            tokens = self._decide_line(Stage.GUIDED if guided else Stage.PREFIX)
            text = self.response.text[text_before:]
            # A blank line changes no program, so what its candidates would show is known already.
            self.lines_since_refresh += bool(text.strip())
            changed += sum(token.changed for token in tokens)
            drafted += sum(token.drafted for token in tokens)
            yield LineStep(
                index=index,
                in_code=guided or self.response.in_code,
                text=text,
                tokens=tuple(tokens),
                signal=self.guide.signal if self.guide else None,
                fresh=self.guide is not None and self.guide.fresh_for == index,
                usage={s: u - usage_before.get(s, Usage()) for s, u in self.usage.items()},
                execution_seconds=self.execution_seconds - seconds_before,
            )
            index += 1
        return Generation(
            response=self.response.text,
            code=self.response.program(),
            ids=self.response.ids,
            finish=self.finish,
            usage=self.usage,
            execution_seconds=self.execution_seconds,
            signals=signals,
            signals_cut=self.signals_cut,
            tokens_changed=changed,
            tokens_drafted=drafted,
            uncertain_choices=self.uncertain,
        )

    # --- 1. the signal -----------------------------------------------------------------------

    def _refresh_is_due(self) -> bool:
        if self.guide is None or self.settings.unit is GuidanceUnit.TOKEN:
            return True
        if self.settings.unit is GuidanceUnit.PREFIX:
            return False
        return self.lines_since_refresh >= self.settings.refresh

    def _new_guide(self, index: int) -> _Guide:
        before = self.backend.usage
        branch = self.guide.branch if self.guide else None
        lookup = branch.ids if branch is not None and self.settings.drafts else ()
        try:
            self.pool.refresh(self.plain, self.response.ids, self.response.text, lookup)
        except ContextOverflowError:
            pass  # no room to look ahead, perhaps still for the line itself
        finally:
            self._count(Stage.SAMPLING, before)
        candidates = self.pool.candidates
        self.drafts = [candidate.ids for candidate in candidates]
        for candidate in candidates:
            self.plain_ahead.learn(candidate.ids, candidate.scores, candidate.scored_from)

        started = time.perf_counter()
        known = self.guide.signal.entries if self.guide else ()
        programs = self._programs([candidate.text for candidate in candidates])
        signal = self.signals.build(self.problem, programs, self.settings.signal_tokens, known)
        if self.room is not None and signal.tokens > self.room:
            signal = self._shortened(signal, self.room)
        self.execution_seconds += time.perf_counter() - started
        return _Guide(signal, self._conditional(signal), index)

    def _programs(self, candidates: Sequence[str]) -> list[Program]:
        response, entry_point = self.response, self.problem.entry_point
        programs = distinct_programs((response.program(text) for text in candidates), entry_point)
        if not self.settings.partial:
            return programs
        so_far = distinct_programs([response.program()], entry_point)
        return [Program(p.source, samples=0) for p in so_far] + [
            p for p in programs if all(p.source != s.source for s in so_far)
        ]

    def _conditional(self, signal: Signal) -> TokenSequence | None:
        """Return the conditional branch for `signal`: the previous one, with other tokens."""
        branch = self.guide.branch if self.guide else None
        ids: tuple[int, ...] = ()
        if signal.text:
            ids = self.backend.encode(self.prompt.conditional(signal.text)) + self.response.ids
        if branch is None or branch.ids != ids:
            self.conditional_ahead.forget()
            self.doubts.forget()
            self.signal_is_read = False
        if not ids:
            return None
        if branch is None:
            return self.backend.start(ids, "conditional")
        branch.ids = ids
        return branch

    # --- 2. the tokens of one line -------------------------------------------------------------

    def _decide_line(self, stage: Stage) -> list[TokenChoice]:
        """Decide tokens up to the end of the line, of the unit of guidance, or of the response."""
        tokens: list[TokenChoice] = []
        was_in_code = self.response.in_code
        lines_before = self.response.text.count("\n")
        while True:
            try:
                plain, guided = self._next(stage)
            except ContextOverflowError as error:
                if self._can_go_on(error):
                    continue
                return tokens
            token = self.chooser.choose(guided.distribution, len(self.response.ids))
            if token in self.backend.end_ids:
                self.finish = FinishReason.END_OF_SEQUENCE
                return tokens
            self.uncertain += not guided.certain
            tokens.append(self._take(token, plain, guided))
            if self._line_is_over(lines_before, was_in_code=was_in_code):
                return tokens

    def _next(self, stage: Stage) -> tuple[TokenLogprobs, Guided]:
        """Return the next token's unconditional and guided distributions."""
        branch = self.guide.branch if self.guide is not None else None
        if self.plain_ahead.here is None or (
            branch is not None and self.conditional_ahead.here is None
        ):
            self._ask(branch, stage)
        plain, conditional = self.plain_ahead.here, self.conditional_ahead.here
        assert plain is not None  # asked for just now at the latest
        if branch is None or conditional is None:
            return plain, Guided(plain)
        guided = self.rule(plain, conditional, self.settings.gamma)
        if not guided.doubts or not self.backend.capabilities.exact_logprobs:
            return plain, guided
        before, position = self.backend.usage, len(self.response.ids)
        try:
            return self.doubts.settle(
                ((self.plain, self.plain_ahead), (branch, self.conditional_ahead)),
                lambda distribution, offset: self.chooser.choose(distribution, position + offset),
            )
        finally:
            self._count(Stage.GUIDED, before)

    def _ask(self, branch: TokenSequence | None, stage: Stage) -> None:
        """Ask for what is missing here, and for what drafts lead to, on both branches at once."""
        asked = [(self.plain, self.plain_ahead)]
        if branch is not None:
            asked.append((branch, self.conditional_ahead))
        drafts = self._drafts(asked[-1][0].ids) or [()]
        questions = [
            (ahead, ScoreQuery(sequence, draft))
            for sequence, ahead in asked
            for draft in drafts
            if not ahead.knows(draft)
        ]
        before = self.backend.usage
        try:
            answers = self.backend.score([query for _, query in questions])
        finally:
            self._count(
                Stage.SIGNAL if branch is not None and not self.signal_is_read else stage, before
            )
        self.signal_is_read = True
        for (ahead, query), distributions in zip(questions, answers, strict=True):
            ahead.learn(query.draft, distributions)
        for sequence, ahead in asked:
            ahead.learn(*self.backend.ahead(sequence))

    def _drafts(self, ids: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return what may come next: lines of candidates that still agree, or a guess."""
        capabilities = self.backend.capabilities
        if not self.settings.drafts or not capabilities.scores_drafts:
            return []
        room = self.limit - len(self.response.ids) - 1
        if drafts := line_drafts(self.drafts, self.backend.decode, room):
            return drafts
        if capabilities.goes_ahead:  # one branch may follow the way of the other
            likely = self.conditional_ahead.way[: max(0, room)]
        else:
            likely = repeated_run(ids, min(REPEATED, room))
        return [likely] if likely else []

    def _can_go_on(self, error: ContextOverflowError) -> bool:
        """Answer a context that turned out shorter than its backend could say.

        Returns:
            True after halving the signal; False when nothing is left but to end the response.

        Raises:
            ContextOverflowError: `error`; the bare prompt does not fit.
        """
        if self.guide is not None and self.guide.branch is not None:
            self.signals_cut += not self.guide.signal.cut
            self.room = self.guide.signal.tokens // 2
            signal = self._shortened(self.guide.signal, self.room)
            self.guide = evolve(self.guide, signal=signal, branch=self._conditional(signal))
            return True
        if not self.response.ids:
            raise error
        self.finish = FinishReason.MAX_TOKENS
        return False

    def _take(self, token: int, plain: TokenLogprobs, guided: Guided) -> TokenChoice:
        """Take `token` into the response and into both branches."""
        preferred = plain.argmax()
        preferred_text = self.response.text_with((preferred,))[len(self.response.text) :]
        text = self.response.append(token)
        self.plain.ids += (token,)
        self.plain_ahead.advance(token)
        last_asked = self.plain_ahead
        if self.guide is not None and self.guide.branch is not None:
            self.guide.branch.ids += (token,)
            self.conditional_ahead.advance(token)
            self.doubts.advance(token)
            last_asked = self.conditional_ahead
        self.drafts = [draft[1:] for draft in self.drafts if draft[:1] == (token,)]
        return TokenChoice(
            id=token,
            text=text,
            plain_id=preferred,
            plain_text=preferred_text,
            logprob_plain=plain.logprob(token),
            logprob_guided=guided.distribution.logprob(token),
            drafted=last_asked.here is not None,
        )

    # --- 3. where the response stands ------------------------------------------------------------

    def _line_is_over(self, lines_before: int, *, was_in_code: bool) -> bool:
        if self.response.span.end is not None:
            self.finish = FinishReason.CODE_END
        elif len(self.response.ids) >= self.limit:
            self.finish = FinishReason.MAX_TOKENS
        if self.finish is not None:
            return True
        if self.response.in_code and not was_in_code:
            return True  # guidance starts here, in the middle of a line
        if self.guide is not None and self.settings.unit is GuidanceUnit.TOKEN:
            return True
        return self.response.text.count("\n") > lines_before

    def _token_limit(self) -> int:
        """Response tokens at most: the setting, or what the context leaves behind the prompt."""
        context = self.backend.capabilities.context_length
        if context is None:
            return self.settings.max_tokens
        left = context - len(self.prompt_ids)
        if left < 1:
            raise ContextOverflowError(len(self.prompt_ids) + 1, context)
        return min(self.settings.max_tokens, left)

    def _signal_room(self) -> int | None:
        """Tokens that the model's context leaves for the signal; None: not known."""
        context = self.backend.capabilities.context_length
        if context is None:
            return None
        frame = self.backend.count_tokens(self.prompt.signal_header + self.prompt.signal_footer)
        return max(0, context - len(self.prompt_ids) - self.limit - frame)

    def _shortened(self, signal: Signal, room: int) -> Signal:
        if not self.told_of_room:
            self.told_of_room = True
            logger.warning(
                "task %s: the model's context has room for %d tokens of the signal, not %d; "
                "candidates and traces are left out of it",
                self.problem.task_id,
                room,
                signal.tokens,
            )
        return self.signals.shorten(signal, room)

    def _count(self, stage: Stage, before: Usage) -> None:
        spent = self.backend.usage - before
        self.usage[stage] = self.usage.get(stage, Usage()) + spent
