"""Many tasks at once: what it brings, in tasks per minute, beside others who batch.

    python bench/concurrency --data mbpp.jsonl.gz --larger-model qwen2.5-coder-0.5b.gguf
    python bench/concurrency local --tasks 8 --in-flight 1 8 --rounds 1
    python bench/concurrency served latency

Parts: ``local`` (shared passes of a local model, beside ``generate``), ``served`` (llama.cpp's own
server) and ``latency`` (a server that is far away); all of them by default. In a part all ways take
their turn in every round, so that a busy moment hits them alike; what counts are the ratios within
a round. With ``--json`` the figures are written after each table: a run that is ended early keeps
what it found. Without ``--data`` the built-in quickstart problems are used.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "measuring"))

import egcfg_backends_hf  # noqa: F401 - before torch: it settles how torch's threads wait

# isort: split
import latency
import local
import served
import torch
from tables import Report
from workbench import add_options, machine

PARTS = {"local": local, "served": served, "latency": latency}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python bench/concurrency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=2, help="of each table")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    add_options(parser)
    parser.set_defaults(tasks=16, gamma=1.0, max_tokens=80)
    for module in PARTS.values():
        module.add_arguments(parser)
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = {k: v for k, v in vars(options).items() if v is not None and k != "parts"}
    report = Report(f"bench/concurrency {' '.join(parts)}", {**machine(), **settings}, options.json)
    for part in parts:
        asyncio.run(PARTS[part].run(options, report))


if __name__ == "__main__":
    main()
