"""The answering backend keeps what backends without log-probabilities promise."""

from __future__ import annotations

from egcfg.testing import AnsweringBackend, TextBackendSuite


class TestAnsweringBackend(TextBackendSuite):
    @classmethod
    def make(cls) -> AnsweringBackend:
        return AnsweringBackend(AnsweringBackend.Options(["def f(x):\n    return x\n"]))
