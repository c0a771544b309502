"""A served model whose answers are recorded, so that its own time can be left out."""

from __future__ import annotations

import json
import threading
from typing import Any

from attrs import define, field

from egcfg_backends_fireworks.testing import Answer, ServedModel

__all__ = ["Recorded"]


@define
class Recorded:
    """Answers what was asked before as it was answered then, without the model."""

    model: ServedModel
    answers: dict[str, Answer] = field(factory=dict)
    lock: threading.Lock = field(factory=threading.Lock)

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one request."""
        # A cache key is made anew by every client.
        key = json.dumps({k: v for k, v in request.items() if k != "prompt_cache_key"})
        with self.lock:
            if key not in self.answers:
                self.answers[key] = self.model(request)
            return self.answers[key]
