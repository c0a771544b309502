"""How much memory there is for keys and values, and for how many tasks that is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil
import torch

from egcfg_backends_hf.engine.lanes import BRANCHES

__all__ = ["free_memory", "tasks_that_fit"]

TASK_TOKENS = 3072
"""Tokens of one branch of a task: a few-shot prompt, a signal and a response at their default
limits; candidates come with the room that most prompts leave."""

MOST_TASKS = 64
"""Tasks in flight at most where nobody says: their next tokens alone fill a pass by then."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, or that this process may still use of the
    machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    left: list[int] = [psutil.virtual_memory().available, *_left_by_control_groups(Path("/"))]
    return max(0, min(left))


def tasks_that_fit(cache_bytes: int, token_bytes: int, context_length: int | None) -> int:
    """Return how many tasks to work on at once, so that their keys and values fit.

    Args:
        cache_bytes: for the keys and values of all of them.
        token_bytes: memory of one token's keys and values, above 0.
        context_length: of the model; None: not known.
    """
    tokens = BRANCHES * min(TASK_TOKENS, context_length or TASK_TOKENS)
    return min(MOST_TASKS, max(1, cache_bytes // (tokens * token_bytes)))


def _left_by_control_groups(root: Path) -> Iterator[int]:
    """Yield what each limit of this process' control groups (Linux, version 1 and 2) leaves.

    Memory that a group uses for files is free, too: the kernel drops it when it is needed.
    """
    table = root / "proc/self/cgroup"
    for line in table.read_text().splitlines() if table.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, limit, used, files = "", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount, limit, used = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            files = "total_inactive_file"
        else:
            continue
        inner = PurePosixPath(path)
        for group in (
            inner,
            *inner.parents,
        ):  # inside of a container the innermost may be out of sight
            folder = root / "sys/fs/cgroup" / mount / group.relative_to("/")
            try:
                most = (folder / limit).read_text().strip()
                if most != "max":
                    taken = int((folder / used).read_text())
                    counts = map(str.split, (folder / "memory.stat").read_text().splitlines())
                    kept = sum(int(count) for name, count in counts if name == files)
                    yield int(most) - taken + kept
            except OSError:
                continue  # the outermost has no limit, and none may be mounted
