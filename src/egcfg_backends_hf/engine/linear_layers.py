"""Linear layers for the CPU with weights packed once, in the order in which its kernels read them.

torch's own float32 layers reorder nothing and pay for it as soon as more than one token runs: on
two AVX-512 cores eight tokens take two to three times as long as with packed weights. The layers
here wrap kernels of torch that are otherwise reached through its compiler and its quantisation.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar, TypeGuard

import torch
from attrs import frozen
from torch import nn
from torch.nn import functional

from egcfg.errors import UsageError, summarize
from egcfg_backends_hf.engine.causal_model import is_out_of_memory

__all__ = [
    "HalfLinear",
    "Int8Linear",
    "PackedLinear",
    "SharedInput",
    "SharingLinear",
    "TiedRows",
    "WeightsError",
    "can_pack",
    "can_round",
    "pack_linear_layers",
]

TYPICAL_ROWS = 16
"""Packing asks for a number of rows; from 8 on the answer is the same."""

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)
"""How many rows oneDNN is given at once. For every new number of rows it makes and keeps a kernel
with its working memory: milliseconds and up to a MiB each, for as many numbers as prompts have
lengths. So rows are padded to the next of these, and many rows run in pieces."""

ALIKE = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""What transformers calls layers that are given the same rows one after the other."""

CHECKED = 100
"""Blocks of packed weights, of hundreds or thousands, that are compared with what was packed."""

PIECE = 1024
"""Rows of a weight that are looked at together."""

LARGEST_HALF = torch.finfo(torch.float16).max


class WeightsError(UsageError):
    """A model's weights cannot be kept as asked; some of its layers may have been replaced.

    Attributes:
        weights: how they cannot be kept.
        why: what happened.
    """

    def __init__(self, weights: str, why: str) -> None:
        self.weights = weights
        self.why = why
        super().__init__(
            f"backend.weights={weights} cannot be had here: {why}; use -o backend.weights=plain"
        )


class PackedLinear(nn.Module):
    """The same numbers in oneDNN's own order: results differ by the order of sums alone.

    Args:
        layers: one, or several of equally many inputs, whose outputs then follow one another;
            float32, or bfloat16 where oneDNN supports it; not kept.
    """

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        weight: torch.Tensor = layers[0].weight.detach()
        bias: torch.Tensor | None = layers[0].bias
        if len(layers) > 1:
            weight = torch.cat([layer.weight for layer in layers])
            bias = _joined_bias(layers)
        # Not buffers: whoever moves or saves a model cannot handle the packed layout.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)
        self.bias = bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, shape (..., outputs) for rows of shape (..., inputs)."""
        if rows.numel() // rows.shape[-1] in SIZES:  # most passes: nothing but the kernel then
            return self._kernel(rows)
        flat = rows.reshape(-1, rows.shape[-1])
        pieces = [self._padded(piece) for piece in torch.split(flat, SIZES[-1])]
        output = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return output.reshape(*rows.shape[:-1], output.shape[-1])

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        size = SIZES[bisect_left(SIZES, count)]
        if size > count:
            rows = functional.pad(rows, (0, 0, 0, size - count))
        return self._kernel(rows)[:count]

    def _kernel(self, rows: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
            rows, self.weight, self.bias, "none", [], ""
        )
        return output


class SharedInput:
    """Packed layers that are given the same rows one after the other, as one layer.

    A call costs time of its own, whatever it multiplies (60 microseconds on two cores, which is
    what reading 0.2 million weights takes). With the queries, keys and values of attention in one
    call, and both inputs of a gated unit, a small model's pass of few tokens takes a tenth less.

    Args:
        layers: of equally many inputs; not kept.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._sizes = [layer.out_features for layer in layers]
        self._packed = PackedLinear(*layers)
        self._held: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def output(self, index: int, rows: torch.Tensor) -> torch.Tensor:
        """Return the output of one of the layers, see `PackedLinear.forward`.

        Args:
            index: which; after the last one nothing is kept.
            rows: if this very tensor was given to another layer just before, the output is there;
                nothing writes into it in between.
        """
        held = self._held
        if held is None or held[0] is not rows:
            held = (rows, list(self._packed(rows).split(self._sizes, dim=-1)))
        self._held = held if index < len(self._sizes) - 1 else None
        return held[1][index]


class SharingLinear(nn.Module):
    """One of the layers of a `SharedInput`.

    Args:
        shared: all of them.
        index: which this is.
    """

    def __init__(self, shared: SharedInput, index: int) -> None:
        super().__init__()
        self._shared = shared
        self._index = index

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, see `PackedLinear.forward`."""
        return self._shared.output(self._index, rows)


class HalfLinear(nn.Module):
    """Weights rounded to float16; inputs, sums and outputs stay float32 (FBGEMM).

    With AVX-512 a row's result does not depend on how many other rows run with it, to the last bit;
    FBGEMM's older kernels add in another order for another number of rows.

    Args:
        layer: float32; not kept.

    Raises:
        ValueError: a weight is too large for float16.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        largest = float(torch.stack(weight.aminmax()).abs().max())
        if not largest <= LARGEST_HALF:
            raise ValueError(f"a weight of {largest:g} does not fit float16")
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, layer.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, see `PackedLinear.forward`."""
        output: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)
        return output


class Int8Linear(nn.Module):
    """Weights rounded to 255 steps per output; inputs and outputs stay bfloat16.

    Args:
        layer: bfloat16; not kept.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()  # (outputs, inputs)
        steps = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (weight / steps[:, None]).round().to(torch.int8))
        self.register_buffer("steps", steps.to(layer.weight.dtype))
        self.bias = layer.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, see `PackedLinear.forward`."""
        flat = rows.reshape(-1, rows.shape[-1])
        output: torch.Tensor = torch.ops.aten._weight_int8pack_mm(flat, self.weight, self.steps)
        output = output.reshape(*rows.shape[:-1], output.shape[-1])
        return output if self.bias is None else output + self.bias


class TiedRows(nn.Module):
    """The embedding of a model whose output layer has the same weight, which is held once.

    What oneDNN has packed is read where it lies: blocks of outputs, in each the outputs of the
    first input, of the second, and so on. Of layers that cannot be read so, a copy in 16 bits is
    held where these are enough for the same numbers.

    Args:
        blocks: shape (blocks, inputs, rows of a block).
        like: the embedding's weight; not kept.
        owner: of the memory that `blocks` is in.
    """

    def __init__(self, blocks: torch.Tensor, like: torch.Tensor, owner: object) -> None:
        super().__init__()
        self._blocks = blocks
        self._owner = owner
        # The type and device of a model are those of its first parameter; there may be no other.
        self.weight = nn.Parameter(like.new_empty(0, like.shape[1]), requires_grad=False)

    @classmethod
    def of(cls, packed: nn.Module, weight: torch.Tensor) -> TiedRows | None:
        """Return the rows of a weight that was packed, None where they take a copy as large."""
        if isinstance(packed, PackedLinear):
            found = (_in_blocks(packed.weight, size, weight) for size in (64, 48, 32, 24, 16, 8))
            blocks = next((each for each in found if each is not None), None)
        else:
            narrow = (d for d in (torch.float16, torch.bfloat16) if d.itemsize < weight.itemsize)
            exact = next((dtype for dtype in narrow if _is_enough(dtype, weight)), None)
            blocks = None if exact is None else weight.to(exact)[..., None]
        return None if blocks is None else cls(blocks, weight, packed)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the rows of `ids`, shape (..., inputs)."""
        size = self._blocks.shape[2]
        return self._blocks[ids // size, :, ids % size].to(self.weight.dtype)


def _is_enough(dtype: torch.dtype, weight: torch.Tensor) -> bool:
    """Return whether a type of numbers holds a weight to the last bit."""
    # In pieces: beside the output layer nothing is as large as a copy of it.
    pieces = torch.split(weight, PIECE)
    return all(torch.equal(piece.to(dtype).to(weight.dtype), piece) for piece in pieces)


def _in_blocks(packed: torch.Tensor, size: int, weight: torch.Tensor) -> torch.Tensor | None:
    """Return the memory of a weight that oneDNN packed, if that is in blocks of so many rows."""
    count, inputs = weight.shape
    length = torch.ops.mkldnn._nbytes(packed)
    outputs = -(-count // size) * size  # the last block is filled up, and inputs may be
    if length % (outputs * weight.element_size()):
        return None
    memory = (ctypes.c_char * length).from_address(torch.ops.mkldnn.data_ptr(packed))
    numbers = torch.frombuffer(memory, dtype=weight.dtype)
    blocks = numbers.view(outputs // size, -1, size)[:, :inputs]
    pieces = list(zip(blocks, torch.split(weight, size), strict=True))
    step = max(1, (len(pieces) - 1) // CHECKED)
    checked = [*pieces[::step], pieces[-1]]
    return blocks if all(torch.equal(b.T[: len(w)], w) for b, w in checked) else None


KINDS: dict[str, tuple[type[nn.Module], tuple[torch.dtype, ...]]] = {
    "packed": (PackedLinear, (torch.float32, torch.bfloat16)),
    "float16": (HalfLinear, (torch.float32,)),
    "int8": (Int8Linear, (torch.bfloat16,)),
}
"""Per way of keeping weights: its layer, and which types of numbers it computes with."""


def can_round(dtype: torch.dtype) -> bool:
    """Return whether FBGEMM, which has the fast layers of float16 weights, computes here."""
    return dtype == torch.float32 and torch.backends.quantized.engine in ("fbgemm", "x86")


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether oneDNN, which has the packed layers, computes with these numbers here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack_linear_layers(
    model: nn.Module,
    weights: str,
    dtype: torch.dtype,
    run: Callable[[], object],
    release: Callable[[nn.Module], object] = lambda _: None,
) -> None:
    """Replace the linear layers of a model on the CPU.

    Layers whose weights the model reads itself (Mamba, Jamba, RWKV do) stay as they are.

    Args:
        model: in evaluation mode.
        weights: ``"plain"``: nothing is replaced; or one of `KINDS`.
        dtype: the model's.
        run: runs a few tokens through the model: to see who reads what, and whether it still runs.
        release: called with each layer that was replaced: what its weights were read from is of no
            use any more.

    Raises:
        UsageError: this way cannot be had with these numbers.
        WeightsError: it cannot be had on this machine, or with this model.
        RuntimeError: out of memory.
    """
    if weights == "plain":
        return
    kind, dtypes = KINDS[weights]
    if dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise UsageError(
            f"backend.weights={weights} computes with {names}; add -o backend.dtype={names}"
        )
    pool = ThreadPoolExecutor(torch.get_num_threads())
    with torch.no_grad(), _saying_what_cannot_be_had(weights), pool:
        kept = _read_by_others(model, run)
        embeddings = {
            id(child.weight): (parent, name)
            for parent in model.modules()
            for name, child in parent.named_children()
            if type(child) is nn.Embedding and child not in kept
        }
        alike = ALIKE if kind is PackedLinear else ()
        groups = [group for parent in model.modules() for group in _groups(parent, alike, kept)]
        # FBGEMM packs in one thread: the largest first, so that none is left to the end, and while
        # the least is held beside it.
        groups.sort(key=lambda group: -sum(layer.weight.numel() for layer in group.layers))

        def pack(group: _Group) -> None:
            layers = group.layers
            with torch.no_grad():  # which is a thread's own
                packed = [kind(*layers)] if len(layers) == 1 else _sharing(layers)
            for name, layer, replacement in zip(group.names, layers, packed, strict=True):
                setattr(group.parent, name, replacement)
                tied = embeddings.get(id(layer.weight))
                if tied and (rows := TiedRows.of(replacement, layer.weight)):
                    setattr(*tied, rows)
                release(layer)

        list(pool.map(pack, groups))
        run()


class _Watched(nn.Module):
    """A layer that notes when anybody but itself reads its weight."""

    readers: ClassVar[set[nn.Module]] = set()

    @property
    def weight(self) -> torch.Tensor:
        self.readers.add(self)
        return self._parameters["weight"]  # type: ignore[return-value]


class _WatchedLinear(_Watched, nn.Linear):  # type: ignore[override]
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        return functional.linear(rows, weight, bias)  # type: ignore[arg-type]


class _WatchedEmbedding(_Watched, nn.Embedding):  # type: ignore[override]
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids, self._parameters["weight"])  # type: ignore[arg-type]


WATCHED: dict[type[nn.Module], type[_Watched]] = {
    nn.Linear: _WatchedLinear,
    nn.Embedding: _WatchedEmbedding,
}


def _read_by_others(model: nn.Module, run: Callable[[], object]) -> set[nn.Module]:
    """Return the layers whose weights are read by others while the model runs."""
    layers = [layer for layer in model.modules() if type(layer) in WATCHED]
    usual = [type(layer) for layer in layers]
    _Watched.readers.clear()
    for layer in layers:
        layer.__class__ = WATCHED[type(layer)]
    try:
        run()
        return set(_Watched.readers)
    finally:
        for layer, kind in zip(layers, usual, strict=True):
            layer.__class__ = kind
        _Watched.readers.clear()


@frozen
class _Group:
    """Layers of one module that are packed as one.

    Attributes:
        parent: the module.
        names: what it calls them.
    """

    parent: nn.Module
    names: Sequence[str]

    @property
    def layers(self) -> list[nn.Linear]:
        return [getattr(self.parent, name) for name in self.names]


def _groups(
    parent: nn.Module, alike: Iterable[Sequence[str]], kept: set[nn.Module]
) -> Iterator[_Group]:
    """Yield a module's own layers, but for those in `kept`.

    Those whose names are in a row of `alike` are together where they have equally many inputs.
    """
    layers = {n: c for n, c in parent.named_children() if _is_plain(c) and c not in kept}
    for names in alike:
        if layers.keys() >= set(names) and len({layers[n].in_features for n in names}) == 1:
            yield _Group(parent, names)
            layers = {n: c for n, c in layers.items() if n not in names}
    yield from (_Group(parent, [name]) for name in layers)


def _sharing(layers: Sequence[nn.Linear]) -> list[SharingLinear]:
    shared = SharedInput(layers)
    return [SharingLinear(shared, index) for index in range(len(layers))]


def _joined_bias(layers: Sequence[nn.Linear]) -> torch.Tensor | None:
    if all(layer.bias is None for layer in layers):
        return None
    return torch.cat(
        [
            layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
            for layer in layers
        ]
    )


def _is_plain(layer: object) -> TypeGuard[nn.Linear]:
    return type(layer) is nn.Linear  # what derives from it may use its weight otherwise


@contextmanager
def _saying_what_cannot_be_had(weights: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a model's code fails in any way without its layers
        if is_out_of_memory(error):
            raise
        raise WeightsError(weights, summarize(error)) from error
