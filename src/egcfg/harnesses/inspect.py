"""inspect_ai: the models ``egcfg/NAME`` and the solver ``egcfg/solve``, by its entry point.

``inspect eval TASK --model egcfg/default --solver egcfg/solve -M gamma=1.0``. The model answers the
last message of a chat, and sees the tests that this shows. The solver asks the same model with the
sample's metadata, where that is a record of a known shape, and so with its visible tests. Usage and
the model's events are inspect's own; the solution with its verdicts is in the output's metadata.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import ToolChoice, ToolInfo

from egcfg.errors import DataError, UsageError
from egcfg.harnesses.model import Ask, HarnessModel, harness_config
from egcfg.harnesses.prompts import problem_from_prompt
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import FinishReason, Solution

__all__ = ["EgcfgAPI", "solve"]

logger = logging.getLogger(__name__)

CONFIGURED = "default"
"""The name of the model that ``egcfg.toml``, the environment or the backend says."""

_problem: ContextVar[Problem | None] = ContextVar("egcfg_problem", default=None)
"""What the solver asks: a chat has no place for it."""


class EgcfgAPI(ModelAPI):
    """A model that writes programs and watches them run.

    Args:
        model_name: the setting ``model``; ``default``: as configured elsewhere.
        base_url: the setting of that name.
        api_key: not used: keys come from the environment.
        config: the harness's settings of all calls; each call has them, too.
        seconds: how long each answer may take; the best one by then stands.
        values: further settings such as ``gamma`` and ``decoder_tests``, and options of components
            such as ``backend.weights`` (`egcfg.harnesses.model.harness_config`).

    Raises:
        UsageError: a setting is unknown or wrong, or there are several configurations.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - as the base class has it
        seconds: float | None = None,
        **values: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if model_name != CONFIGURED:
            values["model"] = model_name
        if base_url is not None:
            values["base_url"] = base_url
        self.seconds = seconds
        self.model = HarnessModel(harness_config(values))
        logger.info("%s", self.model)

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - the harness's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002 - there are no tools
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer the last message with a fenced program, or with several.

        Raises:
            DataError: it shows no function to write.
            EgcfgError: as `egcfg.Engine.solve_steps`.
        """
        if tools:
            raise UsageError("egcfg writes programs and calls no tools; leave the tools out")
        problem = _problem.get()
        if problem is None:
            problem = self.model.as_seen(problem_from_prompt(input[-1].text))
        ask = Ask(
            problem=problem,
            n=config.num_choices or 1,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            seed=config.seed,
            seconds=self.seconds,
        )
        return self._output(await self.model.answer(ask))

    def max_connections(self) -> int:
        """How many samples the harness works on at once, unless it is told."""
        return self.model.config.concurrency or super().max_connections()

    def _output(self, solutions: list[Solution]) -> ModelOutput:
        if not solutions:
            return ModelOutput.from_content(self.model_name, "", stop_reason="model_length")
        usage = [solution.generation.total_usage for solution in solutions]
        fresh = sum(each.uncached_tokens for each in usage)
        cached = sum(each.cached_tokens for each in usage)
        written = sum(each.output_tokens for each in usage)
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=f"```python\n{each.code.rstrip()}\n```",
                        model=self.model_name,
                        source="generate",
                    ),
                    stop_reason="max_tokens"
                    if each.generation.finish is FinishReason.MAX_TOKENS
                    else "stop",
                )
                for each in solutions
            ],
            usage=ModelUsage(
                input_tokens=fresh,
                input_tokens_cache_read=cached,
                output_tokens=written,
                total_tokens=fresh + cached + written,
            ),
            metadata={
                "egcfg": self.model.told,
                "solutions": [json.loads(each.to_json()) for each in solutions],
            },
        )


@modelapi("egcfg")
def registered() -> type[ModelAPI]:
    """Return the class of the models; the decorator would put a function in its place."""
    return EgcfgAPI


@solver
def solve(problem: Callable[[TaskState], Problem] | None = None) -> Solver:
    """Let the model ``egcfg/NAME`` solve the sample, with the visible tests in its metadata.

    Args:
        problem: makes the problem of a sample, such as of metadata of a shape of one's own. None:
            the metadata is a record of a known shape (`egcfg.problem_from`), or else the prompt
            shows the function to write.
    """

    async def answered(state: TaskState, generate: Generate) -> TaskState:
        api = get_model().api
        if not isinstance(api, EgcfgAPI):
            raise UsageError(
                f"the solver egcfg/solve asks a model of egcfg, not {state.model}; "
                f"give --model egcfg/{CONFIGURED}, or egcfg/ with a model's name"
            )
        asked = api.model.as_seen(problem(state)) if problem else _problem_of(api, state)
        seen = [test.name for test in asked.visible_tests]
        transcript().info(api.model.told | {"tests_seen": seen}, source="egcfg")
        token = _problem.set(asked)
        try:
            return await generate(state)
        finally:
            _problem.reset(token)

    return answered


def _problem_of(api: EgcfgAPI, state: TaskState) -> Problem:
    task_id = str(state.sample_id)
    try:
        # Some records leave the wording to the input.
        return api.model.problem({"task_id": task_id, "prompt": state.input_text, **state.metadata})
    except DataError as error:
        try:
            problem = problem_from_prompt(state.input_text, task_id)
        except DataError as no_prompt:
            raise DataError(f"{no_prompt} (its metadata: {error})") from error
        logger.warning("sample %s is read from its prompt: %s", task_id, error)
        return api.model.as_seen(problem)
