"""Registers the core's own prompt builders, scorers and data sets: data only."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Component, Kind, hookimpl


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the built-in components of the core."""
    return [
        Component(
            kind=Kind.PROMPT,
            name="deepseek_instruct",
            target="egcfg.prompts.deepseek_instruct:DeepseekInstructPrompt",
            summary="instruction prompt with three worked examples (the paper's)",
        ),
        Component(
            kind=Kind.PROMPT,
            name="long_code",
            target="egcfg.prompts.long_code:LongCodePrompt",
            summary="instruction prompt without examples that asks for many short lines",
        ),
        Component(
            kind=Kind.PROMPT,
            name="chat",
            target="egcfg.prompts.chat:ChatPromptBuilder",
            summary="the model's own chat template",
        ),
        Component(
            kind=Kind.PROMPT,
            name="completion",
            target="egcfg.prompts.completion:CompletionPrompt",
            summary="plain continuation of a signature and docstring, for base models",
        ),
        Component(
            kind=Kind.SCORER,
            name="asserts",
            target="egcfg.scorers.asserts:AssertsScorer",
            summary="assert statements about a function (MBPP)",
        ),
        Component(
            kind=Kind.SCORER,
            name="check",
            target="egcfg.scorers.check:CheckScorer",
            summary="a check(candidate) function (HumanEval)",
        ),
        Component(
            kind=Kind.SCORER,
            name="inprocess",
            target="egcfg.scorers.inprocess:InprocessScorer",
            summary="tests in the program's own process (mocks, unittest); forgeable",
        ),
        Component(
            kind=Kind.SCORER,
            name="stdio",
            target="egcfg.scorers.stdio:StdioScorer",
            summary="standard input and expected standard output",
        ),
        Component(
            kind=Kind.DATASET,
            name="quickstart",
            target="egcfg.datasets.quickstart:QuickstartDataset",
            summary="a dozen easy problems written for this project",
        ),
        Component(
            kind=Kind.DATASET,
            name="humaneval",
            target="egcfg.datasets.humaneval:HumanEvalDataset",
            summary="HumanEval (164 tasks); visible tests are the docstrings' examples",
            extra="egcfg[datasets]",
        ),
        Component(
            kind=Kind.DATASET,
            name="mbpp",
            target="egcfg.datasets.mbpp:MbppDataset",
            summary="MBPP tasks 11-510, or another split; from the hub or --data FILE",
            extra="egcfg[datasets]",
        ),
        Component(
            kind=Kind.DATASET,
            name="humaneval+",
            target="egcfg.datasets.evalplus:HumanEvalPlusDataset",
            summary="HumanEval with EvalPlus' further tests; from the hub or --data FILE",
            extra="egcfg[datasets]",
        ),
        Component(
            kind=Kind.DATASET,
            name="mbpp+",
            target="egcfg.datasets.evalplus:MbppPlusDataset",
            summary="378 tasks of MBPP with EvalPlus' further tests; from the hub or --data FILE",
            extra="egcfg[datasets]",
        ),
        Component(
            kind=Kind.DATASET,
            name="hub",
            target="egcfg.datasets.hub:HubDataset",
            summary="any data set of the hub whose shape is known: -o dataset.name=ORG/NAME",
            extra="egcfg[datasets]",
        ),
        Component(
            kind=Kind.DATASET,
            name="file",
            target="egcfg.datasets.file:FileDataset",
            summary="your own problems, or a published file: JSON lines or Parquet",
        ),
    ]
