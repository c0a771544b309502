"""Execution-guided decoding: language models that write Python while watching it run.

Everything public is listed here and loaded when it is first used, so that ``import egcfg`` costs
milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egcfg.api import solve as solve
    from egcfg.api import solve_steps as solve_steps
    from egcfg.assembly import open_engine as open_engine
    from egcfg.assembly import open_problems as open_problems
    from egcfg.backend import Capabilities as Capabilities
    from egcfg.backend import Continuation as Continuation
    from egcfg.backend import LogprobBackend as LogprobBackend
    from egcfg.backend import SamplingParams as SamplingParams
    from egcfg.backend import TokenLogprobs as TokenLogprobs
    from egcfg.backend import TokenSequence as TokenSequence
    from egcfg.backend import Usage as Usage
    from egcfg.budget import Budget as Budget
    from egcfg.config import RunConfig as RunConfig
    from egcfg.config import load_config as load_config
    from egcfg.dataset import Dataset as Dataset
    from egcfg.engine import Engine as Engine
    from egcfg.errors import EgcfgError as EgcfgError
    from egcfg.hookspecs import Component as Component
    from egcfg.hookspecs import Kind as Kind
    from egcfg.hookspecs import hookimpl as hookimpl
    from egcfg.prices import Prices as Prices
    from egcfg.problem import AssertTest as AssertTest
    from egcfg.problem import CheckTest as CheckTest
    from egcfg.problem import Problem as Problem
    from egcfg.problem import StdioTest as StdioTest
    from egcfg.prompt import Prompt as Prompt
    from egcfg.prompt import PromptBuilder as PromptBuilder
    from egcfg.sandbox import Sandbox as Sandbox
    from egcfg.scorer import Score as Score
    from egcfg.scorer import Scorer as Scorer
    from egcfg.scorer import TestResult as TestResult
    from egcfg.scorer import TestStatus as TestStatus
    from egcfg.settings import DecodingSettings as DecodingSettings
    from egcfg.settings import GuidanceUnit as GuidanceUnit
    from egcfg.solution import Generation as Generation
    from egcfg.solution import LineStep as LineStep
    from egcfg.solution import Solution as Solution
    from egcfg.tracer import Trace as Trace
    from egcfg.tracer import TraceEvent as TraceEvent
    from egcfg.tracer import Tracer as Tracer
    from egcfg.tracer import TraceRequest as TraceRequest

__all__ = [
    "AssertTest",
    "Budget",
    "Capabilities",
    "CheckTest",
    "Component",
    "Continuation",
    "Dataset",
    "DecodingSettings",
    "EgcfgError",
    "Engine",
    "Generation",
    "GuidanceUnit",
    "Kind",
    "LineStep",
    "LogprobBackend",
    "Prices",
    "Problem",
    "Prompt",
    "PromptBuilder",
    "RunConfig",
    "SamplingParams",
    "Sandbox",
    "Score",
    "Scorer",
    "Solution",
    "StdioTest",
    "TestResult",
    "TestStatus",
    "TokenLogprobs",
    "TokenSequence",
    "Trace",
    "TraceEvent",
    "TraceRequest",
    "Tracer",
    "Usage",
    "hookimpl",
    "load_config",
    "open_engine",
    "open_problems",
    "solve",
    "solve_steps",
]

_HOMES = {
    "api": "solve solve_steps",
    "assembly": "open_engine open_problems",
    "backend": (
        "Capabilities Continuation LogprobBackend SamplingParams TokenLogprobs TokenSequence Usage"
    ),
    "budget": "Budget",
    "config": "RunConfig load_config",
    "dataset": "Dataset",
    "engine": "Engine",
    "errors": "EgcfgError",
    "hookspecs": "Component Kind hookimpl",
    "prices": "Prices",
    "problem": "AssertTest CheckTest Problem StdioTest",
    "prompt": "Prompt PromptBuilder",
    "sandbox": "Sandbox",
    "scorer": "Score Scorer TestResult TestStatus",
    "settings": "DecodingSettings GuidanceUnit",
    "solution": "Generation LineStep Solution",
    "tracer": "Trace TraceEvent TraceRequest Tracer",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("egcfg")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    # Kept, so that this function is asked once per name.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
