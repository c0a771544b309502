from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from egcfg.errors import UsageError
from egcfg.interfaces.backend import ScoreRequest
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.engine.evaluator import Evaluator, PendingScore, evaluator_for
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.linear_layers import (
    HalfLinear,
    Int8Linear,
    PackedLinear,
    SharedInput,
    SharingLinear,
    TiedRows,
    pack_linear_layers,
)
from egcfg_backends_hf.loading.load import load_model, pack_model
from egcfg_backends_hf.options import HFOptions

SHAPES = [(576, 64), (1536, 576), (48, 100)]
PACKS_BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    generator = torch.Generator().manual_seed(inputs + outputs)
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.05, generator=generator)
    return layer.requires_grad_(requires_grad=False)


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def open_folder(folder: Path, **options: Any) -> tuple[CausalModel, Evaluator]:
    """The model as backends run it, and what runs it."""
    asked = HFOptions(model=str(folder), **options)
    model = CausalModel(load_model(asked).model)
    evaluator = evaluator_for(model, "the model")
    pack_model(model.model, asked, model.run_once)
    return model, evaluator


def load_folder(folder: Path, **options: Any) -> nn.Module:
    return open_folder(folder, **options)[0].model


def logprobs_after(opened: tuple[CausalModel, Evaluator], ids: tuple[int, ...]) -> torch.Tensor:
    """What the model that backends run says of the token after `ids`."""
    lane, pending = Lane(0), PendingScore(ScoreRequest(ids))
    opened[1].run_pass({lane: [pending]}, [lane])
    [found] = pending.answer()
    return torch.from_numpy(found.values)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_packed_layers_give_the_same_numbers(inputs: int, outputs: int, bias: bool) -> None:
    layer = linear(inputs, outputs, bias=bias)
    packed = PackedLinear(layer)
    for given in (rows(1, 1, inputs), rows(3, 9, inputs)[:, -2:], rows(2, 150, inputs)):
        torch.testing.assert_close(packed(given), layer(given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biased", [(), (0, 1, 2), (1,)])
def test_layers_that_share_their_input_give_each_its_own_numbers(biased: tuple[int, ...]) -> None:
    layers = [linear(576, size, bias=i in biased) for i, size in enumerate((64, 48, 7))]
    shared = SharedInput(layers)
    sharing = [SharingLinear(shared, index) for index in range(len(layers))]
    for given in (rows(1, 1, 576), rows(1, 9, 576), rows(2, 150, 576)):
        for layer, one in zip(layers, sharing, strict=True):
            torch.testing.assert_close(one(given), layer(given), atol=1e-5, rtol=1e-5)


def test_a_shared_input_is_run_once_and_forgotten_after_the_last_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = [linear(64, size, bias=False) for size in (48, 16)]
    shared = SharedInput(layers)
    ran: list[torch.Tensor] = []
    kernel = PackedLinear.forward
    monkeypatch.setattr(
        PackedLinear, "forward", lambda self, given: ran.append(given) or kernel(self, given)
    )
    given = rows(1, 3, 64)
    shared.output(0, given)
    shared.output(1, given)
    assert len(ran) == 1
    assert shared._held is None
    shared.output(0, given)
    assert len(ran) == 2


def test_another_tensor_of_the_same_shape_is_not_taken_for_the_shared_input() -> None:
    layers = [linear(64, size, bias=False) for size in (48, 16)]
    shared = SharedInput(layers)
    shared.output(0, rows(1, 3, 64))
    other = 2 * rows(1, 3, 64)
    torch.testing.assert_close(shared.output(1, other), layers[1](other), atol=1e-5, rtol=1e-5)


def test_projections_of_a_model_are_packed_together(tiny_llama: Path) -> None:
    modules = dict(load_folder(tiny_llama, weights="packed", dtype="float32").named_modules())
    kinds = {name.rpartition(".")[2]: type(module) for name, module in modules.items()}
    for name in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
        assert kinds[name] is SharingLinear
    for name in ("o_proj", "down_proj", "lm_head"):
        assert kinds[name] is PackedLinear


def test_layers_of_such_names_and_other_inputs_are_packed_one_by_one() -> None:
    model = nn.Module()
    model.q_proj, model.k_proj = linear(64, 48, bias=False), linear(32, 48, bias=False)
    model.v_proj, model.up_proj = linear(64, 48, bias=False), linear(64, 48, bias=False)
    pack_linear_layers(model, "packed", torch.float32, lambda: None)
    assert {type(layer) for layer in model.children()} == {PackedLinear}


class ReadsWeights(nn.Module):
    """As Mamba and RWKV do: multiplies with the weight of one of its layers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(8, 8, bias=True), linear(8, 8, bias=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.first(given) @ self.second.weight.T


def test_layers_whose_weights_a_model_reads_itself_stay_as_they_are() -> None:
    model = ReadsWeights()
    expected = model(rows(3, 8))
    pack_linear_layers(model, "packed", torch.float32, lambda: model(rows(1, 8)))
    assert (type(model.first), type(model.second)) == (PackedLinear, nn.Linear)
    torch.testing.assert_close(model(rows(3, 8)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", ["packed", "float16"])
def test_what_a_layer_was_read_from_is_let_go_once_it_is_replaced(weights: str) -> None:
    model = nn.Module()
    model.q_proj, model.k_proj, model.v_proj = (linear(64, 48, bias=False) for _ in range(3))
    model.lm_head, model.norm = linear(64, 1000, bias=False), nn.LayerNorm(64)
    layers = [child for child in model.children() if isinstance(child, nn.Linear)]
    released: list[nn.Module] = []

    def release(layer: nn.Module) -> None:
        assert layer not in set(model.children())
        released.append(layer)

    pack_linear_layers(model, weights, torch.float32, lambda: None, release)
    assert sorted(map(id, released)) == sorted(map(id, layers))


def test_a_model_that_does_not_run_with_packed_weights_is_refused() -> None:
    model = nn.Sequential(linear(8, 8, bias=False))

    def run() -> None:
        if not isinstance(model[0], nn.Linear):
            raise AttributeError("needs its weight")

    with pytest.raises(UsageError, match=r"needs its weight; use -o backend\.weights=plain"):
        pack_linear_layers(model, "packed", torch.float32, run)
    assert type(linear(8, 8, bias=False)) is nn.Linear


@pytest.mark.parametrize(("inputs", "outputs"), [*SHAPES, (70, 1001), (64, 65)])
def test_an_embedding_is_read_out_of_the_packed_output_layer_to_the_last_bit(
    inputs: int, outputs: int
) -> None:
    layer = linear(inputs, outputs, bias=False)
    tied = TiedRows.of(PackedLinear(layer), layer.weight)
    assert tied is not None
    assert tied.weight.shape == (0, inputs)
    ids = torch.arange(outputs).flip(0)[None]
    assert torch.equal(tied(ids), layer.weight[ids])


@pytest.mark.parametrize("saved", [torch.float16, torch.bfloat16])
def test_an_embedding_whose_output_layer_is_rounded_is_held_in_16_bits_that_are_enough(
    saved: torch.dtype,
) -> None:
    layer = linear(64, 48, bias=False)
    layer.weight.data[0, 0] = 1e-7  # float16 has steps of 6e-8 there
    weight = nn.Parameter(layer.weight.to(saved).float(), requires_grad=False)
    tied = TiedRows.of(HalfLinear(layer), weight)
    assert tied is not None
    assert tied._blocks.dtype == saved
    ids = torch.tensor([[3, 47, 0]])
    assert torch.equal(tied(ids), weight[ids])


def test_an_embedding_that_16_bits_would_round_stays() -> None:
    layer = linear(64, 48, bias=False)
    assert TiedRows.of(HalfLinear(layer), layer.weight) is None


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(48, 64), linear(64, 48, bias=False)
        self.embedding.weight = self.head.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(ids))


class ReadsEmbedding(Tied):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) + self.embedding.weight.mean()


@pytest.mark.parametrize(("kind", "expected"), [(Tied, TiedRows), (ReadsEmbedding, nn.Embedding)])
def test_a_tied_output_layer_is_held_once_unless_the_model_reads_its_embedding_itself(
    kind: type[Tied], expected: type[nn.Module]
) -> None:
    model, ids = kind(), torch.tensor([[5, 7, 47]])
    usual = model(ids)
    pack_linear_layers(model, "packed", torch.float32, lambda: model(ids))
    assert type(model.embedding) is expected
    assert type(model.head) is PackedLinear
    torch.testing.assert_close(model(ids), usual, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_half_layers_round_the_weights_and_nothing_else(
    inputs: int, outputs: int, bias: bool
) -> None:
    layer = linear(inputs, outputs, bias=bias)
    half = HalfLinear(layer)
    rounded = layer.weight.half().float()
    for given in (rows(1, 1, inputs), rows(2, 5, inputs), rows(3, 9, inputs)[:, -2:]):
        expected = functional.linear(given, rounded, layer.bias)
        torch.testing.assert_close(half(given), expected, atol=1e-5, rtol=1e-5)


def test_a_row_of_a_half_layer_does_not_depend_on_the_other_rows() -> None:
    half = HalfLinear(linear(1536, 576, bias=False))
    given = rows(40, 1536)
    alone = torch.cat([half(given[i : i + 1]) for i in range(len(given))])
    rounding = 0.0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 2e-5
    for count in (2, 3, 6, 8, 13, 40):
        torch.testing.assert_close(half(given[:count]), alone[:count], atol=rounding, rtol=0.0)


@pytest.mark.parametrize("bias", [False, True])
def test_int8_layers_stay_within_a_step_of_each_weight(bias: bool) -> None:
    layer = linear(64, 48, bias=bias).bfloat16()
    each = torch.eye(64, dtype=torch.bfloat16)[None]  # picks the weights one by one
    steps = layer.weight.float().abs().amax(dim=1) / 127
    difference = (Int8Linear(layer)(each) - layer(each)).abs().float()
    assert bool((difference <= steps * 1.5).all())


@pytest.mark.parametrize(
    ("weights", "dtype", "close"),
    [
        ("packed", "float32", 1e-4),
        ("float16", "float32", 0.01),
        pytest.param(
            *("packed", "bfloat16", 0.5),
            marks=pytest.mark.skipif(not PACKS_BFLOAT16, reason="this processor lacks AVX-512"),
        ),
        ("int8", "bfloat16", 0.25),
    ],
)
def test_models_score_alike_however_their_weights_are_kept(
    tiny_llama: Path, weights: str, dtype: str, close: float
) -> None:
    def scores(weights: str) -> torch.Tensor:
        opened = open_folder(tiny_llama, weights=weights, dtype=dtype)
        return logprobs_after(opened, tuple(range(5, 25)))

    assert float((scores(weights) - scores("plain")).abs().mean()) < close


@pytest.mark.skipif(PACKS_BFLOAT16, reason="this processor has AVX-512")
def test_what_the_processor_lacks_is_refused_with_what_to_do_instead(tiny_llama: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be had here: .* use -o backend\.weights=plain"):
        load_folder(tiny_llama, weights="packed", dtype="bfloat16")


def test_float64_models_stay_as_they_are(tiny_llama: Path) -> None:
    kinds = {type(module) for module in load_folder(tiny_llama).modules()}
    assert nn.Linear in kinds
    assert not kinds & {PackedLinear, HalfLinear, Int8Linear}


@pytest.mark.parametrize(
    ("weights", "dtype", "kind"),
    [
        ("auto", "float32", PackedLinear),
        ("auto", "bfloat16", PackedLinear if PACKS_BFLOAT16 else nn.Linear),
        ("float16", "float32", HalfLinear),
        ("int8", "bfloat16", Int8Linear),
        ("plain", "float32", nn.Linear),
    ],
)
def test_every_linear_layer_is_kept_as_the_option_says(
    tiny_llama: Path, weights: str, dtype: str, kind: type[nn.Module]
) -> None:
    model = load_folder(tiny_llama, weights=weights, dtype=dtype)
    kinds = {type(module) for module in model.modules()}
    assert kinds & {nn.Linear, PackedLinear, HalfLinear, Int8Linear} == {kind}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "int8", "dtype": "float32"}, r"add -o backend\.dtype=bfloat16"),
        ({"weights": "float16", "dtype": "bfloat16"}, r"add -o backend\.dtype=float32"),
        ({"weights": "packed"}, r"float32 or bfloat16"),  # the model was saved in float64
        ({"weights": "packed", "device_map": "auto"}, "on the CPU alone"),
        ({"weights": "packed", "dtype": "float32", "compile": True}, "that are not compiled"),
        ({"device_map": "auto", "device": "cpu"}, r"leave out backend\.device=cpu"),
    ],
)
def test_options_that_exclude_each_other_are_one_clear_line(
    tiny_llama: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_folder(tiny_llama, **options)


def test_weights_that_float16_cannot_hold_are_refused() -> None:
    model = nn.Sequential(linear(8, 8, bias=False))
    model[0].weight.data[3, 3] = 1e5
    with pytest.raises(UsageError, match="100000 does not fit float16"):
        pack_linear_layers(model, "float16", torch.float32, lambda: None)


def test_a_device_map_gives_the_same_model(tiny_llama: Path) -> None:
    def scores(**options: Any) -> torch.Tensor:
        return logprobs_after(open_folder(tiny_llama, **options), (5, 6, 7))

    mapped = scores(device_map="auto")
    if not torch.cuda.is_available():  # elsewhere in another type of numbers
        assert torch.equal(mapped, scores())
