"""Loads a model and its tokenizer, turning what can go wrong there into one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from egcfg.errors import BackendError, UsageError, summarize
from egcfg_backends_hf.engine.causal_model import is_out_of_memory
from egcfg_backends_hf.engine.linear_layers import pack_linear_layers
from egcfg_backends_hf.loading.gguf import converted_folder, quiet_transformers
from egcfg_backends_hf.loading.source import find_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["LoadedModel", "load_model"]


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
    """Load what `options` name.

    Raises:
        UsageError: no such model or device, the model cannot be read, or its weights cannot be kept
            as `options` ask.
        MissingExtraError: the embedded model is asked for and not installed.
        BackendError: the model does not fit the device's memory.
    """
    device = _device(options.device)
    plain = options.device_map is not None or device.type != "cpu" or options.compile
    _check_together(options, plain=plain)
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
                f"cannot load the model {location}: {summarize(error)}; "
                "pass a folder, .gguf file or hub id of a causal model that transformers can load"
            ) from error
    lacking = sorted(report["missing_keys"]) + sorted(str(k) for k in report["mismatched_keys"])
    if lacking:
        raise UsageError(
            f"the model {source.name} is incomplete: it lacks {len(lacking)} weights, "
            f"such as {lacking[0]}; download it again"
        )
    if not plain:
        try:
            pack_linear_layers(model, options.weights, model.dtype)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise _too_large(source.name, device) from error
            raise
    model.eval()
    if options.compile:
        _compile(model)
    return LoadedModel(model, tokenizer)


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


def _compile(model: PreTrainedModel) -> None:
    """Let torch compile the model's layers, for passes of any length, and try it out.

    Its head is one matrix product: there is nothing to gain, and how many distributions are wanted
    would be one more size to compile for.

    Raises:
        UsageError: this model or machine does not allow it.
    """
    layers = model.base_model
    layers.forward = torch.compile(layers.forward, dynamic=True)
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    try:
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)
    except Exception as error:  # compilers fail in their own ways, a missing one included
        raise UsageError(
            f"the model cannot be compiled here: {summarize(error)}; leave out backend.compile"
        ) from error


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
