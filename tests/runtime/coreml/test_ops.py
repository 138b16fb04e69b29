"""Each operation by itself, on numbers small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.arguments import Arguments
from srdeploy.runtime.coreml.ops import TABLE


def arguments(**values: Any) -> Arguments:
    """Tuples are lists of tensors and constants; anything else is one of them."""
    return Arguments(
        {
            name: [*value] if isinstance(value, tuple) else [_stored(value)]
            for name, value in values.items()
        }
    )


def _stored(value: Any) -> Any:
    return value if isinstance(value, (Tensor, str)) else np.array(value)


def run(operation: str, **values: Any) -> Any:
    found = TABLE[operation](arguments(**values))
    return [part.tolist() for part in found] if isinstance(found, tuple) else found.tolist()


def line(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def plane(*rows: list[float]) -> Tensor:
    """[1, 1, H, W]."""
    return torch.tensor([[[*rows]]], dtype=torch.float32)


def count(*shape: int) -> Tensor:
    """1, 2, 3, ..."""
    return torch.arange(1.0, 1 + np.prod(shape)).reshape(shape)


X = line(-2, -0.5, 0, 0.5, 2)


@pytest.mark.parametrize(
    ("operation", "values", "expected"),
    [
        ("relu", {}, [0, 0, 0, 0.5, 2]),
        ("relu6", {"x": line(-1, 5.5, 7)}, [0, 5.5, 6]),
        ("leaky_relu", {"alpha": 0.5}, [-1, -0.25, 0, 0.5, 2]),
        ("elu", {"alpha": 2.0, "x": line(-np.log(2), 3)}, [-1, 3]),
        ("thresholded_relu", {"alpha": 0.5}, [0, 0, 0, 0.5, 2]),
        ("sigmoid_hard", {"alpha": 0.5, "beta": 0.25}, [0, 0, 0.25, 0.5, 1]),
        ("clip", {"alpha": -1.0, "beta": 0.25}, [-1, -0.5, 0, 0.25, 0.25]),
        ("abs", {}, [2, 0.5, 0, 0.5, 2]),
        ("round", {"x": line(0.5, 1.5, 2.6)}, [0, 2, 3]),
        ("floor", {}, [-2, -1, 0, 0, 2]),
        ("sqrt", {"x": line(4)}, [2]),
        ("square", {}, [4, 0.25, 0, 0.25, 4]),
        ("exp", {"x": line(0)}, [1]),
        ("rsqrt", {"x": line(3), "epsilon": 1.0}, [0.5]),
        ("rsqrt", {"x": line(0)}, [1e6]),
        ("identity", {}, [-2, -0.5, 0, 0.5, 2]),
        ("add", {"y": 1.0}, [-1, 0.5, 1, 1.5, 3]),
        ("sub", {"y": 1.0}, [-3, -1.5, -1, -0.5, 1]),
        ("mul", {"y": 2.0}, [-4, -1, 0, 1, 4]),
        ("real_div", {"y": 2.0}, [-1, -0.25, 0, 0.25, 1]),
        ("pow", {"y": 2.0}, [4, 0.25, 0, 0.25, 4]),
        ("maximum", {"y": 0.25}, [0.25, 0.25, 0.25, 0.5, 2]),
        ("minimum", {"y": 0.25}, [-2, -0.5, 0, 0.25, 0.25]),
        ("greater", {"y": 0.5}, [False, False, False, False, True]),
        ("cast", {"dtype": "bool"}, [True, True, False, True, True]),
        ("cast", {"dtype": "int32"}, [-2, 0, 0, 0, 2]),
        ("cast", {"x": np.array([1, 2]), "dtype": "fp16"}, [1, 2]),
        ("softmax", {"x": count(2, 2) * 0, "axis": 0}, [[0.5, 0.5], [0.5, 0.5]]),
        ("softmax", {"x": line(0, np.log(3)), "axis": -1}, [0.25, 0.75]),
        ("tile", {"x": line(1, 2), "reps": [2]}, [1, 2, 1, 2]),
        ("prelu", {"x": count(1, 2, 1) - 3, "alpha": line(0.5, 3)}, [[[-1], [-3]]]),
        ("linear", {"x": line(1, 2)[None], "weight": count(1, 2)}, [[5]]),
        ("linear", {"x": line(1, 2)[None], "weight": count(1, 2), "bias": [9.0]}, [[14]]),
        ("shape", {"x": count(1, 2, 3)}, [1, 2, 3]),
    ],
)  # fmt: skip
def test_numbers(operation: str, values: dict[str, Any], expected: list[Any]) -> None:
    found = np.array(run(operation, **({"x": X} | values)))
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, 0.8413447), ("EXACT", 0.8413447), ("TANH_APPROXIMATION", 0.8411920),
     ("SIGMOID_APPROXIMATION", 1 / (1 + np.exp(-1.702)))],
)  # fmt: skip
def test_gelu(mode: str | None, expected: float) -> None:
    values = {} if mode is None else {"mode": mode}
    assert run("gelu", x=line(1), **values) == pytest.approx([expected], abs=1e-6)


def test_what_is_left_out_of_a_reduction() -> None:
    x = count(1, 2, 2)
    assert run("reduce_mean", x=x) == 2.5
    assert run("reduce_sum", x=x, axes=[1], keep_dims=True) == [[[4, 6]]]
    assert run("reduce_sum", x=x, axes=[1], keep_dims=False) == [[4, 6]]
    assert run("reduce_max", x=x, axes=[-1]) == [[2, 4]]
    assert run("reduce_l2_norm", x=line(3, 4), axes=[0], keep_dims=True) == [5]


def test_matmul_transposes_what_it_is_told() -> None:
    x, y = count(2, 3), count(2, 3)
    assert run("matmul", x=x, y=y, transpose_y=True) == (x @ y.T).tolist()
    assert run("matmul", x=x, y=y, transpose_x=True) == (x.T @ y).tolist()
    assert run("matmul", x=x, y=y.T) == (x @ y.T).tolist()


# Convolutions

ONES = plane([1, 1, 1], [1, 1, 1], [1, 1, 1])


@pytest.mark.parametrize(
    ("size", "stride", "kind", "pads"),
    [
        (5, 1, "same", (1, 1)),
        (5, 1, "same_lower", (1, 1)),
        (6, 2, "same", (0, 1)),  # what is odd goes to the end
        (6, 2, "same_lower", (1, 0)),
        (5, 2, "same", (1, 1)),
        (9, 4, "same", (1, 1)),
        (4, 4, "same", (0, 0)),
        (5, 1, "valid", (0, 0)),
        (5, 1, None, (0, 0)),
    ],
)
def test_where_a_convolution_pads(size: int, stride: int, kind: str | None, pads: tuple) -> None:
    x = count(1, 1, size, size)
    values = {} if kind is None else {"pad_type": kind}
    found = run("conv", x=x, weight=ONES, strides=[stride] * 2, **values)
    padded = torch.nn.functional.pad(x, (*pads, *pads))
    expected = torch.nn.functional.conv2d(padded, ONES, stride=stride)
    assert found == expected.tolist()
    if kind and kind.startswith("same"):
        assert len(found[0][0]) == -(-size // stride)


def test_same_padding_counts_the_dilation() -> None:
    found = run("conv", x=count(1, 1, 6, 6), weight=ONES, pad_type="same", dilations=[2, 2])
    expected = torch.nn.functional.conv2d(count(1, 1, 6, 6), ONES, padding=2, dilation=2)
    assert found == expected.tolist()


def test_custom_pads_name_begin_and_end_of_each_axis() -> None:
    x = count(1, 1, 2, 2)
    one = torch.ones(1, 1, 1, 1)
    found = run("conv", x=x, weight=one, pad_type="custom", pad=[1, 0, 0, 2])
    assert found == [[[[0, 0, 0, 0], [1, 2, 0, 0], [3, 4, 0, 0]]]]
    found = run("conv", x=x, weight=one, pad_type="custom", pad=[1, 1, 0, 0])
    assert found == [[[[0, 0], [1, 2], [3, 4], [0, 0]]]]
    assert run("conv", x=x, weight=one, pad_type="custom") == x.tolist()
    assert run("conv", x=x, weight=one, pad=[1, 1, 1, 1]) == x.tolist()  # of no use without a type


def test_groups_biases_and_lines() -> None:
    x, weight = count(1, 2, 3), torch.ones(2, 1, 2)
    assert run("conv", x=x, weight=weight, groups=2) == [[[3, 5], [9, 11]]]
    found = run("conv", x=x, weight=torch.ones(1, 2, 2), bias=[10.0], strides=[1])
    assert found == [[[22, 26]]]
    transposed = run("conv_transpose", x=count(1, 1, 2), weight=torch.ones(1, 1, 2), strides=[2])
    assert transposed == [[[1, 1, 2, 2]]]


def test_transposed_convolutions() -> None:
    x, weight = count(1, 1, 2, 2), torch.ones(1, 1, 3, 3)
    full = torch.nn.functional.conv_transpose2d(x, weight, stride=2)
    given = {"x": x, "weight": weight, "strides": [2, 2]}
    assert run("conv_transpose", **given) == full.tolist()
    assert run("conv_transpose", x=x, weight=weight) == (
        torch.nn.functional.conv_transpose2d(x, weight).tolist()
    )
    cut = run("conv_transpose", **given, pad_type="custom", pad=[1, 0, 0, 2])
    assert cut == full[..., 1:, :-2].tolist()
    assert run("conv_transpose", **given, pad_type="custom") == full.tolist()
    sized = run("conv_transpose", **given, pad_type="custom", pad=[1, 1, 0, 2],
                output_shape=[1, 1, 4, 5])  # fmt: skip
    assert sized == full[..., 1:5, :5].tolist()
    biased = run("conv_transpose", **given, bias=[7.0])
    assert biased == (full + 7).tolist()
    wide = run("conv_transpose", x=x, weight=weight, dilations=[2, 2])
    assert wide == torch.nn.functional.conv_transpose2d(x, weight, dilation=2).tolist()
    two = run("conv_transpose", x=count(1, 2, 1, 1), weight=torch.ones(2, 1, 1, 1), groups=2)
    assert two == [[[[1]], [[2]]]]
    with pytest.raises(UserError, match="pad_type 'same' is not known"):
        run("conv_transpose", **given, pad_type="same")


# Pads and pools


def test_pads() -> None:
    x = count(1, 1, 2, 3)
    found = run("pad", x=x, pad=[0, 0, 0, 0, 1, 0, 0, 2], mode="constant", constant_val=9.0)
    assert found == [[[[9] * 5, [1, 2, 3, 9, 9], [4, 5, 6, 9, 9]]]]
    assert run("pad", x=x, pad=[0, 1, 0, 0])[0][0][-1] == [0, 0, 0]
    reflected = run("pad", x=x, pad=[0, 0, 0, 0, 1, 0, 0, 2], mode="reflect")
    assert reflected == [[[[4, 5, 6, 5, 4], [1, 2, 3, 2, 1], [4, 5, 6, 5, 4]]]]
    repeated = run("pad", x=x, pad=[0, 0, 0, 0, 0, 1, 1, 0], mode="replicate")
    assert repeated == [[[[1, 1, 2, 3], [4, 4, 5, 6], [4, 4, 5, 6]]]]


def test_pools() -> None:
    x = count(1, 1, 4, 4)
    given = {"x": x, "kernel_sizes": [2, 2], "pad_type": "valid"}
    assert run("max_pool", **given, strides=[2, 2]) == [[[[6, 8], [14, 16]]]]
    assert run("avg_pool", **given, strides=[2, 2]) == [[[[3.5, 5.5], [11.5, 13.5]]]]
    assert len(run("max_pool", **given)[0][0]) == 3  # one step unless told
    given |= {"pad_type": "custom", "pad": [1, 1, 1, 1], "strides": [4, 4]}
    assert run("avg_pool", **given) == [[[[0.25, 1], [3.25, 4]]]]
    assert run("avg_pool", **given, exclude_padding_from_average=True) == [[[[1, 4], [13, 16]]]]
    assert run("max_pool", **given) == [[[[1, 4], [13, 16]]]]
    ceil = {"x": count(1, 1, 3, 3), "kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid"}
    assert run("max_pool", **ceil) == [[[[5]]]]
    assert run("max_pool", **ceil, ceil_mode=True) == [[[[5, 6], [8, 9]]]]
    for pads in ({"pad_type": "same"}, {"pad_type": "custom", "pad": [0, 1, 0, 1]}):
        with pytest.raises(UserError, match=r"A max_pool with pads .* is not known"):
            run("max_pool", x=x, kernel_sizes=[2, 2], **pads)


# Shapes


def test_slices() -> None:
    x = count(3, 4)

    def cut(begin: list[int], end: list[int], **more: Any) -> Any:
        return run("slice_by_index", x=x, begin=begin, end=end, **more)

    assert cut([1, 1], [3, 3]) == [[6, 7], [10, 11]]
    assert cut([1, 1], [3, 3], begin_mask=[True, False]) == x[:3, 1:3].tolist()
    assert cut([1, 1], [3, 3], end_mask=[False, True]) == x[1:3, 1:].tolist()
    assert cut([0, 0], [3, 4], stride=[2, 3]) == x[::2, ::3].tolist()
    assert cut([1, 0], [2, 4], squeeze_mask=[True, False]) == x[1].tolist()
    assert cut([-1, 0], [3, 4], squeeze_mask=[True, False]) == x[2].tolist()
    assert cut([1, 2], [2, 3], squeeze_mask=[True, True]) == 7
    assert cut([0, 3], [3, 0], stride=[1, -1]) == x[:, [3, 2, 1]].tolist()
    everything = cut([0, 3], [3, 0], stride=[1, -1], end_mask=[False, True])
    assert everything == x.flip(1).tolist()


def test_parts_and_wholes() -> None:
    x = count(2, 4)
    assert run("split", x=x, axis=1, split_sizes=[1, 3]) == [
        x[:, :1].tolist(), x[:, 1:].tolist(),
    ]  # fmt: skip
    assert run("split", x=x, axis=0, num_splits=2) == [x[:1].tolist(), x[1:].tolist()]
    a, b = line(1, 2), line(3, 4)
    assert run("concat", values=(a, b), axis=0, interleave=False) == [1, 2, 3, 4]
    assert run("concat", values=(a, b), axis=0, interleave=True) == [1, 3, 2, 4]
    assert run("concat", values=(a[None], b[None]), axis=-1, interleave=True) == [[1, 3, 2, 4]]
    assert run("concat", values=(np.array(5), a.long()), axis=0) == [5, 1, 2]
    assert run("stack", values=(a, b), axis=1) == [[1, 3], [2, 4]]


def test_reshapes() -> None:
    x = count(2, 3)
    assert np.shape(run("reshape", x=x, shape=[0, 1, -1])) == (2, 1, 3)
    assert np.shape(run("reshape", x=x, shape=[3, 2])) == (3, 2)
    assert run("transpose", x=x, perm=[1, 0]) == x.T.tolist()
    assert np.shape(run("expand_dims", x=x, axes=[0, -1])) == (1, 2, 3, 1)
    assert np.shape(run("expand_dims", x=x, axes=[1])) == (2, 1, 3)
    assert np.shape(run("squeeze", x=count(1, 2, 1), axes=[0, 2])) == (2,)


def test_depth_and_space() -> None:
    x = count(1, 8, 1, 1)
    assert run("pixel_shuffle", x=x, upscale_factor=2) == [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]
    assert run("depth_to_space", x=x, block_size=2) == [[[[1, 3], [5, 7]], [[2, 4], [6, 8]]]]
    whole = count(1, 2, 4, 6)
    deep = torch.tensor(run("pixel_unshuffle", x=whole, downscale_factor=2))
    assert deep.shape == (1, 8, 2, 3)
    assert run("pixel_shuffle", x=deep, upscale_factor=2) == whole.tolist()
    moved = run("depth_to_space", x=count(1, 4, 2, 3), block_size=2)
    assert moved == run("pixel_shuffle", x=count(1, 4, 2, 3), upscale_factor=2)


def test_gather_and_crop() -> None:
    x = count(2, 3)
    assert run("gather", x=x, indices=[2, 0], axis=1) == [[3, 1], [6, 4]]
    assert run("gather", x=x, indices=1, axis=-2) == [4, 5, 6]
    assert run("gather", x=x, indices=[1]) == [[4, 5, 6]]
    with pytest.raises(UserError, match="batch dimensions"):
        run("gather", x=x, indices=[0], axis=1, batch_dims=1)
    found = run("crop", x=count(1, 1, 4, 5), crop_height=[1, 0], crop_width=[0, 2])
    assert found == count(1, 1, 4, 5)[..., 1:, :-2].tolist()


# Sizes of images


def test_upsampling() -> None:
    x = plane([0.0, 4.0])
    factors = {"scale_factor_height": 1.0, "scale_factor_width": 2.0}
    assert run("upsample_nearest_neighbor", x=x, **factors) == [[[[0, 0, 4, 4]]]]
    assert np.shape(run("upsample_nearest_neighbor", x=x)) == (1, 1, 1, 2)
    halves = run("upsample_bilinear", x=x, **factors, align_corners=False)
    assert halves == [[[[0, 1, 3, 4]]]]
    corners = [[[[0, pytest.approx(4 / 3), pytest.approx(8 / 3), 4]]]]
    assert run("upsample_bilinear", x=x, **factors, align_corners=True) == corners
    assert run("upsample_bilinear", x=x, **factors) == corners  # as MIL has it
    tall = {"scale_factor_height": 3.0, "scale_factor_width": 1.0}
    assert np.shape(run("upsample_nearest_neighbor", x=x, **tall)) == (1, 1, 3, 2)
    with pytest.raises(UserError, match="without half-pixel centres"):
        run("upsample_bilinear", x=x, **factors, align_corners=False, half_pixel_centers=False)
    run("upsample_bilinear", x=x, **factors, align_corners=True, half_pixel_centers=False)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS"])
def test_resizing(mode: str) -> None:
    size = {"target_size_height": 1, "target_size_width": 4}
    found = run("resize_bilinear", x=plane([0.0, 4.0]), **size, sampling_mode=mode)
    expected = [0, 1, 3, 4] if mode == "UNALIGN_CORNERS" else [0, 4 / 3, 8 / 3, 4]
    np.testing.assert_allclose(found, [[[expected]]], rtol=1e-6)
    for unknown in ({}, {"sampling_mode": "OFFSET_CORNERS"}):
        with pytest.raises(UserError, match=r"sampling mode .* is not known"):
            run("resize_bilinear", x=plane([0.0, 4.0]), **size, **unknown)


# Norms


def test_norms() -> None:
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]])
    flat = [[[[-1, 1]], [[-1, 1]]]]
    np.testing.assert_allclose(run("instance_norm", x=x, epsilon=0.0), flat, rtol=1e-6)
    scaled = run("instance_norm", x=x, gamma=[2.0, 3.0], beta=[1.0, 0.0], epsilon=0.0)
    np.testing.assert_allclose(scaled, [[[[-1, 3]], [[-3, 3]]]], rtol=1e-6)
    each = {"mean": [1.0, 2.0], "variance": [3.0, 15.0]}
    found = run("batch_norm", x=x, **each, epsilon=1.0)
    np.testing.assert_allclose(found, [[[[0, 1]], [[0, 1]]]], rtol=1e-6)
    found = run("batch_norm", x=x, **each, gamma=[2.0, 4.0], beta=[1.0, -1.0], epsilon=1.0)
    np.testing.assert_allclose(found, [[[[1, 3]], [[-1, 3]]]], rtol=1e-6)
    found = run("layer_norm", x=x, axes=[-1], epsilon=0.0)
    np.testing.assert_allclose(found, flat, rtol=1e-6)
    found = run("layer_norm", x=x, axes=[3], gamma=[1.0, 2.0], beta=[0.0, 5.0], epsilon=3.0)
    np.testing.assert_allclose(found[0][0], [[-0.5, 6]], rtol=1e-6)


@pytest.mark.parametrize("operation", ["instance_norm", "batch_norm", "layer_norm"])
def test_the_smallest_variance_of_a_norm_is_1e_5(operation: str) -> None:
    more = {"axes": [-1]} if operation == "layer_norm" else {}
    if operation == "batch_norm":
        more = {"mean": [0.0], "variance": [0.0]}
    found = np.array(run(operation, x=plane([-1e-4, 1e-4]), **more))
    variance = 0 if operation == "batch_norm" else 1e-8
    np.testing.assert_allclose(found[0, 0, 0, 1], 1e-4 / np.sqrt(variance + 1e-5), rtol=1e-4)


# 8 bits


def test_quantising() -> None:
    x = line(-1000, -0.75, 0.25, 0.75, 1000)
    given = {"input": x, "scale": 0.5, "output_dtype": "int8"}
    assert run("quantize", **given) == [-128, -2, 0, 2, 127]
    assert run("quantize", **given, zero_point=3) == [-128, 1, 3, 5, 127]
    assert run("quantize", input=x, output_dtype="uint8") == [0, 0, 0, 1, 255]
    assert run("dequantize", input=line(3, 5), scale=0.5, zero_point=1) == [1, 2]
    assert run("dequantize", input=line(3, 5)) == [3, 5]
    channels = run("dequantize", input=count(1, 2, 2), scale=[2.0, 10.0], axis=1)
    assert channels == [[[2, 4], [30, 40]]]


# Arguments


def test_arguments() -> None:
    a = arguments(x=line(1), values=(line(1), line(2)), flag=True, half=np.float16(0.5), text="a")
    assert ("x" in a, "y" in a) == (True, False)
    assert a.optional("y") is None
    assert a.optional("x") is not None
    assert [v.item() for v in a.tensors("values")] == [1, 2]
    assert (a.number("flag"), a.number("half"), a.number("absent")) == (1, 0.5, 0)
    assert a.number("absent", 3) == 3
    assert (a.ints("absent"), a.ints("absent", [4]), a.ints("flag")) == ([], [4], [1])
    assert (a.text("text"), a.text("absent"), a.text("absent", "b")) == ("a", "", "b")
    assert a.tensor("flag").dtype == torch.bool
    assert a.tensor("half").dtype == torch.float32
    assert arguments(n=np.int8(3)).tensor("n").dtype == torch.int64
    with pytest.raises(KeyError):
        a.tensor("absent")
    with pytest.raises(AssertionError):
        a.array("x")
