"""Eight bits of a LiteRT program: grids, what shares them, and what stays in float."""

from __future__ import annotations

import numpy as np

from srdeploy.exporting.litert.graph import Grid, Op, Program, Tensor
from srdeploy.exporting.litert.quantise import (
    Quantiser,
    grid_of,
    with_byte_weights,
    with_half_weights,
)
from srdeploy.models.quantised import Range


def conv(x: Tensor, name: str, **options: str) -> Op:
    rng = np.random.default_rng(len(name))
    weight = rng.normal(size=(4, 3, 3, x.shape[3])).astype(np.float32)
    weight[0] = 0
    return Op(
        "CONV_2D",
        [
            x,
            Tensor(f"{name}.weight", weight.shape, data=weight),
            Tensor(f"{name}.bias", (4,), data=np.full(4, 0.5, np.float32)),
        ],
        Tensor(name, (1, 4, 4, 4)), {"padding": "SAME", **options}, name,
    )  # fmt: skip


def program() -> Program:
    given = Tensor("lr", (1, 4, 4, 3))
    first = conv(given, "first")
    gate = Op("LOGISTIC", [first.output], Tensor("gate", (1, 4, 4, 4)), layer="gate")
    odd = Op("EXP", [first.output], Tensor("odd", (1, 4, 4, 4)), layer="odd")
    both = Op("CONCATENATION", [gate.output, odd.output], Tensor("both", (1, 4, 4, 8)),
              {"axis": 3}, "both")  # fmt: skip
    last = conv(both.output, "last")
    end = Op("DEPTH_TO_SPACE", [last.output], Tensor("sr", (1, 8, 8, 1)), {"blockSize": 2}, "end")
    return Program(given, end.output, [first, gate, odd, both, last, end])


RANGES = {
    "lr": Range(0.0, 255.0), "first": Range(-2.0, 3.0), "gate": Range(0.0, 1.0),
    "odd": Range(0.0, 20.0), "both": Range(0.0, 20.0), "last": Range(-1.0, 250.0),
    "sr": Range(-1.0, 250.0),
}  # fmt: skip


def test_everything_in_8_bits() -> None:
    writer = Quantiser(program(), RANGES, value_range=255.0)
    found = writer.written()
    assert [op.kind for op in found.ops] == [
        "QUANTIZE", "CONV_2D", "LOGISTIC", "QUANTIZE", "DEQUANTIZE", "EXP", "QUANTIZE",
        "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    ]  # fmt: skip
    assert [op.layer for op in writer.float_ops()] == ["odd"]
    grids = {op.output.name: op.output.grid for op in found.ops}
    assert grids["lr.int8"] == Grid((1.0,), (-128,))
    assert grids["gate.own"] == Grid((1 / 256,), (-128,))
    assert grids["gate.int8"] == grids["odd.int8"] == grids["both.int8"] == grid_of(Range(0, 20))
    assert grids["last.int8"] == grids["sr.int8"] == Grid((1.0,), (-128,))  # a picture's steps
    assert (found.input.name, found.output.name) == ("lr", "sr")


def test_a_result_that_is_no_picture_keeps_its_range() -> None:
    ranges = RANGES | dict.fromkeys(("last", "sr"), Range(-300.0, 250.0))
    found = Quantiser(program(), ranges, value_range=255.0).written()
    grids = {op.output.name: op.output.grid for op in found.ops}
    assert grids["sr.int8"] == grids["last.int8"] == grid_of(Range(-300.0, 250.0))


def test_ends_in_8_bits() -> None:
    found = Quantiser(program(), RANGES, value_range=255.0, ends=True).written()
    assert (found.input.dtype, found.output.dtype) == ("int8", "int8")
    assert found.ops[0].kind == "CONV_2D"
    assert found.ops[-1].kind == "DEPTH_TO_SPACE"


def test_spared_layers_and_what_follows_them_stay_in_float() -> None:
    found = Quantiser(program(), RANGES, value_range=255.0, spared=["last", "first"]).written()
    kinds = {op.output.name: op.output.dtype for op in found.ops}
    assert kinds["first"] == kinds["last"] == kinds["sr"] == "float32"
    assert kinds["both.int8"] == "int8"


def test_weights_and_biases() -> None:
    plain = program()
    found = Quantiser(plain, RANGES, value_range=255.0).written()
    op = found.ops[1]
    image, weight, bias = op.inputs
    original = plain.ops[0].inputs[1].data
    assert weight.grid is not None
    assert bias.grid is not None
    assert image.grid is not None
    assert weight.data is not None
    assert bias.data is not None
    scales = np.array(weight.grid.scale).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(weight.data * scales, original, atol=float(scales.max()) / 2)
    assert (np.abs(weight.data.astype(int)).max((1, 2, 3))[1:] == 127).all()
    np.testing.assert_allclose(
        bias.grid.scale, np.array(weight.grid.scale) * image.grid.scale[0], rtol=1e-6
    )
    steps = np.array(bias.grid.scale)
    assert (np.abs(bias.data * steps - 0.5) <= steps / 2 + 1e-6).all()
    assert np.abs(bias.data).max() <= 2**30 + 1  # of weights that are all 0, too


def test_half_and_byte_weights() -> None:
    half = with_half_weights(program())
    assert sum(op.kind == "DEQUANTIZE" for op in half.ops) == 4
    assert all(tensor.dtype == "float16" for tensor in half.tensors() if tensor.data is not None)
    bytes_ = with_byte_weights(program())
    assert [op.inputs[1].dtype for op in bytes_.ops if op.kind == "CONV_2D"] == ["int8", "int8"]
    assert bytes_.ops[0].inputs[2].dtype == "float32"
