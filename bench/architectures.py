"""Which architectures run how, and whether they are right: the table of docs/architectures.md.

    python bench/architectures.py                                   # all of them, some minutes
    python bench/architectures.py --only gemma --only longrope
    python bench/architectures.py --write docs/architectures.md

Each is a tiny model with random weights (hidden size 64, a vocabulary of 384, 512 positions,
weights with a deviation of 0.2) in float32 on the CPU, opened as any other model. Its greedy tokens
are held against those that whole prompts give without a cache, and against `generate`; then drafts
on two branches of one prompt, in one question and after both were rewritten, against whole prompts:
the worst difference of any log-probability of the vocabulary.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "measuring"))

import egcfg_backends_hf  # noqa: F401 - before torch: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import transformers
from attrs import frozen
from tables import Report

from egcfg.errors import EgcfgError, summarize
from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_tokenizer

__all__ = ["CASES", "Found", "build", "examine"]

VOCABULARY = 384
PROMPT, ANSWER = 40, 24
"""Tokens of the prompt, and of the greedy answer."""

Ids = tuple[int, ...]
Rope = Mapping[str, Any]

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
MOE = EXPERTS | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
LATENT = {
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "head_dim": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
} | MOE
ALL_HEADS = {"num_key_value_heads": 4}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0} | more}


LONGROPE = _rope(
    "longrope",
    short_factor=[1.0] * 8,
    long_factor=[4.0] * 8,
    original_max_position_embeddings=24,
)
# Kinds of layers in turn, so that both are there.
MIXED = ["sliding_attention", "full_attention"] * 2

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT (decoder)": ("bert", {"is_decoder": True}),
    "BLOOM (ALiBi)": ("bloom", {"n_head": 4, "n_layer": 2}),
    "Bamba (hybrid)": (
        "bamba",
        {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "attn_layer_indices": [1]},
    ),
    "CodeGen": (
        "codegen",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 8},
    ),
    "Cohere": ("cohere", {}),
    "Cohere2 (window)": (
        "cohere2",
        {"sliding_window": 16, "num_hidden_layers": 4, "layer_types": MIXED},
    ),
    "DeepSeek-V2": ("deepseek_v2", LATENT | {"q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    "DeepSeek-V3": ("deepseek_v3", LATENT | {"q_lora_rank": 16, "n_group": 2, "topk_group": 1}),
    "DiffLlama": ("diffllama", {}),
    "ERNIE 4.5": ("ernie4_5", {}),
    "EXAONE 4 (window)": (
        "exaone4",
        {"sliding_window": 16, "num_hidden_layers": 4, "layer_types": MIXED},
    ),
    "Falcon": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "Falcon (ALiBi)": ("falcon", {"alibi": True, "multi_query": False, "parallel_attn": False}),
    "Falcon-H1 (hybrid)": (
        "falcon_h1",
        {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_d_ssm": 128},
    ),
    "FalconMamba": ("falcon_mamba", {"state_size": 8}),
    "GLM-4": ("glm4", {"head_dim": 16}),
    "GPT-1": ("openai-gpt", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}),
    "GPT-2": ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}),
    "GPT-J": (
        "gptj",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 8},
    ),
    "GPT-Neo (window)": (
        "gpt_neo",
        {
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
    ),
    "GPT-NeoX": ("gpt_neox", {}),
    "GPT-OSS (sinks, window)": (
        "gpt_oss",
        EXPERTS
        | {"sliding_window": 16, "head_dim": 16, "num_hidden_layers": 4, "layer_types": MIXED}
        | _rope("default"),
    ),
    "GPTBigCode (one key head)": (
        "gpt_bigcode",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    ),
    "Gemma": ("gemma", {"head_dim": 16}),
    "Gemma 2 (window, soft cap)": (
        "gemma2",
        {"head_dim": 16, "sliding_window": 16, "num_hidden_layers": 4, "query_pre_attn_scalar": 16},
    ),
    "Gemma 3 (window)": (
        "gemma3_text",
        {"head_dim": 16, "sliding_window": 16, "num_hidden_layers": 6, "query_pre_attn_scalar": 16},
    ),
    "Gemma 3n (window, shared keys)": (
        "gemma3n_text",
        {
            "head_dim": 16,
            "sliding_window": 16,
            "num_hidden_layers": 6,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 16,
            "laurel_rank": 8,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0] * 6,
            "intermediate_size": 128,
        },
    ),
    "Granite": ("granite", {}),
    "GraniteMoE": ("granitemoe", EXPERTS),
    "Jamba (hybrid)": (
        "jamba",
        EXPERTS
        | {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "LFM2 (hybrid)": ("lfm2", {"layer_types": ["conv", "full_attention"], "full_attn_idxs": [1]}),
    "Llama": ("llama", {}),
    "Llama 3 (rope scaling)": (
        "llama",
        _rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "Llama 4 (chunks)": (
        "llama4_text",
        MOE
        | {
            "head_dim": 16,
            "attention_chunk_size": 16,
            "num_hidden_layers": 4,
            "intermediate_size_mlp": 128,
            "layer_types": ["chunked_attention", "full_attention"] * 2,
            "no_rope_layers": [1, 0, 1, 0],
        },
    ),
    "Llama, dynamic RoPE": (
        "llama",
        {"max_position_embeddings": 64} | _rope("dynamic", factor=2.0),
    ),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Llama, YaRN": ("llama", _rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "MPT (ALiBi)": ("mpt", {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}),
    "Mamba": ("mamba", {"state_size": 8}),
    "Mamba 2": ("mamba2", {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 2}),
    "MiniMax": (
        "minimax",
        EXPERTS | {"head_dim": 16, "layer_types": ["linear_attention", "full_attention"]},
    ),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Mistral, window 16": ("mistral", {"sliding_window": 16}),
    "Mistral, window > context": ("mistral", {"sliding_window": 4096}),
    "Mixtral": ("mixtral", EXPERTS | {"sliding_window": None}),
    "Nemotron": ("nemotron", {}),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3 (window)": ("olmo3", {"sliding_window": 16, "num_hidden_layers": 4}),
    "OPT": ("opt", {"ffn_dim": 128, "word_embed_proj_dim": 64}),
    "Persimmon": ("persimmon", {}),
    "Phi (1, 2)": ("phi", {}),
    "Phi-3": ("phi3", {"sliding_window": None}),
    "Phi-3, window > context": ("phi3", {"sliding_window": 4096}),
    "Phi-3, longrope, crossed": ("phi3", {"original_max_position_embeddings": 24} | LONGROPE),
    "Phi-3, longrope, beyond": ("phi3", {"original_max_position_embeddings": 24} | LONGROPE),
    "PhiMoE": ("phimoe", EXPERTS | {"sliding_window": None}),
    "Qwen2": ("qwen2", {}),
    "Qwen2 (window)": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "Qwen2-MoE": ("qwen2_moe", MOE),
    "Qwen3": ("qwen3", {"head_dim": 16}),
    "Qwen3-MoE": ("qwen3_moe", MOE | {"head_dim": 16}),
    "Qwen3-Next (hybrid)": (
        "qwen3_next",
        MOE
        | {
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
    ),
    "RWKV": ("rwkv", {"context_length": 512, "attention_hidden_size": 64}),
    "RecurrentGemma": (
        "recurrent_gemma",
        {"attention_window_size": 16, "lru_width": 64, "block_types": ["recurrent", "attention"]},
    ),
    "Seed-OSS": ("seed_oss", {"head_dim": 16}),
    "SmolLM3 (some layers without positions)": ("smollm3", {"num_hidden_layers": 4}),
    "StableLM": ("stablelm", {}),
    "StarCoder2": ("starcoder2", {"sliding_window": None}),
    "StarCoder2, window > context": ("starcoder2", {"sliding_window": 4096}),
    "XLNet": (
        "xlnet",
        {
            "max_position_embeddings": ...,
            "d_model": 64,
            "n_layer": 2,
            "n_head": 4,
            "d_inner": 128,
            "mem_len": 0,
        },
    ),
    "Zamba2 (hybrid)": (
        "zamba2",
        {
            "mamba_d_state": 16,
            "n_mamba_heads": 8,
            "mamba_headdim": 16,
            "num_mem_blocks": 1,
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
            "attention_head_dim": 32,
        },
    ),
}
"""Per name: the `model_type` of transformers, and what of the config is not as in `COMMON`; what is
``...`` is left out."""


@frozen(kw_only=True)
class Found:
    """What was found out about an architecture.

    Attributes:
        path: ``"trees"``: only what is missing runs; ``"whole prompts"``; or why it was refused.
        as_uncached: whether its greedy tokens are those of whole prompts; None: it gave none.
        as_generate: whether they are those of transformers' `generate`.
        worst: largest difference of a log-probability, in nats.
        said: what was logged when it was opened.
    """

    path: str
    as_uncached: bool | None = None
    as_generate: bool | None = None
    worst: float | None = None
    said: str = ""

    @property
    def right(self) -> bool:
        """Whether it gave what whole prompts give, and what `generate` does."""
        exact = self.worst is not None and self.worst < 1e-3
        return bool(self.as_uncached and self.as_generate and exact)


def build(name: str, folder: Path) -> Path:
    """Save the model of a case with a tokenizer; return `folder`."""
    kind, changes = CASES[name]
    given = {name: value for name, value in (COMMON | changes).items() if value is not ...}
    config = transformers.AutoConfig.for_model(kind, **given)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():  # some families have a deviation of their own
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
        build_tiny_tokenizer().save_pretrained(folder)
    return folder


async def examine(name: str, folder: Path, **options: Any) -> Found:
    """Open a saved case and hold what it gives against plain transformers.

    Raises:
        Exception: whatever it fails with.
    """
    said = _Said()
    logging.getLogger("egcfg_backends_hf").addHandler(said)
    backend = HFBackend(HFOptions(model=str(folder), device="cpu", **options))
    try:
        await backend.open()
        with quiet_transformers():
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        plain = _Plain(model.eval())
        trees = bool(backend._open_model.model.masks)
        random = np.random.default_rng(0)
        length = 16 if name.endswith("crossed") else PROMPT
        prompt = tuple(int(i) for i in random.integers(3, VOCABULARY, length))
        params = SamplingParams(temperature=0.0, max_tokens=ANSWER)
        [[answer]] = (await backend.sample([SampleRequest(prompt, 1, params)])).value
        worst = await _drafts(backend, plain, prompt, random)
        return Found(
            path="trees" if trees else "whole prompts",
            as_uncached=answer.ids == plain.greedy(prompt, len(answer.ids)),
            as_generate=answer.ids == plain.generated(prompt, len(answer.ids)),
            worst=worst,
            said="; ".join(said.lines),
        )
    finally:
        logging.getLogger("egcfg_backends_hf").removeHandler(said)
        await backend.close()


class _Plain:
    """Transformers itself, without a cache."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.inference_mode()
    def logprobs(self, ids: Ids) -> Any:
        logits = self._model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1).numpy()

    def greedy(self, prompt: Ids, count: int) -> Ids:
        ids = prompt
        for _ in range(count):
            ids += (int(self.logprobs(ids).argmax()),)
        return ids[len(prompt) :]

    @torch.inference_mode()
    def generated(self, prompt: Ids, count: int) -> Ids:
        ids = torch.tensor([prompt])
        found = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count
        )
        return tuple(found[0, len(prompt) :].tolist())


async def _drafts(backend: HFBackend, plain: _Plain, prompt: Ids, random: Any) -> float:
    """Score drafts on two branches, rewrite both, score more; return the worst difference."""

    def draw(count: int) -> Ids:
        return tuple(int(i) for i in random.integers(3, VOCABULARY, count))

    branches = [prompt, prompt[: len(prompt) // 2] + draw(20)]
    worst = 0.0
    for _ in range(2):
        requests = [ScoreRequest(branch, draw(size)) for branch in branches for size in (3, 2, 1)]
        answers = (await backend.score(requests)).value
        for request, distributions in zip(requests, answers, strict=True):
            for end, found in enumerate(distributions):
                expected = plain.logprobs(request.ids + request.draft[:end])
                worst = max(worst, float(abs(np.asarray(found.values) - expected).max()))
        branches = [branch[:-5] + draw(4) for branch in branches]
    return worst


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().partition("which is slow: ")[2] or record.getMessage()
        self.lines.append(line)


async def _found(name: str, *, debug: bool) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return await examine(name, build(name, Path(folder, "model")))
        except EgcfgError as error:
            return Found(path=f"refused: {error}")
        except Exception as error:  # noqa: BLE001 - a crash is a finding
            if debug:
                traceback.print_exc()
            return Found(path=f"CRASH: {type(error).__name__}: {summarize(error)}")


def _rows(found: Mapping[str, Found]) -> list[list[str]]:
    def word(value: bool | None) -> str:
        return "-" if value is None else "yes" if value else "NO"

    return [
        [
            name,
            each.path,
            word(each.as_uncached),
            word(each.as_generate),
            "-" if each.worst is None else f"{each.worst:.0e}",
            each.said,
        ]
        for name, each in found.items()
    ]


COLUMNS = ("architecture", "runs", "as uncached", "as generate", "worst, nats", "said at the start")


def _markdown(found: Mapping[str, Found], summary: str) -> str:
    assert __doc__ is not None
    explained = __doc__.split("\n\n")[-1].strip()
    lines = [
        "# Architectures",
        "",
        f"Made by `python bench/architectures.py --write docs/architectures.md` with transformers "
        f"{transformers.__version__} and torch {torch.__version__.partition('+')[0]}.",
        "",
        " ".join(explained.split()),
        "",
        "*Trees*: every prefix is computed once, and drafts and branches share passes. "
        "*Whole prompts*: every question runs its prompt from the start, which is right but slow; "
        "the last column says why.",
        "",
        summary,
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in _rows(found)),
    ]
    return "\n".join(lines) + "\n"


async def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the cases, print the table; return how many were wrong or crashed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--only", action="append", default=[], help="part of a name; repeatable")
    parser.add_argument("--write", type=Path, help="write the table there, as Markdown")
    parser.add_argument("--debug", action="store_true", help="show where a crash came from")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    facts = {"transformers": transformers.__version__, "torch": torch.__version__}
    report = Report("bench/architectures", facts)
    found: dict[str, Found] = {}
    for name in CASES:
        if not options.only or any(part.lower() in name.lower() for part in options.only):
            found[name] = await _found(name, debug=options.debug)
            report.progress(f"{name}: {found[name].path}")
    report.table("Architectures", COLUMNS, _rows(found))
    wrong = [n for n, each in found.items() if each.worst is not None and not each.right]
    crashed = [n for n, each in found.items() if each.path.startswith("CRASH")]
    fast = [n for n, each in found.items() if each.path == "trees" and each.right]
    slow = [n for n, each in found.items() if each.path == "whole prompts" and each.right]
    refused = len(found) - len(fast) - len(slow) - len(wrong) - len(crashed)
    summary = (
        f"Of {len(found)}: {len(fast)} run as trees, {len(slow)} as whole prompts, "
        f"{len(wrong)} are wrong, {len(crashed)} crash, {refused} are refused."
    )
    report.say(summary)
    if options.write:
        options.write.write_text(_markdown(found, summary))
    return len(wrong) + len(crashed)


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(main())))
