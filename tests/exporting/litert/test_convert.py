"""Networks as LiteRT programs, computed by torch operation by operation: they stay the network."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.exporting.litert.accept import ACCEPTED
from srdeploy.exporting.litert.convert import program_of, with_size
from srdeploy.exporting.litert.graph import RANK, NotInLitert, Program
from srdeploy.exporting.onnx.graph import simplified_graph
from tests.exporting.litert.evaluate import evaluate

SIZE = (12, 8)


class Made(nn.Module):
    """A network that is one function of the features of a first layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for layer in self.layers:
            x = layer(x)
        return self.function(x)


def graph(module: nn.Module, size: tuple[int, int] = SIZE, channels: int = 3) -> onnx.ModelProto:
    held = io.BytesIO()
    torch.onnx.export(
        module.eval(), (torch.zeros(1, channels, *size),), held, dynamo=False, opset_version=17
    )
    return simplified_graph(onnx.load_from_string(held.getvalue()))


def compared(module: nn.Module, size: tuple[int, int] = SIZE, atol: float = 1e-5) -> Program:
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    program = program_of(graph(module, size))
    np.testing.assert_allclose(evaluate(program, x.numpy()), expected, atol=atol, rtol=2e-5)
    assert {op.kind for op in program.ops} <= ACCEPTED.keys()
    assert max(len(tensor.shape) for tensor in program.tensors()) <= RANK
    return program


def windows(x: Tensor) -> Tensor:
    """Attention in windows of 4x4: tensors of six dimensions on the way."""
    b, c, h, w = x.shape
    tokens = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    tokens = functional.layer_norm(tokens, (c,))
    scores = (tokens @ tokens.transpose(1, 2)).softmax(-1)
    made = (scores @ tokens).view(b, h // 4, w // 4, 4, 4, c)
    return made.permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[nn.Module, ...]]] = {
    "shuffle": (lambda x: functional.pixel_shuffle(x, 2), ()),
    "shuffle of a sum": (
        lambda x: functional.pixel_shuffle(torch.cat([x, x.sigmoid()], 1), 4), ()),
    "unshuffle": (lambda x: functional.pixel_unshuffle(x, 2), ()),
    "slopes": (lambda x: functional.pixel_shuffle(x, 2), (nn.PReLU(8), nn.LeakyReLU(0.1))),
    "one slope": (lambda x: x, (nn.PReLU(),)),
    "groups": (lambda x: x, (nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 24, 3, groups=12))),
    "strides": (lambda x: x, (nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 4, 1, 2))),
    "dilated": (lambda x: x, (nn.Conv2d(8, 8, (3, 5), padding=(2, 4), dilation=2),)),
    "mirror": (lambda x: functional.pad(x, (1, 2, 3, 0), "reflect"), ()),
    "edges": (lambda x: functional.pad(x, (2, 1, 0, 3), "replicate"), ()),
    "around": (lambda x: functional.pad(x, (2, 1, 0, 3), "circular"), ()),
    "filled": (lambda x: functional.pad(x, (1, 0, -1, 2), value=0.5), ()),
    "transposed": (lambda x: x, (nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2),)),
    "transposed 9": (lambda x: x, (nn.ConvTranspose2d(8, 3, 9, 3, 3),)),
    "nearest": (lambda x: functional.interpolate(x, scale_factor=3), ()),
    "nearest to a size": (lambda x: functional.interpolate(x, size=(17, 19)), ()),
    "bilinear": (lambda x: functional.interpolate(
        x, scale_factor=2, mode="bilinear", align_corners=False), ()),
    "corners": (lambda x: functional.interpolate(
        x, size=(23, 31), mode="bilinear", align_corners=True), ()),
    "bicubic": (lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"), ()),
    "bicubic of few": (lambda x: functional.interpolate(
        x[:, :3], scale_factor=3, mode="bicubic"), ()),
    "bicubic to a size": (lambda x: functional.interpolate(x, size=(9, 17), mode="bicubic"), ()),
    "pools": (lambda x: functional.max_pool2d(x, 3, 2, 1) + functional.avg_pool2d(x, 3, 2, 1), ()),
    "pools of what is there": (lambda x: functional.avg_pool2d(
        x, 5, 3, 2, ceil_mode=True, count_include_pad=False), ()),
    "pools inside": (lambda x: functional.max_pool2d(x, 7, 3), ()),
    "attention": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid() + x.amax(1, True), ()),
    "spread": (lambda x: x / (x.std(1, keepdim=True) + 0.1), ()),
    "windows": (windows, ()),
    "gelu": (functional.gelu, ()),
    "mish": (functional.mish, ()),
    "silu": (lambda x: functional.silu(x) + functional.hardswish(x) + functional.elu(x), ()),
    "limits": (lambda x: x.clamp(-0.3, 0.4) + functional.relu6(x) + x.clamp(min=-0.1), ()),
    "masks": (lambda x: torch.where(x[:, :1] > x[:, 1:2], x, -x) * (x < 0.1).float(), ()),
    "norm": (lambda x: x, (nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True))),
    "channels last": (lambda x: functional.linear(
        x.permute(0, 2, 3, 1), torch.ones(5, 8) / 3).permute(0, 3, 1, 2), ()),
    "parts": (lambda x: torch.cat([x[:, ::2, 1:, 2:-1], x.chunk(2, 1)[0][:, :, 1:, 2:-1]], 1), ()),
    "einsum": (lambda x: torch.einsum("bchw,bdhw->bhcd", x, x.sigmoid()), ()),
    "backwards": (lambda x: x.flip(2)[:, :, 1:] * x.norm(dim=1, keepdim=True)[:, :, 1:], ()),
    "turned": (lambda x: torch.roll(x, (1, 2), (2, 3)) * x.repeat(1, 1, 1, 1), ()),
    "channel shuffle": (lambda x: x.view(1, 2, 4, *SIZE).transpose(1, 2).reshape(1, 8, *SIZE), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_programs_are_their_networks(name: str) -> None:
    function, layers = FUNCTIONS[name]
    compared(Made(function, *layers))


def test_shuffles_are_folded_into_convolutions() -> None:
    program = compared(Made(lambda x: functional.pixel_shuffle(x, 2), nn.PReLU(8)))
    assert Counter(op.kind for op in program.ops) == {
        "CONV_2D": 1, "PRELU": 1, "DEPTH_TO_SPACE": 1,
    }  # fmt: skip
    twice = compared(Made(lambda x: functional.pixel_shuffle(x, 2).mean() + x))
    assert sum(op.kind == "CONV_2D" for op in twice.ops) == 2  # others read the channels


def test_activations_are_fused() -> None:
    program = compared(Made(lambda x: functional.relu(x), nn.ReLU(), nn.Conv2d(8, 8, 1)))
    assert [op.kind for op in program.ops] == ["CONV_2D", "CONV_2D"]
    assert {op.options["fusedActivationFunction"] for op in program.ops} == {"RELU"}


def test_another_size_of_a_graph() -> None:
    held = io.BytesIO()
    module = Made(lambda x: functional.pixel_shuffle(x, 2)).eval()
    axes = {2: "H", 3: "W"}
    torch.onnx.export(
        module, (torch.zeros(1, 3, 8, 8),), held, dynamo=False, opset_version=17,
        input_names=["lr"], output_names=["sr"], dynamic_axes={"lr": axes, "sr": axes},
    )  # fmt: skip
    free = simplified_graph(onnx.load_from_string(held.getvalue()))
    with pytest.raises(Exception, match="not one image"):
        program_of(free)
    program = program_of(with_size(free, (7, 5)))
    assert (program.input.shape, program.output.shape) == ((1, 7, 5, 3), (1, 14, 10, 2))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("y = Det(x)", r"The operation Det of layer 'y' cannot be written for LiteRT's delegates;"),
        ("y = Conv(x, x)", r"Conv of layer 'y' .* \(its weights are computed\)"),
        ("y = Squeeze(x, x)", r"reshape .* \(from \[1, 3, 9, 9\] to a size that is not known\)"),
        ("y = Conv<strides = [0, 1]>(x, w)", r"Conv .* \(in a form that is not known here: "),
        ("y = Elu<alpha = 2.0>(x)", r"Elu .* \(its alpha is not 1\)"),
        ("y = MaxPool<kernel_shape = [3, 3], dilations = [2, 2]>(x)", r"\(it is dilated\)"),
    ],
)
def test_what_cannot_be_written_is_named(body: str, sentence: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,9,9] x) => (float y) <float[1,3,1,1] w = {{1, 1, 1}}> {{ {body} }}"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name = "y"
    with pytest.raises(NotInLitert, match=sentence):
        program_of(model)
