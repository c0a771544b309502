"""What guided decoding costs: one command per claim, each a table.

    python bench/decoding counts --data mbpp.jsonl.gz
    python bench/decoding same --tasks 20 --data mbpp.jsonl.gz
    python bench/decoding time --model qwen2.5-coder-0.5b.gguf --data mbpp.jsonl.gz --tasks 12
    python bench/decoding memory
    python bench/decoding growth
    python bench/decoding gpu

Without ``--data`` the built-in quickstart problems are used.
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
import counts
import footprint
import gpu
import growth
import same
import speed
import torch
from tables import Report
from workbench import add_options, machine

COMMANDS = {
    "counts": counts,
    "same": same,
    "time": speed,
    "memory": footprint,
    "growth": growth,
    "gpu": gpu,
}


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python bench/decoding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=(module.__doc__ or "").partition("\n")[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(command)
        command.add_argument("--json", type=Path, help="write the figures there as well")
        module.add_arguments(command)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = {k: v for k, v in vars(options).items() if v is not None and k != "command"}
    report = Report(f"bench/decoding {options.command}", {**machine(), **settings}, options.json)
    asyncio.run(COMMANDS[options.command].run(options, report))


if __name__ == "__main__":
    main()
