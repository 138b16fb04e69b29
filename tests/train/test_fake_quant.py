"""Rounding in torch: the numbers of ONNX's QuantizeLinear, and useful gradients."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from srdeploy.exporting.precision.quantise_graph import quantise_weights
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.quantised import Quantised, Range
from srdeploy.train.fake_quant import Rounding, as_rounded, fixed, round_weights, rounding


def quantised(layers: tuple[str, ...], ranges: dict[str, tuple[float, float]]) -> Quantised:
    return Quantised(activations="uint8", layers=layers, ranges=ranges, weights_sha256="")


def onnx_rounds(x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    kind = TensorProto.UINT8 if zero.dtype == np.uint8 else TensorProto.INT8
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "s", "y")]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "pair",
        [*values[:2], helper.make_tensor_value_info("z", kind, None)],
        values[2:],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, {"x": x, "s": scale, "z": zero})[0]


@given(
    st.floats(-300, 0, width=32),
    st.floats(0, 300, width=32),
    st.sampled_from(["uint8", "int8"]),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_activations_are_rounded_as_onnx_rounds_them(
    low: float, high: float, activations: str, seed: int
) -> None:
    interval = Range(low, high)
    scale, zero = interval.grid(activations)  # type: ignore[arg-type]
    card = quantised((), {"a": (low, high)}).model_copy(update={"activations": activations})
    reach = 1.5 * max(-low, high, 1e-3)
    x = np.random.default_rng(seed).uniform(-reach, reach, 500).astype(np.float32)
    x[:20] = (np.arange(20) - 10 + 0.5) * scale  # halves go to the even side
    expected = onnx_rounds(x, np.asarray(scale), np.asarray(zero))
    found = fixed(card).of("a", torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@given(st.integers(0, 1000), st.sampled_from([0, 1]), st.floats(1e-12, 1e6))
@settings(max_examples=40, deadline=None)
def test_weights_are_rounded_as_the_export_rounds_them(seed: int, axis: int, size: float) -> None:
    weights = (np.random.default_rng(seed).normal(size=(5, 4, 3, 3)) * size).astype(np.float32)
    values, scales = quantise_weights(weights, axis)
    along = scales.reshape((-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1))
    found = round_weights(torch.from_numpy(weights), axis).numpy()
    np.testing.assert_allclose(found, values * along, rtol=1e-5, atol=1e-6 * np.abs(weights).max())


def test_gradients_are_those_of_learned_step_sizes() -> None:
    """Against autograd on the formula with straight-through rounding."""
    torch.manual_seed(0)
    x = (torch.randn(4000) * 3).requires_grad_()
    scale = torch.tensor(0.015, requires_grad=True)
    zero = torch.tensor(90.3, requires_grad=True)

    def through(value: Tensor, rounded: Tensor) -> Tensor:
        return value + (rounded - value).detach()

    whole = through(zero, zero.round())
    steps = through(x / scale, (x / scale).round()) + whole
    expected = scale * (steps.clamp(0, 255) - whole)
    found = Rounding({"a"}, {"a": (scale, zero)}, (0, 255)).of("a", x)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(4000)
    wanted = torch.autograd.grad(expected, (x, scale, zero), upstream)
    got = torch.autograd.grad(found, (x, scale, zero), upstream)
    assert 0 < (wanted[0] == 0).float().mean() < 1  # some are clipped
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_weights_learn_straight_through() -> None:
    weights = torch.randn(3, 2, 3, 3, requires_grad=True)
    round_weights(weights, 0).square().sum().backward()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, 2 * round_weights(weights, 0).detach())


class Odd(nn.Module):
    """A sum in place, a ReLU on a sum, a layer used twice, shuffled pixels between layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        z = self.inner(y)
        z += y
        z = nn.functional.relu(z, inplace=True)
        return self.last(torch.pixel_shuffle(self.inner(z), 2))


def seen(module: nn.Module, card: Quantised, x: Tensor) -> tuple[Tensor, list[str]]:
    names: list[str] = []

    class Spy(Rounding):
        def of(self, name: str, value: Tensor) -> Tensor:
            names.append(name)
            return super().of(name, value)

    spy = Spy(**vars(fixed(card)))
    with rounding(module, lambda: spy), torch.inference_mode():
        return module(x), names


def test_what_is_rounded_where() -> None:
    module, x = Odd(), torch.rand(1, 1, 6, 6)
    rounded = {"first": (0.0, 1.0), "inner": (-1.0, 1.0), "inner:0": (0.0, 2.0), "sum.0": (-1, 2)}
    y, names = seen(module, quantised(("inner",), rounded), x)
    # The ReLU after the sum makes a tensor that no layer made. `inner` is read by the sum in place.
    assert names == ["first", "inner", "inner:0", "inner"]
    with torch.no_grad():
        grid = fixed(quantised((), rounded))
        weight = round_weights(module.inner.weight, 0)

        def inner(image: Tensor) -> Tensor:
            return grid.of("inner", nn.functional.conv2d(image, weight, module.inner.bias, 1, 1))

        a = torch.relu(module.first(x))
        b = torch.relu(inner(grid.of("first", a)) + a)  # the skip itself stays float
        expected = module.last(torch.pixel_shuffle(inner(grid.of("inner:0", b)), 2))
    torch.testing.assert_close(y, expected)
    _, names = seen(module, quantised(("inner", "sum.0", "last"), rounded), x)
    assert names == ["first", "inner", "sum.0", "inner:0", "inner", "last"]


def test_nothing_chosen_changes_nothing_and_leaves_no_trace() -> None:
    module, x = Odd(), torch.rand(1, 1, 6, 6)
    plain = module(x)
    y, names = seen(module, quantised((), {}), x)
    assert torch.equal(y, plain)
    assert names == []
    assert "forward" not in vars(module)


def test_a_rounded_network_can_be_measured_and_the_first_stays_float() -> None:
    module = Odd()
    card = Card(
        arch="own:Odd", scale=2, scales=(2,), channels=1, value_range=1.0,
        quantised=quantised(("inner",), {"first": (0.0, 1.0), "inner": (-0.1, 0.1)}),
    )  # fmt: skip
    network = Network(module, card)
    x = torch.rand(1, 1, 6, 6)
    plain = module(x)
    with torch.inference_mode():
        assert not torch.equal(as_rounded(network).module(x), plain)
    assert torch.equal(module(x), plain)


def test_a_relu_that_comes_second_is_none_of_the_layers() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return torch.cat([y * 1.0, torch.relu(y), y * 1.0])

    module, x = Read(), torch.rand(1, 1, 6, 6)
    card = quantised(("a",), {"a": (-1.0, 1.0)})
    y, _ = seen(module, card, x)
    with torch.no_grad():
        plain = nn.functional.conv2d(x, round_weights(module.a.weight, 0), module.a.bias, 1, 1)
        rounded = fixed(card).of("a", plain)
    assert not torch.equal(rounded, plain)
    torch.testing.assert_close(y, torch.cat([rounded, torch.relu(rounded), rounded]))


def test_a_relu_after_shuffled_pixels_makes_a_tensor_of_its_own() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(torch.pixel_shuffle(self.a(x), 2)))

    module, x = Shuffled(), torch.rand(1, 1, 6, 6)
    card = quantised(("a", "b"), {"a": (-1.0, 1.0), "b:0": (0.0, 0.2)})
    y, _ = seen(module, card, x)
    grid = fixed(card)
    with torch.no_grad():
        a = nn.functional.conv2d(x, round_weights(module.a.weight, 0), module.a.bias, 1, 1)
        read = grid.of("b:0", torch.relu(torch.pixel_shuffle(grid.of("a", a), 2)))
        weight = round_weights(module.b.weight, 0)
        torch.testing.assert_close(y, nn.functional.conv2d(read, weight, module.b.bias, 1, 1))
