"""Watch a solution grow: one step per line, with what guidance changed in it.

usage: python examples/watch_lines.py [MODEL [BACKEND]]
"""

import sys

import egcfg

problem = egcfg.Problem(
    task_id="example/largest",
    description="Write a function largest(numbers) that returns the largest number of a list.",
    entry_point="largest",
    visible_tests=[
        egcfg.AssertTest("assert largest([1, 7, 3]) == 7"),
        egcfg.AssertTest("assert largest([-5, -2]) == -2"),
    ],
)
model = sys.argv[1] if len(sys.argv) > 1 else None
backend = sys.argv[2] if len(sys.argv) > 2 else "hf"
steps = egcfg.solve_steps(
    problem, backend=backend, options={"backend": {"model": model}}, gamma=1.5, max_tokens=200
)

for step in steps:
    if isinstance(step, egcfg.Solution):  # the last one
        print("passed:", step.passed)
        break
    programs = len(step.signal.entries) if step.signal else 0
    changed = [f"{t.unconditional_text!r} -> {t.text!r}" for t in step.tokens if t.changed]
    print(f"{step.text!r:60} {programs} programs {'; '.join(changed)}")
