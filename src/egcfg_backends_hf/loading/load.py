"""Loads a model and its tokenizer, turning what can go wrong there into one clear line."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from attrs import frozen
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from egcfg.errors import BackendError, UsageError, summarize
from egcfg_backends_hf.engine.causal_model import is_out_of_memory
from egcfg_backends_hf.engine.linear_layers import can_pack, can_round, pack_linear_layers
from egcfg_backends_hf.loading.gguf import converted_folder, quiet_transformers
from egcfg_backends_hf.loading.source import find_model, is_rounded
from egcfg_backends_hf.options import HFOptions

__all__ = ["LoadedModel", "compile_model", "load_model", "pack_model", "settings_left_out"]

CHANGING: Mapping[str, tuple[object, ...]] = {
    "num_beams": (1,),
    "penalty_alpha": (0, 0.0),
    "dola_layers": (),
    "repetition_penalty": (1, 1.0),
    "encoder_repetition_penalty": (1, 1.0),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "bad_words_ids": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "sequence_bias": (),
    "guidance_scale": (1, 1.0),
    "watermarking_config": (),
    "stop_strings": (),
    "token_healing": (False,),
}
"""Generation settings that change greedy decoding, with the values that change nothing, as
`NOTHING` does for each."""

NOTHING: tuple[object, ...] = (None, "", [], {})


@frozen
class LoadedModel:
    """A model in evaluation mode on its device, with its tokenizer.

    Attributes:
        model: the transformers model.
        tokenizer: the transformers tokenizer.
    """

    model: PreTrainedModel
    tokenizer: Any


def load_model(options: HFOptions) -> LoadedModel:
    """Load what `options` name; `finish_model` makes of it what runs.

    Raises:
        UsageError: no such model or device, or the model cannot be read.
        MissingExtraError: the embedded model is asked for and not installed.
        BackendError: the model does not fit the device's memory.
    """
    device = _device(options.device)
    _check_together(options, plain=_stays_plain(options, device))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    source = find_model(options.model, options.revision)
    location = source.location
    if source.is_file:
        location = str(converted_folder(Path(location)))
    shared = {
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
        "local_files_only": source.local,
    }
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(location, **shared)
            config = AutoConfig.from_pretrained(location, **shared)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                location,
                config=config,
                dtype=_dtype(options.dtype, device, config.dtype),
                device_map=options.device_map,
                output_loading_info=True,
                **shared,
            )
            model, report = loaded
            if options.device_map is None:
                model.to(device)
        except Exception as error:
            if is_out_of_memory(error):
                raise _too_large(source.name, device) from error
            # Broken files fail in any way, inside any of several libraries.
            raise UsageError(
                f"cannot load the model {location}: {_why(location, shared) or summarize(error)}; "
                "pass a folder, .gguf file or hub id of a causal model that transformers can load"
            ) from error
    lacking = sorted(report["missing_keys"]) + sorted(str(k) for k in report["mismatched_keys"])
    if lacking:
        raise UsageError(
            f"the model {source.name} is incomplete: it lacks {len(lacking)} weights, "
            f"such as {lacking[0]}; download it again"
        )
    return LoadedModel(model.eval(), tokenizer)


def _why(location: str, shared: dict[str, Any]) -> str | None:
    """Return what is wrong with a model's architecture, where that is what is wrong."""
    known = {k: v for k, v in shared.items() if k != "trust_remote_code"}
    try:
        config, _ = PreTrainedConfig.get_config_dict(location, **known)
    except Exception:  # noqa: BLE001 - whatever it is, loading itself has said it
        return None
    kind = config.get("model_type")
    if "auto_map" in config and not shared["trust_remote_code"]:
        return "it comes with code of its own, which -o backend.trust_remote_code=true lets run"
    if kind is None:
        return None
    if kind not in CONFIG_MAPPING:
        version = transformers.__version__
        return f"its architecture {kind!r} is unknown to transformers {version}"
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"its architecture {kind!r} is no causal language model"
    return None


def settings_left_out(model: PreTrainedModel) -> dict[str, Any]:
    """Return what a model's generation settings ask for and greedy decoding here leaves out.

    `generate` of transformers would choose other tokens with them. How tokens are sampled is
    egcfg's own to say.
    """
    settings = model.generation_config
    asked = {name: getattr(settings, name, None) for name in CHANGING}
    return {k: value for k, value in asked.items() if value not in (*NOTHING, *CHANGING[k])}


def pack_model(
    model: PreTrainedModel,
    options: HFOptions,
    run: Callable[[], object],
    release: Callable[[nn.Module], object] = lambda _: None,
    without: Container[str] = (),
) -> str:
    """Keep a loaded model's weights as `options` ask.

    Args:
        model: as it was loaded.
        options: the same.
        run: runs a few tokens through it as passes will.
        release: releases the memory that a layer was read from, see `releasing_pages`.
        without: ways in which it could not be kept before, for ``"auto"`` to pass over.

    Returns:
        One of `WEIGHTS`, and not ``"auto"``.

    Raises:
        UsageError: its weights cannot be kept so.
        WeightsError: the same, and some layers may have been replaced: it must be loaded again.
        BackendError: memory runs out.
    """
    if _stays_plain(options, model.device):
        return "plain"
    weights = next(way for way in _ways(options, model.dtype) if way not in without)
    try:
        pack_linear_layers(model, weights, model.dtype, run, release)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise _too_large(options.model_name, model.device) from error
        raise
    return weights


def _ways(options: HFOptions, dtype: torch.dtype) -> Sequence[str]:
    """Return how `options` would have weights kept, best first."""
    if options.weights != "auto":
        return [options.weights]
    is_possible = {
        "float16": can_round(dtype) and is_rounded(options.model),
        "packed": can_pack(dtype),
        "plain": True,
    }
    return [way for way, possible in is_possible.items() if possible]


def compile_model(model: PreTrainedModel, run: Callable[[], object]) -> None:
    """Let torch compile the model's layers, for passes of any length, and try it out.

    Its head is one matrix product: there is nothing to gain, and how many distributions are wanted
    would be one more size to compile for.

    Args:
        model: as it was loaded.
        run: runs a few tokens through it as passes will.

    Raises:
        UsageError: this model or machine does not allow it.
    """
    layers = model.base_model
    layers.forward = torch.compile(layers.forward, dynamic=True)
    try:
        run()
    except Exception as error:  # compilers fail in their own ways, a missing one included
        raise UsageError(
            f"the model cannot be compiled here: {summarize(error)}; leave out backend.compile"
        ) from error


def _stays_plain(options: HFOptions, device: torch.device) -> bool:
    return options.device_map is not None or device.type != "cpu" or options.compile


def _check_together(options: HFOptions, *, plain: bool) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: there are such options.
    """
    if options.device_map is not None and options.device != "auto":
        raise UsageError(
            f"backend.device_map={options.device_map} chooses the devices itself; "
            f"leave out backend.device={options.device}"
        )
    if plain and options.weights not in ("auto", "plain"):
        raise UsageError(
            f"backend.weights={options.weights} is for models on the CPU alone that are not "
            "compiled; leave it out, or add -o backend.device=cpu and neither backend.device_map "
            "nor backend.compile"
        )


def _too_large(name: str, device: torch.device) -> BackendError:
    return BackendError(
        f"the model {name} does not fit the memory of {device}; "
        "choose a smaller one, or -o backend.dtype=bfloat16"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise UsageError(
            f"the device {name!r} cannot be used: {summarize(error)}; try -o backend.device=cpu"
        ) from error
    return device


def _dtype(name: str, device: torch.device, saved: torch.dtype | None) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cpu":
        return torch.float64 if saved == torch.float64 else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
