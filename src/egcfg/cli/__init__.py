"""The command line, one module per command.

Exit statuses:

| status | meaning |
|---|---|
| 0 | done; for ``solve``: solved |
| 1 | the work failed (model, sandbox, results, output); for ``solve``: not solved |
| 2 | wrong usage: what was asked cannot be done as asked |
| 3 | ended early: a budget is used up, or a plugin stopped the run; what was finished is kept |
| 130 | interrupted by Ctrl-C; what was finished is kept |
| 143 | asked to end (SIGTERM); what was finished is kept |
"""

from __future__ import annotations

from egcfg.cli.program import main

__all__ = ["main"]
