"""Registers the core's own components: data only."""

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
        Component(
            kind=Kind.GUIDANCE,
            name="cfg",
            target="egcfg.guidance.cfg:ClassifierFreeGuidance",
            summary="classifier-free guidance (the paper's)",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="agree",
            target="egcfg.guidance.agree:GuideWhereBranchesDisagree",
            summary="guidance only where the branches prefer different tokens",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="jsd",
            target="egcfg.guidance.jsd:GuideByDivergence",
            summary="guidance as strong as the branches differ",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="entropy",
            target="egcfg.guidance.entropy:GuideWhereUnsure",
            summary="guidance only where the unconditional model is unsure",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="bounded",
            target="egcfg.guidance.bounded:GuideAmongPlausibleTokens",
            summary="guidance among tokens that a branch takes for plausible",
        ),
        Component(
            kind=Kind.GUIDANCE,
            name="reversal",
            target="egcfg.guidance.reversal:ChooseOneBranch",
            summary="one branch or the other, by the margins of their preferences",
        ),
        Component(
            kind=Kind.METHOD,
            name="egcfg",
            target="egcfg.methods.egcfg:ExecutionGuidedDecoding",
            summary="one guided decoding per configuration and gamma (the paper)",
        ),
        Component(
            kind=Kind.METHOD,
            name="egcfg_grid",
            target="egcfg.methods.egcfg_grid:GridOfDecodings",
            summary="every configuration and gamma until the visible tests pass",
        ),
        Component(
            kind=Kind.METHOD,
            name="greedy",
            target="egcfg.methods.greedy:Greedy",
            summary="the likeliest answer",
        ),
        Component(
            kind=Kind.METHOD,
            name="best_of_n",
            target="egcfg.methods.best_of_n:BestOfN",
            summary="greedy, then samples, until one passes the visible tests (solve's default)",
        ),
        Component(
            kind=Kind.METHOD,
            name="warming",
            target="egcfg.methods.warming:Warming",
            summary="greedy, then retries at rising temperature",
        ),
        Component(
            kind=Kind.METHOD,
            name="retry",
            target="egcfg.methods.retry:Retry",
            summary="greedy, then answers led away from the programs that failed",
        ),
        Component(
            kind=Kind.METHOD,
            name="smc",
            target="egcfg.methods.smc:SequentialMonteCarlo",
            summary="answers that grow together, line by line, resampled by what runs",
        ),
        Component(
            kind=Kind.METHOD,
            name="cascade",
            target="egcfg.methods.cascade:Cascade",
            summary="greedy, samples, a guided answer, one repair, until one passes",
        ),
        Component(
            kind=Kind.METHOD,
            name="self_debug",
            target="egcfg.methods.self_debug:SelfDebugging",
            summary="greedy, then repairs in a dialogue after what the tests showed",
        ),
        Component(
            kind=Kind.METHOD,
            name="codet",
            target="egcfg.methods.codet:CodeT",
            summary="samples, chosen by self-made asserts on which many agree",
        ),
        Component(
            kind=Kind.METHOD,
            name="ldb",
            target="egcfg.methods.ldb:BlockDebugging",
            summary="greedy, then repairs after a judgement of each executed block",
        ),
        Component(
            kind=Kind.METHOD,
            name="mgdebugger",
            target="egcfg.methods.mgdebugger:MultiGranularityDebugging",
            summary="greedy, then repairs of small functions, from the leaves up",
        ),
        Component(
            kind=Kind.METHOD,
            name="mapcoder",
            target="egcfg.methods.mapcoder:MapCoder",
            summary="recalled problems, plans by confidence, code, repairs",
        ),
        Component(
            kind=Kind.METHOD,
            name="lpw",
            target="egcfg.methods.lpw:PlanDrivenProgramming",
            summary="a plan worked by hand on the tests, code, repairs by printed values",
        ),
        Component(
            kind=Kind.METHOD,
            name="self_collaboration",
            target="egcfg.methods.self_collaboration:SelfCollaboration",
            summary="an analyst, a coder and a tester that reports what calls gave",
        ),
        Component(
            kind=Kind.METHOD,
            name="qualityflow",
            target="egcfg.methods.qualityflow:QualityFlow",
            summary="repairs and rewording until a checker that imagines runs accepts",
        ),
        Component(
            kind=Kind.METHOD,
            name="metagpt",
            target="egcfg.methods.metagpt:MetaGPT",
            summary="requirements, design, code, repairs by self-made asserts",
        ),
    ]
