"""The method as its description reads: one token at a time, nothing kept, nothing drafted.

The measuring stick of the fast decoder, slow on purpose: the same model, prompt and settings must
give the same tokens from both. The loop, the choice of the likeliest token, the candidates sampled
anew for each signal, and what of a fenced answer is code are written here apart from the decoder.
These parts are shared, since a second version would be as long as the first, and have tests of
their own:

- `Feedback`, `distinct_programs` and the guidance rule: what candidates are run, and what is told;
- `Sampler`, where guided tokens are drawn: both must draw the same random numbers;
- `CandidatePool`, where candidates are reused: which of them live on, and what extends them;
- `Response`, where the prompt does not open the fence: an answer of prose and several blocks.
"""

from __future__ import annotations

import ast
import re
import zlib
from contextlib import suppress

from attrs import frozen

from egcfg.decoding.candidates import LINE_TOKENS, STOPS, WHOLE_PROGRAM_STOPS, CandidatePool
from egcfg.decoding.code import Response, distinct_programs
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.sampling import Sampler
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.interfaces.backend import Logprobs, SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.interfaces.solution import SignalEntry, Stage
from egcfg.plugins.component import OpenComponent
from egcfg.usage.model import Model

__all__ = ["reference_decode"]


async def reference_decode(
    model: Model,
    feedback: Feedback,
    rule: OpenComponent,
    problem: Problem,
    prompt: Prompt,
    settings: DecodingSettings,
) -> tuple[int, ...]:
    """Return the response's token ids.

    Every distribution is asked for alone. For models without a limit on the context, and without
    `DecodingSettings.partial`.

    Raises:
        BackendError: the model did not answer.
        SandboxError: the sandbox runs no program, not even an empty one.
    """
    sampler = Sampler(settings.guided_temperature, settings.seed, problem.task_id)
    pool = CandidatePool(model, problem, prompt, settings, settings.max_tokens)
    unconditional_prompt = await model.encode(prompt.unconditional())
    conditional_prompt: tuple[int, ...] | None = None
    ids: tuple[int, ...] = ()
    line = ""
    lines_since_signal = 0
    started = False
    shown: tuple[SignalEntry, ...] = ()
    while len(ids) < settings.max_tokens:
        text = prompt.response_prefix + await model.decode(ids)
        response = _read(text, model, problem, prompt)
        if response.over:
            break
        guided = settings.gamma != 0.0 and response.in_code
        due = (
            not started
            or {
                GuidanceUnit.TOKEN: True,
                GuidanceUnit.PREFIX: False,
                GuidanceUnit.LINE: lines_since_signal >= settings.signal_interval,
            }[settings.unit]
        )
        if guided and due:
            started, line, lines_since_signal = True, "", 0
            if settings.reuse_candidates:
                await pool.resample(unconditional_prompt, ids, text)
                texts = [candidate.text for candidate in pool.candidates]
            else:
                params = _sampling(len(ids), problem, prompt, settings)
                request = SampleRequest(unconditional_prompt + ids, settings.candidates, params)
                [sampled] = await model.sample([request])
                texts = [continuation.text for continuation in sampled]
            programs = distinct_programs(map(response.program_with, texts), problem.entry_point)
            signal = await feedback.signal(problem, programs, settings.signal_tokens, shown)
            shown = signal.entries
            conditional_prompt = await model.encode(prompt.conditional(signal.text))

        distribution = await _next(model, unconditional_prompt + ids)
        if guided and conditional_prompt is not None:
            conditional = await _next(model, conditional_prompt + ids)
            guided_by = rule.ask("mix", distribution, conditional, settings.gamma)
            distribution = guided_by.distribution
        greedy = settings.guided_temperature == 0.0
        token = distribution.argmax() if greedy else sampler.choose(distribution, len(ids))
        if token in model.end_ids:
            break
        ids += (token,)
        added = (prompt.response_prefix + await model.decode(ids))[len(text) :]
        line += added
        if "\n" in added:
            lines_since_signal += bool(line.strip())
            line = ""
    return ids


async def _next(model: Model, ids: tuple[int, ...]) -> Logprobs:
    [[distribution]] = await model.score([ScoreRequest(ids)], Stage.GUIDED)
    return distribution


def _sampling(
    position: int, problem: Problem, prompt: Prompt, settings: DecodingSettings
) -> SamplingParams:
    """Return how candidates are sampled anew after `position` tokens of the response."""
    left = settings.max_tokens - position
    horizon = settings.horizon
    return SamplingParams(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=left if horizon is None else min(left, LINE_TOKENS * horizon),
        max_lines=horizon,
        stop=STOPS[prompt.layout] if problem.entry_point else WHOLE_PROGRAM_STOPS,
        seed=zlib.crc32(f"{settings.seed}/{problem.task_id}/{position}".encode()),
    )


@frozen
class _Block:
    """An answer that begins inside a fence: its code ends where a line closes that."""

    text: str
    entry_point: str

    @property
    def in_code(self) -> bool:
        code, *closed = self._parts(self.text)
        return not closed and self._opening.search(code) is not None

    @property
    def over(self) -> bool:
        code, *closed = self._parts(self.text)
        with suppress(SyntaxError, ValueError):
            return bool(closed) and any(map(self._is_written, ast.parse(code).body))
        return False

    def _is_written(self, statement: ast.stmt) -> bool:
        """Whether it is the function that was asked for, with a body that is more than a stub's."""
        if not isinstance(statement, ast.FunctionDef) or statement.name != self.entry_point:
            return False
        kinds = {
            type(each.value if isinstance(each, ast.Expr) else each) for each in statement.body
        }
        raises = "raise NotImplementedError" in ast.unparse(statement)
        return bool(kinds - {ast.Pass, ast.Constant, *([ast.Raise] if raises else [])})

    def program_with(self, continuation: str) -> str:
        return self._parts(self.text + continuation)[0]

    @property
    def _opening(self) -> re.Pattern[str]:
        return re.compile(rf"^def {self.entry_point}\(", re.MULTILINE)

    def _parts(self, text: str) -> list[str]:
        """Return the code and, where a line closes it, what comes after.

        A fence that is stuck to a line of code ends the code, but not yet the answer.
        """
        code, *after = re.split(r"^ {0,3}```", text.partition("\n")[2], maxsplit=1, flags=re.M)
        return [code.partition("```")[0], *after]


def _read(text: str, model: Model, problem: Problem, prompt: Prompt) -> _Block | Response:
    opened = prompt.layout is CodeLayout.FENCED and prompt.response_prefix.startswith("```")
    if opened and problem.entry_point and not prompt.given_code:
        return _Block(text, problem.entry_point)
    response = Response(model, problem, prompt)
    response.read(text)
    return response
