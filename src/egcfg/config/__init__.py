"""What a run is asked to do: one table of settings, read from a file, the environment and flags.

`egcfg.config.schema` declares every setting once. The command line's options, the names of
environment variables, the keys of ``egcfg.toml`` and what ``egcfg config`` prints all follow from
that table.
"""

from __future__ import annotations

from egcfg.config.load import EffectiveConfig, load_config
from egcfg.config.schema import Executor, Order, RunConfig, SandboxMode, Schedule

__all__ = [
    "EffectiveConfig",
    "Executor",
    "Order",
    "RunConfig",
    "SandboxMode",
    "Schedule",
    "load_config",
]
