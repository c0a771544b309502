"""Judge a model's answers side by side, and give each the reward that its tests say.

usage: python examples/reward.py
"""

import asyncio

import egcfg

problem = egcfg.Problem(
    task_id="double",
    description="Write a function that doubles a number.",
    entry_point="double",
    visible_tests=[
        egcfg.AssertTest("assert double(2) == 4"),
        egcfg.AssertTest("assert double(-1) == -2"),
    ],
    time_limit=1.0,  # seconds of processor time per test
    memory_limit=256,  # MiB
)
answers = [
    "def double(x):\n    return 2 * x\n",
    "Here it is:\n```python\ndef double(x):\n    return abs(2 * x)\n```",
    "def double(x):\n    while True:\n        pass\n",
    "def double(x):\n    return [x] * 10**9\n",
    "def double(x):\n    return 2 x\n",
]


async def main() -> None:
    """Judge the answers."""
    for answer in await egcfg.reward(answers, problem):
        print(f"{answer.status.value:<8} {answer.share:.2f}  {answer.error or ''}")


asyncio.run(main())
