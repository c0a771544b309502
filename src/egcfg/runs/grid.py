"""What a run is to do: every problem in every configuration at every gamma."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

import attrs
from attrs import field, frozen

from egcfg.errors import ConfigError
from egcfg.interfaces.problem import Problem
from egcfg.runs.config_string import SignalConfig

__all__ = ["Grid", "Unit", "problem_sha256"]


def _all_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problems)


def _distinct_configs(configs: Iterable[SignalConfig]) -> tuple[SignalConfig, ...]:
    return tuple(dict.fromkeys(configs))


def _distinct_numbers(numbers: Iterable[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(number) for number in numbers))


@frozen(kw_only=True)
class Unit:
    """One problem in one configuration at one gamma: what is claimed, solved and written as one.

    Attributes:
        problem: what to solve.
        config: how signals are made.
        gamma: guidance strength.
    """

    problem: Problem
    config: SignalConfig
    gamma: float

    def __str__(self) -> str:
        return f"task {self.problem.task_id}, {self.config}, gamma {self.gamma:g}"


@frozen(kw_only=True)
class Grid:
    """The units of a run, problem by problem so that every row of a table fills evenly.

    At gamma 0 the signal has no say, so that configurations of the same prompt give the same text:
    it is decoded in the first of them only.

    Attributes:
        problems: in the order in which to solve them; task ids without repeats.
        configs: the configurations; repeats are dropped.
        gammas: guidance strengths, in the order in which to try them; repeats are dropped.
    """

    problems: tuple[Problem, ...] = field(converter=_all_problems)
    configs: tuple[SignalConfig, ...] = field(converter=_distinct_configs)
    gammas: tuple[float, ...] = field(converter=_distinct_numbers)

    def __attrs_post_init__(self) -> None:
        for name in ("problems", "configs", "gammas"):
            if not getattr(self, name):
                raise ConfigError(f"nothing to run: no {name} were given")
        seen: set[str] = set()
        for problem in self.problems:
            if problem.task_id in seen:
                raise ConfigError(f"two problems have the task id {problem.task_id!r}; rename one")
            seen.add(problem.task_id)
        for gamma in self.gammas:
            self.configs[0].settings(gamma=gamma)

    def __iter__(self) -> Iterator[Unit]:
        choices = self._choices()
        for problem in self.problems:
            for config, gamma in choices:
                yield Unit(problem=problem, config=config, gamma=gamma)

    def __len__(self) -> int:
        return len(self.problems) * len(self._choices())

    def _choices(self) -> list[tuple[SignalConfig, float]]:
        first_of_prompt: dict[str, SignalConfig] = {}
        for config in self.configs:
            first_of_prompt.setdefault(config.prompt, config)
        return [
            (config, gamma)
            for config in self.configs
            for gamma in self.gammas
            if gamma != 0 or config is first_of_prompt[config.prompt]
        ]


def problem_sha256(problem: Problem) -> str:
    """Return a fingerprint of everything in `problem` that a text or a verdict depends on."""
    # Without the fields that are at their defaults, so that a new one changes no fingerprint.
    content = attrs.asdict(problem, filter=lambda attribute, value: value != attribute.default)
    # Two kinds of test may have equal fields.
    kinds = [type(test).__name__ for test in (*problem.visible_tests, *problem.hidden_tests)]
    return hashlib.sha256(json.dumps([content, kinds], sort_keys=True).encode()).hexdigest()
