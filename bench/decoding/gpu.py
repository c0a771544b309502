"""Time on a GPU: a randomly initialised model of DeepSeek-Coder-1.3B's shape, in bfloat16.

Speed does not depend on the weights. Times are CUDA events'. Without a GPU it says so and ends;
``--shape tiny`` runs the same on the CPU, which shows that the command works and nothing else.
No GPU was at hand when this was written: the path through CUDA is untested.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import speed
import torch
from tables import Report
from transformers import LlamaConfig, LlamaForCausalLM

from egcfg_backends_hf.testing import build_tiny_tokenizer

__all__ = ["add_arguments", "run"]

SHAPES = {
    "1.3b": {
        "vocab_size": 32256,
        "hidden_size": 2048,
        "intermediate_size": 5504,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
CONTEXT = 16384


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--shape", choices=SHAPES, default="1.3b")
    speed.add_arguments(parser)


def run(options: Namespace, report: Report) -> None:
    """Measure as the command ``time`` does."""
    if options.shape != "tiny" and not torch.cuda.is_available():
        report.say("torch sees no GPU here; nothing was measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        options.model = str(_build(Path(folder), options.shape))
        if torch.cuda.is_available():
            options.device = "cuda"
            options.baseline_weights = ["plain"]
        speed.run(options, report)


def _build(folder: Path, shape: str) -> Path:
    """Save a random model that writes the tiny tokenizer's tokens, in lines as code has them."""
    tokenizer = build_tiny_tokenizer()
    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=CONTEXT,
        initializer_range=0.02 if shape == "1.3b" else 0.2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    head = model.lm_head.weight.data
    # Logits spread as a trained model's are; ids that the tokenizer lacks are never the likeliest.
    head.normal_(std=8 / config.hidden_size**0.5)
    head[len(tokenizer) :] = 0.0
    head[[tokenizer.eos_token_id, tokenizer.pad_token_id]] = 0.0
    breaks = [token for text, token in tokenizer.get_vocab().items() if "\u010a" in text]
    head[breaks] *= 1.75
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
