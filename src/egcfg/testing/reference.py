"""The method as its description reads: one token at a time, nothing kept, nothing drafted.

The measuring stick of the fast decoder: slow on purpose, and written apart from it. The same model,
prompt and settings must give the same tokens from both.
"""

from __future__ import annotations

from attrs import evolve

from egcfg.decoding.candidates import CandidatePool
from egcfg.decoding.code import extract_code, find_code
from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.programs import distinct_programs
from egcfg.decoding.sampling import TokenChooser
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.guidance.cfg import guidance_rule
from egcfg.interfaces.backend import LogprobBackend, ScoreQuery, TokenLogprobs
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import SignalEntry

__all__ = ["reference_decode"]


def reference_decode(
    backend: LogprobBackend,
    signals: SignalBuilder,
    problem: Problem,
    prompt: Prompt,
    settings: DecodingSettings,
) -> tuple[int, ...]:
    """Return the response's token ids.

    Every distribution comes from a sequence made for it alone, so that no state of the backend is
    shared between two tokens or two branches. The candidates come from the same pool as the
    decoder's: they are part of what is compared, not of how fast it is had. For models without a
    limit on the context, and without `DecodingSettings.partial`.

    Raises:
        BackendError: the model did not answer.
        SandboxError: the sandbox failed twice on the same program.
    """
    rule = guidance_rule(settings.rule)
    chooser = TokenChooser(settings.guided_temperature, settings.seed, problem.task_id)
    undrafted = evolve(settings, drafts=False)
    pool = CandidatePool(backend, problem, prompt, undrafted, settings.max_tokens)
    plain_prompt = backend.encode(prompt.unconditional())
    conditional_prompt: tuple[int, ...] | None = None
    ids: tuple[int, ...] = ()
    line = ""
    lines_since_refresh = 0
    started = False
    shown: tuple[SignalEntry, ...] = ()
    while len(ids) < settings.max_tokens:
        text = prompt.response_prefix + backend.decode(ids)
        span = find_code(text, prompt.layout, problem.entry_point, prompt.given_code)
        if span.end is not None:
            break
        guided = settings.gamma != 0.0 and span.guidance_start is not None
        due = (
            not started
            or {
                GuidanceUnit.TOKEN: True,
                GuidanceUnit.PREFIX: False,
                GuidanceUnit.LINE: lines_since_refresh >= settings.refresh,
            }[settings.unit]
        )
        if guided and due:
            started, line, lines_since_refresh = True, "", 0
            pool.refresh(backend.start(plain_prompt + ids), ids, text)
            programs = distinct_programs(
                (
                    extract_code(
                        text + candidate.text,
                        prompt.layout,
                        problem.entry_point,
                        prompt.given_code,
                    )
                    for candidate in pool.candidates
                ),
                problem.entry_point,
            )
            signal = signals.build(problem, programs, settings.signal_tokens, shown)
            shown = signal.entries
            conditional_prompt = backend.encode(prompt.conditional(signal.text))

        distribution = _next(backend, plain_prompt + ids)
        if guided and conditional_prompt is not None:
            conditional = _next(backend, conditional_prompt + ids)
            distribution = rule(distribution, conditional, settings.gamma).distribution
        token = chooser.choose(distribution, len(ids))
        if token in backend.end_ids:
            break
        ids += (token,)
        added = (prompt.response_prefix + backend.decode(ids))[len(text) :]
        line += added
        if "\n" in added:
            lines_since_refresh += bool(line.strip())
            line = ""
    return ids


def _next(backend: LogprobBackend, ids: tuple[int, ...]) -> TokenLogprobs:
    [[distribution]] = backend.score([ScoreQuery(backend.start(ids))])
    return distribution
