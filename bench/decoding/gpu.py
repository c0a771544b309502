"""Time on a GPU: a model of 1.3B shape in bfloat16, by CUDA events.

Speed does not depend on the weights, but how often drafts are accepted depends on the text, and a
random model writes no code. So a small real model (the embedded one) is put into a frame of the
large shape: its weights in the corner of the large ones, zeros elsewhere. It computes with all of
them, and writes what the small one writes. Without a GPU the command says so and ends; on the CPU
``--hidden 640 --intermediate 1600`` shows that it works, and nothing else. The path
through CUDA is untested.
"""

from __future__ import annotations

import math
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import speed
import torch
from tables import Report
from transformers import LlamaConfig, LlamaForCausalLM

from egcfg.errors import UsageError
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "framed", "run"]

HIDDEN, INTERMEDIATE = 2048, 4096  # with the embedded model's 30 layers: 1.36 billion weights


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--intermediate", type=int, default=INTERMEDIATE)
    speed.add_arguments(parser)


async def run(options: Namespace, report: Report) -> None:
    """Measure as the command ``time`` does."""
    cuda = torch.cuda.is_available()
    if not cuda and options.hidden == HIDDEN:
        report.say("torch sees no GPU here; nothing was measured")
        return
    settings = HFOptions(model=options.model, device="cpu", weights="plain")
    small = load_model(settings)
    large = framed(small.model, options.hidden, options.intermediate)
    weights = sum(parameter.numel() for parameter in large.parameters())
    report.say(f"{settings.model_name} in a frame of {weights / 1e9:.2f} billion weights")
    with tempfile.TemporaryDirectory() as folder:
        with quiet_transformers():
            large.to(torch.bfloat16 if cuda else torch.float32).save_pretrained(folder)
            small.tokenizer.save_pretrained(folder)
        del small, large
        options.model = str(Path(folder))
        if cuda:
            options.device, options.baseline_weights = "cuda", ["plain"]
        await speed.run(options, report)


def framed(small: torch.nn.Module, hidden: int, intermediate: int) -> LlamaForCausalLM:
    """Return a Llama with the weights of `small` in its corner and zeros elsewhere.

    Args:
        small: a Llama without biases; gives the heads' size and the number of layers.
        hidden: the frame's width, a multiple of the heads' size.
        intermediate: the frame's width between its projections.

    Raises:
        UsageError: `small` is no such model.
    """
    config = small.config
    if config.model_type != "llama" or config.attention_bias or config.mlp_bias:
        raise UsageError("the frame is for Llama models without biases; choose another --model")
    size, heads = config.head_dim, config.num_attention_heads
    share = config.hidden_size / hidden
    larger = config.to_dict() | {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": hidden // size,
        "num_key_value_heads": hidden // size,
        "rms_norm_eps": config.rms_norm_eps * share,
    }
    large = LlamaForCausalLM(LlamaConfig(**larger))
    mine = dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            weight = mine[name]
            if "norm" in name:  # the mean runs over the zeros as well
                weight = weight * math.sqrt(share)
            if "k_proj" in name or "v_proj" in name:  # keys of a group of heads: one set for each
                groups = weight.reshape(-1, size, weight.shape[1])
                weight = groups.repeat_interleave(heads // len(groups), dim=0).flatten(0, 1)
            parameter.zero_()
            parameter[tuple(slice(length) for length in weight.shape)] = weight
    large.generation_config = small.generation_config
    return large.eval()
