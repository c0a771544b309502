"""How much a run will ask of a model, before it asks anything: one formula, its assumptions below.

Nobody knows how long a solution will be, so a number from here is right within a factor of
`WITHIN`, as a test against real runs holds it to. Per solution:

* it has `SOLUTION_LINES` lines of `LINE_TOKENS` tokens, or ``max_tokens`` if that is less, and all
  of it is code;
* without guidance (gamma 0) the model is asked once per `TOKENS_AHEAD` tokens where a server lets
  it go on by itself, and once per token by a local backend, which costs no request;
* with guidance there is a signal every ``refresh`` lines (for every token, or once, by ``unit``).
  For each, ``candidates`` are sampled, ``horizon`` lines long (half a solution without a horizon),
  in one request; a server is asked for `SAMPLED_LINE_TOKENS` tokens per line, since it cannot be
  told to stop at a line's end;
* half of the candidates differ as programs; a signal shows each of those as half a solution and,
  for every visible test, `TRACE_TOKENS` tokens of trace (`SHORT_TRACE_TOKENS` of a tracer that
  tells the final state only), within ``signal_tokens``;
* the tokens of a line are decided in `ROUNDS_PER_LINE` rounds where a drafted line is scored as a
  whole (`Scoring.LINES`: local models, servers that echo a prompt's log-probabilities) and a
  candidate reaches as far, else in one round per `GUIDED_TOKENS_AHEAD` tokens. A round is one
  request; it scores the conditional branch and, every other time, the unconditional one, whose
  distributions mostly came with the candidates;
* a request sends its whole prompt, half of the solution included; what a cache answers is sent all
  the same, and how much that is, is the service's secret: nothing is taken for cached.
"""

from __future__ import annotations

import enum
import math

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.interfaces.backend import Usage

__all__ = [
    "CHARS_PER_TOKEN",
    "SHORT_TRACE_TOKENS",
    "TRACE_TOKENS",
    "WITHIN",
    "Scoring",
    "estimate_tokens",
    "estimate_unit",
]

WITHIN = 4.0
SOLUTION_LINES = 6
LINE_TOKENS = 9
SAMPLED_LINE_TOKENS = 16
TRACE_TOKENS = 120
SHORT_TRACE_TOKENS = 20
TOKENS_AHEAD = 8
GUIDED_TOKENS_AHEAD = 3
ROUNDS_PER_LINE = 1.5
BRANCHES = 1.5
CHARS_PER_TOKEN = 3.5
"""Of prompts and code in English, where there is no tokenizer to ask."""


class Scoring(enum.StrEnum):
    """What a backend can score in one question."""

    LINES = "a drafted line"
    TOKENS = "a token or two"


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text takes."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def estimate_unit(
    prompt_tokens: int,
    visible_tests: int,
    settings: DecodingSettings,
    scoring: Scoring,
    *,
    remote: bool,
    trace_tokens: int = TRACE_TOKENS,
) -> Usage:
    """Return about what one solution costs; see the module's docstring.

    Args:
        prompt_tokens: of the unconditional prompt.
        visible_tests: of the problem.
        settings: what it is decoded with.
        scoring: what the backend can score at once.
        remote: whether it sends requests.
        trace_tokens: of what is shown of one execution.
    """
    tokens = min(settings.max_tokens, SOLUTION_LINES * LINE_TOKENS)
    lines = math.ceil(tokens / LINE_TOKENS)
    prompt = prompt_tokens + tokens // 2
    if settings.gamma == 0:
        questions = math.ceil(tokens / TOKENS_AHEAD) if remote else tokens
        return _usage(questions, questions * prompt, tokens, remote=remote)
    signals = _signals(tokens, lines, settings)
    sampled = settings.candidates * _candidate_tokens(tokens, settings, remote=remote)
    programs = math.ceil(settings.candidates / 2)
    signal = min(settings.signal_tokens, programs * (tokens // 2 + visible_tests * trace_tokens))
    drafted = 0
    if scoring is Scoring.LINES and settings.drafts:
        drafted = min(lines, signals * (settings.horizon or lines))
    alone = math.ceil((lines - drafted) * LINE_TOKENS / GUIDED_TOKENS_AHEAD)
    rounds = math.ceil(drafted * ROUNDS_PER_LINE) + alone
    # A draft is scored whether it is accepted or not.
    scored = drafted * ROUNDS_PER_LINE * LINE_TOKENS + alone * GUIDED_TOKENS_AHEAD
    return _usage(
        signals + rounds,
        signals * prompt + math.ceil(rounds * (BRANCHES * prompt + signal)),
        signals * sampled + math.ceil(BRANCHES * scored),
        remote=remote,
    )


def _signals(tokens: int, lines: int, settings: DecodingSettings) -> int:
    match settings.unit:
        case GuidanceUnit.TOKEN:
            return tokens
        case GuidanceUnit.PREFIX:
            return 1
        case GuidanceUnit.LINE:
            return math.ceil(lines / settings.refresh)


def _candidate_tokens(tokens: int, settings: DecodingSettings, *, remote: bool) -> int:
    if settings.horizon is None:
        return tokens // 2
    line = SAMPLED_LINE_TOKENS if remote else LINE_TOKENS
    return min(settings.max_tokens, settings.horizon * line)


def _usage(questions: int, sent: int, generated: int, *, remote: bool) -> Usage:
    return Usage(requests=questions if remote else 0, input_tokens=sent, output_tokens=generated)
