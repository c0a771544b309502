"""Runs untrusted programs in processes of their own, and says how they ended."""

from __future__ import annotations

from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import (
    Call,
    Execution,
    ExecutionResult,
    Instrument,
    Limits,
    Outcome,
    Raised,
)

__all__ = [
    "Call",
    "Execution",
    "ExecutionResult",
    "Instrument",
    "Limits",
    "Outcome",
    "Raised",
    "Sandbox",
]
