"""``python -m egcfg`` is ``egcfg``."""

from __future__ import annotations

from egcfg.cli import main

main()
