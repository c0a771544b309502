"""What a run is to do: every problem in every configuration at every gamma."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import attrs
from attrs import field, frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import ConfigError
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.runs.config_string import METHOD_MARK, SignalConfig, options_text

__all__ = ["Grid", "MethodConfig", "Unit", "problem_sha256"]


def _all_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problems)


def _distinct_configs(configs: Iterable[SignalConfig]) -> tuple[SignalConfig, ...]:
    return tuple(dict.fromkeys(configs))


def _distinct_numbers(numbers: Iterable[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(number) for number in numbers))


@frozen(kw_only=True)
class MethodConfig:
    """A method that is a unit's whole work, with what it may choose from.

    Attributes:
        name: the method's.
        options: those that are not at their defaults, as they are written.
        configs: the configurations, in their order.
        gammas: guidance strengths, in their order.
    """

    name: str
    options: Mapping[str, str] = field(factory=dict, hash=False)
    configs: tuple[SignalConfig, ...]
    gammas: tuple[float, ...]

    @property
    def prompt(self) -> str:
        """Name of the first configuration's prompt builder."""
        return self.configs[0].prompt

    def configurations(self, base: DecodingSettings) -> tuple[Configuration, ...]:
        """Return every configuration at every gamma, given what they do not say."""
        return tuple(
            Configuration(settings=config.settings(base, gamma=gamma), prompt=config.prompt)
            for config in self.configs
            for gamma in self.gammas
        )

    def __str__(self) -> str:
        return f"{METHOD_MARK}{self.name}".replace("/", "_") + options_text(self.options)


@frozen(kw_only=True)
class Unit:
    """One problem in one configuration at one gamma, or by one method: what is claimed, solved and
    written as one.

    Attributes:
        problem: what to solve.
        config: how signals are made, or the method.
        gamma: guidance strength; None for a method.
    """

    problem: Problem
    config: SignalConfig | MethodConfig
    gamma: float | None

    def configurations(self, base: DecodingSettings) -> tuple[Configuration, ...]:
        """Return what the unit is solved with, given what the grid does not say."""
        if isinstance(self.config, MethodConfig):
            return self.config.configurations(base)
        settings = self.config.settings(base, gamma=self.gamma)
        return (Configuration(settings=settings, prompt=self.config.prompt),)

    def __str__(self) -> str:
        gamma = "" if self.gamma is None else f", gamma {self.gamma:g}"
        return f"task {self.problem.task_id}, {self.config}{gamma}"


@frozen(kw_only=True)
class Grid:
    """The units of a run, problem by problem so that every row of a table fills evenly; or cheap
    ones first: row by row, those of gamma 0 before all others, so that rows fill completely.

    At gamma 0 the signal has no say, so that configurations of the same prompt give the same text:
    it is decoded in the first of them only.

    Attributes:
        problems: in the order in which to solve them; task ids without repeats.
        configs: the configurations; repeats are dropped.
        gammas: guidance strengths, in the order in which to try them; repeats are dropped.
        method: a method whose work on a problem is one unit; None: each configuration and gamma is.
        method_options: its options that are not at their defaults.
        cheap_first: whether it is row by row.
    """

    problems: tuple[Problem, ...] = field(converter=_all_problems)
    configs: tuple[SignalConfig, ...] = field(converter=_distinct_configs)
    gammas: tuple[float, ...] = field(converter=_distinct_numbers)
    method: str | None = None
    method_options: Mapping[str, str] = field(factory=dict)
    cheap_first: bool = False

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
        if self.cheap_first:
            choices.sort(key=lambda choice: choice[1] != 0)
            pairs = [(problem, choice) for choice in choices for problem in self.problems]
        else:
            pairs = [(problem, choice) for problem in self.problems for choice in choices]
        for problem, (config, gamma) in pairs:
            yield Unit(problem=problem, config=config, gamma=gamma)

    def __len__(self) -> int:
        return len(self.problems) * len(self._choices())

    @property
    def rows(self) -> tuple[SignalConfig | MethodConfig, ...]:
        """What has a results folder of its own each."""
        return tuple(dict.fromkeys(config for config, _ in self._choices()))

    def _choices(self) -> list[tuple[SignalConfig | MethodConfig, float | None]]:
        if self.method is not None:
            whole = MethodConfig(
                name=self.method,
                options=self.method_options,
                configs=self.configs,
                gammas=self.gammas,
            )
            return [(whole, None)]
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
