"""Tests of components: a conformance suite for each kind, and models that answer by a script.

A plugin's test module subclasses the suite of its kind, which pytest then collects::

    from egcfg.testing import TracerSuite

    class TestMyTracer(TracerSuite):
        name = "mine"

``egcfg plugins check mine`` runs the same suite without a test module. Importing this package loads
no suite: pytest imports it in every environment in which egcfg is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egcfg.testing.answering import AnsweringBackend as AnsweringBackend
    from egcfg.testing.backend_suite import LogprobBackendSuite as LogprobBackendSuite
    from egcfg.testing.dataset_suite import DatasetSuite as DatasetSuite
    from egcfg.testing.guidance_suite import GuidanceSuite as GuidanceSuite
    from egcfg.testing.method_suite import MethodSuite as MethodSuite
    from egcfg.testing.prompt_suite import PromptSuite as PromptSuite
    from egcfg.testing.scorer_suite import ScorerSuite as ScorerSuite
    from egcfg.testing.scripted import ScriptedBackend as ScriptedBackend
    from egcfg.testing.scripted import ScriptedOptions as ScriptedOptions
    from egcfg.testing.suite import Suite as Suite
    from egcfg.testing.text_suite import TextBackendSuite as TextBackendSuite
    from egcfg.testing.tracer_suite import TracerSuite as TracerSuite

__all__ = [
    "AnsweringBackend",
    "DatasetSuite",
    "GuidanceSuite",
    "LogprobBackendSuite",
    "MethodSuite",
    "PromptSuite",
    "ScorerSuite",
    "ScriptedBackend",
    "ScriptedOptions",
    "Suite",
    "TextBackendSuite",
    "TracerSuite",
]

_HOMES = {
    "answering": "AnsweringBackend",
    "backend_suite": "LogprobBackendSuite",
    "dataset_suite": "DatasetSuite",
    "guidance_suite": "GuidanceSuite",
    "method_suite": "MethodSuite",
    "prompt_suite": "PromptSuite",
    "scorer_suite": "ScorerSuite",
    "scripted": "ScriptedBackend ScriptedOptions",
    "suite": "Suite",
    "text_suite": "TextBackendSuite",
    "tracer_suite": "TracerSuite",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
