"""Execution-guided decoding: language models that write Python while watching it run.

Everything public is listed here and loaded when it is first used, so that ``import egcfg`` costs
milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egcfg.blocking import solve as solve
    from egcfg.blocking import solve_steps as solve_steps
    from egcfg.config import RunConfig as RunConfig
    from egcfg.config import load_config as load_config
    from egcfg.datasets.decoder_tests import DecoderTests as DecoderTests
    from egcfg.datasets.selection import open_problems as open_problems
    from egcfg.datasets.shapes.table import problem_from as problem_from
    from egcfg.decoding.settings import DecodingSettings as DecodingSettings
    from egcfg.decoding.settings import GuidanceUnit as GuidanceUnit
    from egcfg.engine import Engine as Engine
    from egcfg.errors import EgcfgError as EgcfgError
    from egcfg.evaluation.code_eval import CodeEval as CodeEval
    from egcfg.evaluation.reward import Reward as Reward
    from egcfg.evaluation.reward import reward as reward
    from egcfg.evaluation.reward import reward_blocking as reward_blocking
    from egcfg.evaluation.reward_functions import GrpoReward as GrpoReward
    from egcfg.evaluation.reward_functions import verifiers_reward as verifiers_reward
    from egcfg.interfaces.backend import Answer as Answer
    from egcfg.interfaces.backend import Backend as Backend
    from egcfg.interfaces.backend import Capabilities as Capabilities
    from egcfg.interfaces.backend import Completion as Completion
    from egcfg.interfaces.backend import Continuation as Continuation
    from egcfg.interfaces.backend import LogprobBackend as LogprobBackend
    from egcfg.interfaces.backend import LogprobRequest as LogprobRequest
    from egcfg.interfaces.backend import Logprobs as Logprobs
    from egcfg.interfaces.backend import SampleRequest as SampleRequest
    from egcfg.interfaces.backend import SamplingParams as SamplingParams
    from egcfg.interfaces.backend import ScoreRequest as ScoreRequest
    from egcfg.interfaces.backend import TextBackend as TextBackend
    from egcfg.interfaces.backend import Usage as Usage
    from egcfg.interfaces.dataset import Dataset as Dataset
    from egcfg.interfaces.guidance import GuidanceRule as GuidanceRule
    from egcfg.interfaces.guidance import Guided as Guided
    from egcfg.interfaces.method import Attempt as Attempt
    from egcfg.interfaces.method import Bench as Bench
    from egcfg.interfaces.method import Configuration as Configuration
    from egcfg.interfaces.method import Method as Method
    from egcfg.interfaces.method import Need as Need
    from egcfg.interfaces.method import PartialAnswer as PartialAnswer
    from egcfg.interfaces.method import ProgramRun as ProgramRun
    from egcfg.interfaces.method import Reply as Reply
    from egcfg.interfaces.problem import AssertTest as AssertTest
    from egcfg.interfaces.problem import CheckTest as CheckTest
    from egcfg.interfaces.problem import Comparison as Comparison
    from egcfg.interfaces.problem import Problem as Problem
    from egcfg.interfaces.problem import Program as Program
    from egcfg.interfaces.problem import StdioTest as StdioTest
    from egcfg.interfaces.problem import Task as Task
    from egcfg.interfaces.problem import TestCase as TestCase
    from egcfg.interfaces.prompt import ChatMessage as ChatMessage
    from egcfg.interfaces.prompt import ChatPrompt as ChatPrompt
    from egcfg.interfaces.prompt import CodeLayout as CodeLayout
    from egcfg.interfaces.prompt import Prompt as Prompt
    from egcfg.interfaces.prompt import PromptBuilder as PromptBuilder
    from egcfg.interfaces.prompt import Template as Template
    from egcfg.interfaces.prompt import TextPrompt as TextPrompt
    from egcfg.interfaces.scorer import Score as Score
    from egcfg.interfaces.scorer import Scorer as Scorer
    from egcfg.interfaces.scorer import TestResult as TestResult
    from egcfg.interfaces.scorer import TestStatus as TestStatus
    from egcfg.interfaces.solution import Generation as Generation
    from egcfg.interfaces.solution import LineStep as LineStep
    from egcfg.interfaces.solution import Signal as Signal
    from egcfg.interfaces.solution import Solution as Solution
    from egcfg.interfaces.tracer import EventKind as EventKind
    from egcfg.interfaces.tracer import RaisedValue as RaisedValue
    from egcfg.interfaces.tracer import Trace as Trace
    from egcfg.interfaces.tracer import TraceEvent as TraceEvent
    from egcfg.interfaces.tracer import Tracer as Tracer
    from egcfg.interfaces.tracer import TraceRequest as TraceRequest
    from egcfg.interfaces.tracer import Value as Value
    from egcfg.plugins.hookspecs import Component as Component
    from egcfg.plugins.hookspecs import Kind as Kind
    from egcfg.plugins.hookspecs import RunInfo as RunInfo
    from egcfg.plugins.hookspecs import hookimpl as hookimpl
    from egcfg.reports.rows import ResultRow as ResultRow
    from egcfg.reports.rows import load_results as load_results
    from egcfg.sandbox import Call as Call
    from egcfg.sandbox import Execution as Execution
    from egcfg.sandbox import ExecutionResult as ExecutionResult
    from egcfg.sandbox import Instrument as Instrument
    from egcfg.sandbox import Limits as Limits
    from egcfg.sandbox import Outcome as Outcome
    from egcfg.sandbox import Raised as Raised
    from egcfg.sandbox import Sandbox as Sandbox
    from egcfg.usage.budget import Budget as Budget
    from egcfg.usage.prices import Prices as Prices

__all__ = [
    "Answer",
    "AssertTest",
    "Attempt",
    "Backend",
    "Bench",
    "Budget",
    "Call",
    "Capabilities",
    "ChatMessage",
    "ChatPrompt",
    "CheckTest",
    "CodeEval",
    "CodeLayout",
    "Comparison",
    "Completion",
    "Component",
    "Configuration",
    "Continuation",
    "Dataset",
    "DecoderTests",
    "DecodingSettings",
    "EgcfgError",
    "Engine",
    "EventKind",
    "Execution",
    "ExecutionResult",
    "Generation",
    "GrpoReward",
    "GuidanceRule",
    "GuidanceUnit",
    "Guided",
    "Instrument",
    "Kind",
    "Limits",
    "LineStep",
    "LogprobBackend",
    "LogprobRequest",
    "Logprobs",
    "Method",
    "Need",
    "Outcome",
    "PartialAnswer",
    "Prices",
    "Problem",
    "Program",
    "ProgramRun",
    "Prompt",
    "PromptBuilder",
    "Raised",
    "RaisedValue",
    "Reply",
    "ResultRow",
    "Reward",
    "RunConfig",
    "RunInfo",
    "SampleRequest",
    "SamplingParams",
    "Sandbox",
    "Score",
    "ScoreRequest",
    "Scorer",
    "Signal",
    "Solution",
    "StdioTest",
    "Task",
    "Template",
    "TestCase",
    "TestResult",
    "TestStatus",
    "TextBackend",
    "TextPrompt",
    "Trace",
    "TraceEvent",
    "TraceRequest",
    "Tracer",
    "Usage",
    "Value",
    "hookimpl",
    "load_config",
    "load_results",
    "open_problems",
    "problem_from",
    "reward",
    "reward_blocking",
    "solve",
    "solve_steps",
    "verifiers_reward",
]

_HOMES = {
    "blocking": "solve solve_steps",
    "config": "RunConfig load_config",
    "datasets.decoder_tests": "DecoderTests",
    "datasets.selection": "open_problems",
    "datasets.shapes.table": "problem_from",
    "decoding.settings": "DecodingSettings GuidanceUnit",
    "engine": "Engine",
    "errors": "EgcfgError",
    "evaluation.code_eval": "CodeEval",
    "evaluation.reward": "Reward reward reward_blocking",
    "evaluation.reward_functions": "GrpoReward verifiers_reward",
    "interfaces.backend": (
        "Answer Backend Capabilities Completion Continuation LogprobBackend "
        "LogprobRequest Logprobs SampleRequest SamplingParams ScoreRequest TextBackend "
        "Usage"
    ),
    "interfaces.dataset": "Dataset",
    "interfaces.guidance": "GuidanceRule Guided",
    "interfaces.method": "Attempt Bench Configuration Method Need PartialAnswer ProgramRun Reply",
    "interfaces.problem": "AssertTest CheckTest Comparison Problem Program StdioTest Task TestCase",
    "interfaces.prompt": (
        "ChatMessage ChatPrompt CodeLayout Prompt PromptBuilder Template TextPrompt"
    ),
    "interfaces.scorer": "Score Scorer TestResult TestStatus",
    "interfaces.solution": "Generation LineStep Signal Solution",
    "interfaces.tracer": "EventKind RaisedValue Trace TraceEvent TraceRequest Tracer Value",
    "plugins.hookspecs": "Component Kind RunInfo hookimpl",
    "reports.rows": "ResultRow load_results",
    "sandbox": "Call Execution ExecutionResult Instrument Limits Outcome Raised Sandbox",
    "usage.budget": "Budget",
    "usage.prices": "Prices",
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
