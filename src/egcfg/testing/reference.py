"""The method as its description reads: one token at a time, nothing kept, nothing drafted.

The measuring stick of the fast decoder: slow on purpose, and written apart from it. The same model,
prompt and settings must give the same tokens from both.
"""

from __future__ import annotations

from attrs import evolve

from egcfg.decoding.candidates import CandidatePool
from egcfg.decoding.code import Response, distinct_programs
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.sampling import Sampler
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.guidance import guidance_rule
from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import SignalEntry, Stage
from egcfg.usage.model import Model

__all__ = ["reference_decode"]


async def reference_decode(
    model: Model,
    feedback: Feedback,
    problem: Problem,
    prompt: Prompt,
    settings: DecodingSettings,
) -> tuple[int, ...]:
    """Return the response's token ids.

    Every distribution is asked for alone. The candidates come from the same pool as the decoder's:
    they are part of what is compared, not of how fast it is obtained. For models without a limit on
    the context, and without `DecodingSettings.partial`.

    Raises:
        BackendError: the model did not answer.
        SandboxError: the sandbox runs no program, not even an empty one.
    """
    rule = guidance_rule(settings.rule)
    sampler = Sampler(settings.guided_temperature, settings.seed, problem.task_id)
    undrafted = evolve(settings, drafts=False)
    pool = CandidatePool(model, problem, prompt, undrafted, settings.max_tokens)
    unconditional_prompt = await model.encode(prompt.unconditional())
    conditional_prompt: tuple[int, ...] | None = None
    ids: tuple[int, ...] = ()
    line = ""
    lines_since_signal = 0
    started = False
    shown: tuple[SignalEntry, ...] = ()
    while len(ids) < settings.max_tokens:
        text = prompt.response_prefix + await model.decode(ids)
        response = Response(model, problem, prompt)
        response.read(text)
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
            await pool.resample(unconditional_prompt, ids, text)
            programs = distinct_programs(
                (response.program_with(candidate.text) for candidate in pool.candidates),
                problem.entry_point,
            )
            signal = await feedback.signal(problem, programs, settings.signal_tokens, shown)
            shown = signal.entries
            conditional_prompt = await model.encode(prompt.conditional(signal.text))

        distribution = await _next(model, unconditional_prompt + ids)
        if guided and conditional_prompt is not None:
            conditional = await _next(model, conditional_prompt + ids)
            distribution = rule(distribution, conditional, settings.gamma).distribution
        token = sampler.choose(distribution, len(ids))
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
