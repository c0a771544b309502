"""lm-evaluation-harness: the model ``egcfg``, for tasks whose answers are programs.

Importing this module registers it, for ``lm_eval.simple_evaluate(model="egcfg", ...)``;
``egcfg lm-eval`` does the same from the command line.

A document is read as a record of its data set (`egcfg.problem_from`), whatever the task's template
makes of it: the wording is that of the configured prompt builder. A task's stop sequences are not
applied: they end models that do not know where their program ends, and would cut a helper function
that follows the answer.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from attrs import asdict
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from egcfg.errors import DataError, UsageError
from egcfg.harnesses.model import Ask, HarnessModel, harness_config
from egcfg.harnesses.prompts import problem_from_prompt
from egcfg.interfaces.problem import Problem

__all__ = ["EgcfgLM"]

logger = logging.getLogger(__name__)


@register_model("egcfg")
class EgcfgLM(LM):
    """Answers requests for programs; others are refused.

    Args:
        seconds: how long each answer may take; the best one by then stands.
        batch_size: not used; the setting ``concurrency`` says how many tasks are worked on at once.
        max_batch_size: likewise.
        values: settings such as ``model``, ``gamma``, ``decoder_tests``, and options of components
            such as ``backend.weights`` (`egcfg.harnesses.model.harness_config`).

    Raises:
        UsageError: a setting is unknown or wrong, or there are several configurations.
    """

    def __init__(
        self,
        *,
        seconds: float | None = None,
        batch_size: int | str | None = None,  # noqa: ARG002 - the harness passes it, 1 by default
        max_batch_size: int | None = None,  # noqa: ARG002 - likewise
        **values: Any,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.model = HarnessModel(harness_config(values))
        logger.info("%s", self.model)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return one answer per request; the same request again is answered with the next seed.

        Raises:
            DataError: a document is no programming task.
            EgcfgError: as `egcfg.Engine.solve_steps`.
        """
        repeats: Counter[int] = Counter()
        asks = []
        for request in requests:
            asks.append(self._ask(request, repeats[id(request)]))
            repeats[id(request)] += 1
        with tqdm(total=len(asks), desc="egcfg", disable=disable_tqdm) as bar:
            found = self.model.answers(asks, lambda _: bar.update())
        answers = []
        for request, solutions in zip(requests, found, strict=True):
            answer = solutions[0].completion if solutions else ""
            if (
                request.args[0].count("```") % 2
            ):  # the prompt opened a fence, which filters look for
                answer = f"\n{answer}\n```"
            self.cache_hook.add_partial("generate_until", request.args, answer)
            answers.append(answer)
        return answers

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refuse: a decoder that executes what it writes has no likelihood of a given text.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"the task {requests[0].task_name} asks for likelihoods, which egcfg does not tell; "
            "choose tasks that generate programs, such as humaneval or mbpp"
        )

    loglikelihood_rolling = loglikelihood

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,  # noqa: ARG002 - the harness passes it
    ) -> str:
        """Return the chat as text: the model is asked in its own template, by our own wording."""
        return "\n\n".join(message["content"] for message in chat_history)

    @property
    def tokenizer_name(self) -> str:
        """What tells the harness's kept requests from those of other models."""
        return "egcfg"

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness keeps in ``results["config"]``: settings, tests, what it cost."""
        return {"egcfg": self.model.told | {"usage": asdict(self.model.spent)}}

    def _ask(self, request: Instance, repeat: int) -> Ask:
        asked = request.args[1]
        return Ask(
            problem=self._problem(request),
            max_tokens=asked.get("max_gen_toks"),
            temperature=asked.get("temperature") if asked.get("do_sample") else None,
            seed=self.model.config.seed + repeat,
            seconds=self.seconds,
        )

    def _problem(self, request: Instance) -> Problem:
        task_id = f"{request.task_name}/{request.doc_id}"
        try:
            return self.model.problem({"task_id": task_id, **request.doc})
        except DataError as error:
            try:
                problem = problem_from_prompt(request.args[0], task_id)
            except DataError as no_prompt:
                raise DataError(f"{no_prompt} ({error})") from error
            logger.warning("%s is read from its prompt: %s", task_id, error)
            return self.model.as_seen(problem)
