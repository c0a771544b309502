"""About how much one solution will ask of a model, from the length of its prompt.

Nobody knows how long a solution will be, nor how far a server goes on by itself or a draft reaches,
so this tells the order of magnitude and no more. Assumed is that

* a solution has `LINES` lines of `LINE_TOKENS` tokens, or ``max_tokens`` if that is less, all code;
* each line is decided in `ROUNDS_PER_LINE` rounds, each of which sends the prompt and what was
  written, with guidance for both branches;
* for a signal ``candidates`` are sampled in one more round; half of them differ as programs, and
  each shows half a solution and `TRACE_TOKENS` tokens of trace for every visible test;
* nothing is taken from a cache.
"""

from __future__ import annotations

import math

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.interfaces.usage import Usage

__all__ = ["estimate_tokens", "estimate_unit"]

LINES = 6
LINE_TOKENS = 9
ROUNDS_PER_LINE = 3
TRACE_TOKENS = 100
CHARS_PER_TOKEN = 3.5
"""Of prompts and code in English."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text takes."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def estimate_unit(prompt_tokens: int, visible_tests: int, settings: DecodingSettings) -> Usage:
    """Return about what one solution costs; its `requests` are rounds with the model.

    Args:
        prompt_tokens: of the unconditional prompt.
        visible_tests: of the problem.
        settings: what it is decoded with.
    """
    tokens = min(settings.max_tokens, LINES * LINE_TOKENS)
    lines = math.ceil(tokens / LINE_TOKENS)
    rounds = lines * ROUNDS_PER_LINE
    prompt = prompt_tokens + tokens // 2
    if settings.gamma == 0:
        return Usage(requests=rounds, input_tokens=rounds * prompt, output_tokens=tokens)
    signals = {
        GuidanceUnit.LINE: math.ceil(lines / settings.signal_interval),
        GuidanceUnit.TOKEN: tokens,
        GuidanceUnit.PREFIX: 1,
    }[settings.unit]
    candidate = min(settings.horizon or lines // 2, lines) * LINE_TOKENS
    programs = math.ceil(settings.candidates / 2)
    shown = programs * (tokens // 2 + visible_tests * TRACE_TOKENS)
    signal = min(settings.signal_tokens, shown)
    return Usage(
        requests=signals + rounds,
        input_tokens=signals * prompt + rounds * (2 * prompt + signal),
        output_tokens=signals * settings.candidates * candidate + 2 * tokens,
    )
