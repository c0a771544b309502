"""How much memory there is, and for how many tasks."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from egcfg_backends_hf import memory
from egcfg_backends_hf.memory import free_memory, tasks_that_fit

GIB = 2**30
NO_LIMIT = 9223372036854771712
"""What version 1 says where there is none."""


@pytest.mark.parametrize(
    ("cache_bytes", "token_bytes", "context", "tasks"),
    [
        (40 * GIB, 196_608, 16_384, 35),  # 1.3B parameters in bfloat16 on a large GPU
        (4 * GIB, 196_608, 16_384, 3),
        (4 * GIB, 196_608, 1024, 10),  # a short context takes less
        (4 * GIB, 196_608, None, 3),
        (40 * GIB, 12_288, 32_768, 64),  # more than a pass is for
        (1, 196_608, None, 1),  # one is always worth a try
    ],
)
def test_as_many_tasks_are_in_flight_as_memory_holds_both_branches_of(
    cache_bytes: int, token_bytes: int, context: int | None, tasks: int
) -> None:
    assert tasks_that_fit(cache_bytes, token_bytes, context) == tasks


def write(root: Path, group: str, **files: object) -> None:
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


def groups(root: Path, *lines: str) -> list[int]:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    return list(memory._left_by_control_groups(root))


def test_every_control_group_around_the_process_limits_it(tmp_path: Path) -> None:
    stat = "anon 5\ninactive_file 300\nactive_file 7"
    write(tmp_path, "outer", memory_max=5000, memory_current=4500, memory_stat=stat)
    write(tmp_path, "outer/inner", memory_max=1000, memory_current=900, memory_stat=stat)
    write(tmp_path, "outer/inner/leaf", memory_max="max", memory_current=900, memory_stat=stat)
    assert groups(tmp_path, "0::/outer/inner/leaf") == [400, 800]


def test_the_first_version_of_control_groups_is_read_as_well(tmp_path: Path) -> None:
    stat = "inactive_file 1\ntotal_inactive_file 50"
    used = {"memory_usage_in_bytes": 600, "memory_stat": stat}
    write(tmp_path, "memory", memory_limit_in_bytes=NO_LIMIT, **used)
    # As in a container, where the group's own path cannot be seen.
    write(tmp_path, "memory/docker", memory_limit_in_bytes=2000, **used)
    found = groups(tmp_path, "5:devices:/x", "4:cpu,memory:/docker/abc", "0::/")
    assert found == [2000 - 600 + 50, NO_LIMIT - 600 + 50]


def test_without_control_groups_nothing_limits(tmp_path: Path) -> None:
    assert list(memory._left_by_control_groups(tmp_path)) == []
    assert groups(tmp_path, "0::/") == []


def test_the_tightest_limit_counts_and_never_below_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(memory, "_left_by_control_groups", lambda _: iter(left))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 1000}))
    cpu = torch.device("cpu")
    assert free_memory(cpu) == 1000
    left += [5000, 700]
    assert free_memory(cpu) == 700
    left.append(-20)
    assert free_memory(cpu) == 0
