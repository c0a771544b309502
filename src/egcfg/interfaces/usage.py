"""What the work of a model cost, in exact counts."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from attrs import fields, frozen

__all__ = ["COUNTS", "FREE", "Usage"]


@frozen(kw_only=True)
class Usage:
    """What the model's work cost: exact counts, and the seconds spent waiting for it.

    Attributes:
        forward_passes: passes through a local model that it took part in; several tasks share one.
        forward_tokens: tokens run through a local model, cached ones and padding not counted.
        requests: requests sent to an endpoint, retries included.
        input_tokens: prompt tokens that were sent or processed, cached ones included.
        cached_tokens: those of them that a cache answered.
        output_tokens: tokens that the model generated or chose: sampled, or one per scored prefix.
        seconds: wall time of waiting for the backend; measured by the core, not by backends.
    """

    forward_passes: int = 0
    forward_tokens: int = 0
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    @property
    def uncached_tokens(self) -> int:
        """Prompt tokens that no cache answered: all of them, where a server tells of no cache."""
        return self.input_tokens - self.cached_tokens

    @property
    def tokens(self) -> int:
        """Uncached and generated ones together: what a task's budget counts, and a comparison."""
        return self.uncached_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return self._joined(other, operator.add)

    def __sub__(self, other: Usage) -> Usage:
        return self._joined(other, operator.sub)

    def _joined(self, other: Usage, join: Callable[[Any, Any], Any]) -> Usage:
        return Usage(**{name: join(getattr(self, name), getattr(other, name)) for name in COUNTS})


COUNTS: Final = tuple(field.name for field in fields(Usage))
FREE: Final = Usage()
"""What an answer costs that nobody had to be asked for."""
