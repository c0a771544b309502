from __future__ import annotations

from egcfg_backends_fireworks.bounded import BoundedDict


def test_what_was_set_longest_ago_goes_first() -> None:
    table: BoundedDict[str, int] = BoundedDict(2)
    table.update(a=1, b=2)
    table["a"] = 3  # again: now the newest
    table.update(c=4)
    assert dict(table) == {"a": 3, "c": 4}
