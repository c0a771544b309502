"""Runs untrusted programs in processes of their own, and says how they ended."""

from __future__ import annotations

from egcfg.sandbox.packages import DEFAULT_PACKAGES
from egcfg.sandbox.report import LAYERS, Level, SandboxReport
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
    "DEFAULT_PACKAGES",
    "LAYERS",
    "Call",
    "Execution",
    "ExecutionResult",
    "Instrument",
    "Level",
    "Limits",
    "Outcome",
    "Raised",
    "Sandbox",
    "SandboxReport",
]
