"""Solve one problem from Python.

usage: python examples/solve_one.py [MODEL [BACKEND]]

MODEL is a hub id, folder or .gguf file (default: embedded); with BACKEND, what that backend takes.
"""

import sys

import egcfg

problem = egcfg.Problem(
    task_id="example/double",
    description="Write a function double(x) that returns twice x.",
    entry_point="double",
    visible_tests=[
        egcfg.AssertTest("assert double(3) == 6"),
        egcfg.AssertTest("assert double('ab') == 'abab'"),
    ],
    hidden_tests=[egcfg.AssertTest("assert double(-4) == -8")],
)
model = sys.argv[1] if len(sys.argv) > 1 else None
backend = sys.argv[2] if len(sys.argv) > 2 else "hf"
solution = egcfg.solve(
    problem, backend=backend, options={"backend": {"model": model}}, gamma=1.0, max_tokens=200
)

print(solution.code)
usage = solution.generation.total_usage
print(f"passed: {solution.passed}; {usage.forward_tokens} tokens run through the model")
