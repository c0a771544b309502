"""The line loop of execution-guided decoding: one generator that yields a step per line.

Knows nothing about models (it speaks token ids to a `LogprobBackend`) nor about how programs are
run or worded. The stages of one line:

1. refresh the signal: sample candidates from the unconditional branch, run them, fill the slot;
2. decide the line's tokens by the guidance rule, with the candidates as free drafts;
3. see whether the response has reached its code, or its end.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Generator, Sequence

from attrs import evolve, frozen

from egcfg.backend import (
    Continuation,
    LogprobBackend,
    SampleQuery,
    SamplingParams,
    ScoreQuery,
    TokenLogprobs,
    TokenSequence,
    Usage,
)
from egcfg.errors import ContextOverflowError
from egcfg.guidance import Guided, guidance_rule
from egcfg.problem import Problem
from egcfg.programs import Program, distinct_programs
from egcfg.prompt import CodeLayout, Prompt
from egcfg.response import Response
from egcfg.settings import DecodingSettings, GuidanceUnit
from egcfg.signal import SignalBuilder
from egcfg.solution import FinishReason, Generation, LineStep, Signal, Stage, TokenChoice

__all__ = ["Decoder", "candidate_params"]

logger = logging.getLogger(__name__)

LINE_TOKENS = 96
"""Room for one line of a candidate; a longer line is cut there, which only shortens its program."""

STOPS = {
    CodeLayout.FENCED: ("\n```",),
    CodeLayout.COMPLETION: ("\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\n```"),
}
"""Texts behind which nothing of a candidate is wanted."""

WHOLE_PROGRAM_STOPS = ("\n```",)
"""The same where no function is asked for, so that none can be over."""


def candidate_params(
    settings: DecodingSettings, problem: Problem, prompt: Prompt, position: int, limit: int
) -> SamplingParams:
    """Return how the candidates behind `position` of at most `limit` response tokens are drawn.

    Their seed is one of its own for every task and position, the same in every run and process.
    """
    room = limit - position
    horizon = settings.horizon
    return SamplingParams(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=room if horizon is None else min(room, LINE_TOKENS * horizon),
        max_lines=horizon,
        stop=STOPS[prompt.layout] if problem.entry_point else WHOLE_PROGRAM_STOPS,
        seed=zlib.crc32(f"{settings.seed}/{problem.task_id}/{position}".encode()),
    )


@frozen
class _Guide:
    """What guides the tokens until the next refresh.

    Attributes:
        signal: the signal behind it.
        branch: the conditional branch; None where the signal is empty, so that both are the same.
        drafts: the sampled candidates, as token ids behind the response at the refresh.
        start: how many response tokens there were at the refresh.
        fresh_for: index of the step that it was made for.
    """

    signal: Signal
    branch: TokenSequence | None
    drafts: tuple[tuple[int, ...], ...]
    start: int
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
        self.prompt_ids = backend.encode(prompt.unconditional())
        self.plain = backend.start(self.prompt_ids, "unconditional")
        self.response = Response(backend, problem, prompt)
        self.limit = self._token_limit()
        self.signal_budget = self._signal_budget() if settings.gamma != 0.0 else 0
        self.guide: _Guide | None = None
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
        settings, response = self.settings, self.response
        params = candidate_params(
            settings, self.problem, self.prompt, len(response.ids), self.limit
        )
        before = self.backend.usage
        query = SampleQuery(self.plain, settings.candidates, params)
        try:
            [candidates] = self.backend.sample([query])
        except ContextOverflowError:
            candidates = []  # no room to look ahead, perhaps still for the line itself
        self._count(Stage.SAMPLING, before)

        started = time.perf_counter()
        signal = self.signals.build(self.problem, self._programs(candidates), self.signal_budget)
        self.execution_seconds += time.perf_counter() - started
        drafts = tuple(dict.fromkeys(c.ids for c in candidates if c.ids))
        return _Guide(signal, self._conditional(signal), drafts, len(response.ids), index)

    def _programs(self, candidates: Sequence[Continuation]) -> list[Program]:
        response = self.response
        programs = distinct_programs(
            (response.program(c.text) for c in candidates),
            self.problem.entry_point,
        )
        if not self.settings.partial:
            return programs
        so_far = distinct_programs([response.program()], self.problem.entry_point)
        return [Program(p.source, samples=0) for p in so_far] + [
            p for p in programs if all(p.source != s.source for s in so_far)
        ]

    def _conditional(self, signal: Signal) -> TokenSequence | None:
        """Return the conditional branch for `signal`, on the state of the previous one."""
        if not signal.text:
            return None
        ids = self.backend.encode(self.prompt.conditional(signal.text)) + self.response.ids
        branch = self.guide.branch if self.guide else None
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
            draft = self._draft()
            before = self.backend.usage
            try:
                plain, conditional = self._score(draft)
            except ContextOverflowError as error:
                if self._can_go_on(error):
                    continue
                return tokens
            self._count(stage, before)
            for position, distribution in enumerate(plain):
                guided = self._guided(distribution, conditional[position] if conditional else None)
                token = guided.distribution.argmax()
                if token in self.backend.end_ids:
                    self.finish = FinishReason.END_OF_SEQUENCE
                    return tokens
                self.uncertain += not guided.certain
                accepted = position < len(draft) and draft[position] == token
                tokens.append(self._choose(token, distribution, guided, drafted=accepted))
                if self._line_is_over(lines_before, was_in_code=was_in_code):
                    return tokens
                if not accepted:
                    break  # what was scored behind another token is of no use

    def _can_go_on(self, error: ContextOverflowError) -> bool:
        """Answer a context that turned out shorter than its backend could say.

        Returns:
            True after halving the signal; False when nothing is left but to end the response.

        Raises:
            ContextOverflowError: `error`; the bare prompt does not fit.
        """
        if self.guide is not None and self.guide.branch is not None:
            self.signals_cut += not self.guide.signal.cut
            self.signal_budget = self.guide.signal.tokens // 2
            signal = self.signals.shorten(self.guide.signal, self.signal_budget)
            self.guide = evolve(self.guide, signal=signal, branch=self._conditional(signal))
            return True
        if not self.response.ids:
            raise error
        self.finish = FinishReason.MAX_TOKENS
        return False

    def _draft(self) -> tuple[int, ...]:
        """Return the rest of this line in the first candidate that still agrees, if any."""
        guide = self.guide
        if guide is None or not self.settings.drafts:
            return ()
        if not self.backend.capabilities.scores_drafts:
            return ()
        decided = self.response.ids[guide.start :]
        room = self.limit - len(self.response.ids) - 1
        for draft in guide.drafts:
            if draft[: len(decided)] == decided:
                rest = self._to_line_end(draft[len(decided) :][: max(0, room)])
                if rest:
                    return rest
        return ()

    def _to_line_end(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        lines = self.response.text.count("\n")
        for end in range(1, len(ids) + 1):
            if self.response.text_with(ids[:end]).count("\n") > lines:
                return ids[:end]
        return ids

    def _score(
        self, draft: tuple[int, ...]
    ) -> tuple[list[TokenLogprobs], list[TokenLogprobs] | None]:
        queries = [ScoreQuery(self.plain, draft)]
        if self.guide is not None and self.guide.branch is not None:
            queries.append(ScoreQuery(self.guide.branch, draft))
        scores = self.backend.score(queries)
        return scores[0], scores[1] if len(scores) > 1 else None

    def _guided(self, plain: TokenLogprobs, conditional: TokenLogprobs | None) -> Guided:
        if conditional is None:
            return Guided(plain)
        return self.rule(plain, conditional, self.settings.gamma)

    def _choose(
        self, token: int, plain: TokenLogprobs, guided: Guided, *, drafted: bool
    ) -> TokenChoice:
        """Take `token` into the response and into both branches."""
        preferred = plain.argmax()
        preferred_text = self.response.text_with((preferred,))[len(self.response.text) :]
        text = self.response.append(token)
        self.plain.ids += (token,)
        if self.guide is not None and self.guide.branch is not None:
            self.guide.branch.ids += (token,)
        return TokenChoice(
            id=token,
            text=text,
            plain_id=preferred,
            plain_text=preferred_text,
            logprob_plain=plain.logprob(token),
            logprob_guided=guided.distribution.logprob(token),
            drafted=drafted,
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

    def _signal_budget(self) -> int:
        """Tokens that the signal may take: its own budget, or what the model's context leaves."""
        context = self.backend.capabilities.context_length
        if context is None:
            return self.settings.signal_tokens
        frame = self.backend.count_tokens(self.prompt.signal_header + self.prompt.signal_footer)
        left = context - len(self.prompt_ids) - self.limit - frame
        if left < self.settings.signal_tokens:
            logger.warning(
                "task %s: the model's context leaves %d tokens for the signal, not %d",
                self.problem.task_id,
                max(0, left),
                self.settings.signal_tokens,
            )
        return max(0, min(self.settings.signal_tokens, left))

    def _count(self, stage: Stage, before: Usage) -> None:
        spent = self.backend.usage - before
        self.usage[stage] = self.usage.get(stage, Usage()) + spent
