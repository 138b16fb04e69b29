"""The interpreter against torch, through Apple's own converter: what it makes of each operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.coreml.package import read_package
from srdeploy.runtime.coreml.program import OPERATIONS, Program
from srdeploy.util.quiet import quiet

ct = pytest.importorskip("coremltools")

SIZE = (12, 16)


class One(nn.Module):
    """A convolution to eight channels, then whatever is tested."""

    def __init__(self, function: Callable[[One, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.slope = nn.Parameter(torch.linspace(-0.5, 1, 8))
        self.plain = nn.Conv2d(8, 8, (3, 2), stride=(2, 1), dilation=(1, 2), groups=4, bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2)
        self.odd = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1)
        self.norm = nn.BatchNorm2d(8).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


def convert(
    function: Callable[[One, Tensor], Tensor], path: Path, half: bool = False, system: str = "iOS16"
) -> tuple[Program, nn.Module]:
    module = One(function).eval()
    card = Card(arch="tests:one", scale=1, scales=(1,), channels=3, value_range=1.0)
    with quiet():
        model = ct.convert(
            torch.jit.trace(module, (torch.rand(1, 3, *SIZE),), check_trace=False),
            convert_to="mlprogram",
            inputs=[ct.TensorType("lr", shape=(1, 3, *SIZE))],
            outputs=[ct.TensorType("sr")],
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target[system],
            skip_model_load=True,
        )
        model.user_defined_metadata[CARD_KEY] = card.to_json()
        model.save(str(path))
    return Program(read_package(path)), module


def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, 3, *SIZE)).astype(np.float32)


CASES: dict[str, Callable[[One, Tensor], Tensor]] = {
    "convolutions": lambda m, y: m.plain(F.pad(y, (0, 1, 2, 0))),
    "transposed": lambda m, y: torch.cat([m.up(y), m.odd(y)], 1),
    "rectifiers": lambda m, y: F.relu(y) + F.relu6(3 * y) + F.leaky_relu(y, 0.1) + F.elu(y),
    "prelu": lambda m, y: F.prelu(y, m.slope),
    "smooth": lambda m, y: torch.sigmoid(y) * torch.tanh(y) + F.silu(y) + F.softplus(y),
    "gelu": lambda m, y: F.gelu(y) - F.gelu(2 * y, approximate="tanh"),
    "hard": lambda m, y: F.hardsigmoid(y) + F.hardswish(y) + y.clamp(-0.2, 0.3),
    "arithmetic": lambda m, y: (y / 3 + 1 - y) * y + y**2 + y.abs().sqrt() + y.exp() + y.round(),
    "extremes": lambda m, y: torch.maximum(y, -y) + torch.minimum(y, y * 2) + y.floor(),
    "means": lambda m, y: y * y.mean((2, 3), keepdim=True) + y.mean(1, keepdim=True),
    "reductions": lambda m, y: y.sum(1, keepdim=True) + y.amax(1, keepdim=True) + F.normalize(y),
    "pools": lambda m, y: torch.cat([F.max_pool2d(y, 2), F.avg_pool2d(y, 3, 2, 1)], 1),
    "attention": lambda m, y: y * torch.sigmoid(F.adaptive_avg_pool2d(y, 1)) + y.softmax(1),
    "norms": lambda m, y: m.norm(F.instance_norm(y)),
    "layer norm": lambda m, y: F.layer_norm(y.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2),
    "matmul": lambda m, y: (y.flatten(2).transpose(1, 2) @ y.flatten(2)).unsqueeze(0),
    "shuffles": lambda m, y: F.pixel_shuffle(F.pixel_unshuffle(y, 2), 4),
    "slices": lambda m, y: torch.cat([y[:, 5:, 1:-1, ::3], y[:, :2, 1:-1, ::3]], 1),
    "splits": lambda m, y: torch.cat([*y.chunk(2, 1)[::-1], *y.split((1, 5, 2), 1)[1:]], 1),
    "stacks": lambda m, y: torch.stack([y, -y], 2).flatten(1, 2) + y.repeat(1, 2, 1, 1),
    "pads": lambda m, y: F.pad(y, (1, 2, 3, 0), mode="reflect"),
    "edges": lambda m, y: F.pad(y, (1, 0, 0, 2), mode="replicate") + F.pad(y, (0, 1, 2, 0)),
    "nearest": lambda m, y: F.interpolate(y, scale_factor=3, mode="nearest"),
    "bilinear": lambda m, y: F.interpolate(y, scale_factor=2, mode="bilinear"),
    "corners": lambda m, y: F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True),
}


@pytest.mark.parametrize("name", CASES)
def test_operations_equal_torch(name: str, tmp_path: Path) -> None:
    program, module = convert(CASES[name], tmp_path / "one.mlpackage")
    with torch.no_grad():
        expected = module(torch.from_numpy(image())).numpy()
    np.testing.assert_allclose(program.run(image()), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_rounds_after_every_operation(tmp_path: Path) -> None:
    program, module = convert(lambda m, y: F.relu(y) * 3 + y, tmp_path / "one.mlpackage", half=True)
    seen: dict[str, str] = {}

    def watch(name: str, operation: str, values: Tensor) -> None:
        seen[name] = operation
        assert torch.equal(values, values.half().float())

    found = program.run(image(), watch)
    assert list(seen.values()) == ["input", "conv", "relu", "mul", "add"]

    def r(x: Tensor) -> Tensor:
        return x.half().float()

    weight, bias = r(module.conv.weight.data), r(module.conv.bias.data)
    y = r(F.conv2d(r(torch.from_numpy(image())), weight, bias, padding=1))
    np.testing.assert_array_equal(found, r(r(F.relu(y) * 3) + y).numpy())


def test_results_are_freed(tmp_path: Path) -> None:
    program, _ = convert(lambda m, y: F.relu(y) + y, tmp_path / "one.mlpackage")
    first, second = program.run(image()), program.run(image())
    np.testing.assert_array_equal(first, second)
    assert sum(len(names) for names in program._forget) == 3  # all but the output


def test_unknown_operations_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"uses acos, sinh, which .* does not know; run it on a"):
        convert(lambda m, y: torch.acos(y).sinh(), tmp_path / "one.mlpackage")


def test_an_operation_that_fails_is_named(tmp_path: Path) -> None:
    program, _ = convert(lambda m, y: y.reshape(1, 8, 16, 12), tmp_path / "one.mlpackage")
    with pytest.raises(SrdeployError, match="operation reshape of the program fails"):
        program.run(np.zeros((1, 3, 5, 7), np.float32))


@pytest.mark.parametrize(
    ("function", "sized"),
    [
        (lambda m, y: F.relu(y[:, 2:5]), False),
        (lambda m, y: y[..., :9, :], True),
        (lambda m, y: y[..., 1:, 2:], False),
        (lambda m, y: y.reshape(1, 4, 24, 16), True),
        (lambda m, y: m.odd(y), True),
    ],
    ids=["channels", "rows", "borders", "reshape", "transposed"],
)
def test_sizes_written_into_a_program_are_noticed(
    function: Callable[[One, Tensor], Tensor], sized: bool, tmp_path: Path
) -> None:
    assert convert(function, tmp_path / "one.mlpackage")[0].is_sized == sized


def weights_of(path: Path) -> dict[str, Any]:
    program = Program(read_package(path))
    return dict(program.convolutions())


@pytest.mark.parametrize("system", ["iOS16", "iOS18"])
@pytest.mark.parametrize("how", ["8", "6", "4", "2", "w8", "w8 asymmetric", "w4"])
def test_compressed_weights_are_decoded_exactly(how: str, system: str, tmp_path: Path) -> None:
    import coremltools.optimize.coreml as cto

    if how == "w4" and system == "iOS16":
        pytest.skip("4-bit integers exist from iOS 18 on")
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 40, 3)
    card = Card(arch="tests:one", scale=1, scales=(1,), channels=3, value_range=1.0)
    with quiet():
        model = ct.convert(
            torch.jit.trace(conv, (torch.rand(1, 3, 8, 8),)),
            inputs=[ct.TensorType("lr", shape=(1, 3, 8, 8))],
            outputs=[ct.TensorType("sr")],
            minimum_deployment_target=ct.target[system],
            skip_model_load=True,
        )
        if how.isdecimal():
            config: Any = cto.OpPalettizerConfig(nbits=int(how), weight_threshold=0)
            model = cto.palettize_weights(model, cto.OptimizationConfig(config))
        else:
            mode = "linear" if "asymmetric" in how else "linear_symmetric"
            dtype = "int4" if how == "w4" else "int8"
            config = cto.OpLinearQuantizerConfig(mode=mode, dtype=dtype, weight_threshold=0)
            model = cto.linear_quantize_weights(model, cto.OptimizationConfig(config))
        dense = cto.decompress_weights(model)
        for one, file in ((model, "small.mlpackage"), (dense, "dense.mlpackage")):
            one.user_defined_metadata[CARD_KEY] = card.to_json()
            one.save(str(tmp_path / file))
    small, full = weights_of(tmp_path / "small.mlpackage"), weights_of(tmp_path / "dense.mlpackage")
    operations = Program(read_package(tmp_path / "small.mlpackage")).operations
    assert operations[0].startswith("constexpr_")
    (found,), (expected,) = small.values(), full.values()
    np.testing.assert_array_equal(found, expected)
    distinct = len(np.unique(found))
    assert distinct <= 40 * 256
    if how.isdecimal():
        assert distinct <= 2 ** int(how)
    original = conv.weight.detach().numpy()
    assert 0 < np.abs(found - original).max() < (0.25 if how in ("2", "w4") else 0.05)


def test_quantised_activations(tmp_path: Path) -> None:
    from srdeploy.exporting.coreml.convert import quantize_activations

    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1))
    card = Card(arch="tests:one", scale=1, scales=(1,), channels=3, value_range=1.0)
    with quiet():
        model = ct.convert(
            torch.jit.trace(module, (torch.rand(1, 3, *SIZE),)),
            inputs=[ct.TensorType("lr", shape=(1, 3, *SIZE))],
            outputs=[ct.TensorType("sr")],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
        model.user_defined_metadata[CARD_KEY] = card.to_json()
        model.save(str(tmp_path / "plain.mlpackage"))
        plain = Program(read_package(tmp_path / "plain.mlpackage"))
        inner = plain.convolutions()[1][0]
        values: dict[str, Tensor] = {}
        plain.run(image(), lambda name, _, x: values.update({name: x}))
        stats = {n: {"rmin": float(x.min()), "rmax": float(x.max())} for n, x in values.items()}
        quantised = quantize_activations(model, stats, [inner])
        quantised.user_defined_metadata[CARD_KEY] = card.to_json()
        quantised.save(str(tmp_path / "small.mlpackage"))
        with pytest.raises(SrdeployError, match="quantised the input of 0 of 1 convolutions"):
            quantize_activations(model, stats, ["absent"])
    program = Program(read_package(tmp_path / "small.mlpackage"))
    assert program.operations == ["conv", "quantize", "dequantize", "conv", "conv"]
    seen: dict[str, Tensor] = {}
    program.run(image(), lambda name, operation, x: seen.update({operation: x.clone()}))
    assert len(torch.unique(seen["quantize"])) > 50
    assert float(seen["quantize"].abs().max()) <= 127
    first = module[0](torch.from_numpy(image())).detach()
    step = float(first.abs().max()) / 127
    assert float((seen["dequantize"] - first).abs().max()) < 0.51 * step * 1.01


def test_every_operation_has_a_function() -> None:
    assert len(OPERATIONS) > 50
    assert all(callable(function) for function in OPERATIONS.values())
