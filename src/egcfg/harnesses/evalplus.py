"""evalplus: a decoder for ``evalplus.codegen.codegen``, which hands over prompts alone."""

from __future__ import annotations

import logging
from typing import Any

from evalplus.provider.base import DecoderBase

from egcfg.harnesses.model import Ask, HarnessModel, harness_config
from egcfg.harnesses.prompts import problem_from_prompt

__all__ = ["EgcfgDecoder"]

logger = logging.getLogger(__name__)


class EgcfgDecoder(DecoderBase):
    """Answers with whole programs.

    The tests that the decoder may execute are those that the prompt shows: a docstring's examples,
    and the asserts of MBPP+.

    Args:
        temperature: of guided tokens, where the harness samples.
        seconds: how long each answer may take; the best one by then stands.
        values: settings such as ``model``, ``gamma``, ``decoder_tests``, and options of components
            such as ``backend.weights`` (`egcfg.harnesses.model.harness_config`).

    Raises:
        UsageError: a setting is unknown or wrong, or there are several configurations.
    """

    def __init__(
        self, *, temperature: float = 0.0, seconds: float | None = None, **values: Any
    ) -> None:
        self.model = HarnessModel(harness_config(values))
        self.seconds = seconds
        logger.info("%s", self.model)
        told = self.model.told
        super().__init__(
            # The harness prints it with each task.
            name=f"egcfg {told['model']} (decoder_tests {told['decoder_tests']})",
            temperature=temperature,
            max_new_tokens=self.model.config.max_tokens,
        )

    def codegen(self, prompt: str, do_sample: bool = True, num_samples: int = 200) -> list[str]:
        """Return `num_samples` programs, each with another seed.

        Raises:
            DataError: the prompt shows no function to write.
            EgcfgError: as `egcfg.Engine.solve_steps`.
        """
        ask = Ask(
            problem=self.model.as_seen(problem_from_prompt(prompt)),
            n=num_samples,
            temperature=self.temperature if do_sample else None,
            seconds=self.seconds,
        )
        [solutions] = self.model.answers([ask])
        return [solution.code for solution in solutions] or [""] * num_samples

    def is_direct_completion(self) -> bool:
        """Whether the harness is to put its prompt before the answers: they are whole programs."""
        return False
