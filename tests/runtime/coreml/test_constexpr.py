"""Compressed weights by themselves, on numbers that are worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.arguments import Arguments
from srdeploy.runtime.coreml.constexpr import (
    affine_dequantize,
    blockwise_shift_scale,
    lut_to_dense,
)


def arguments(**values: Any) -> Arguments:
    return Arguments({name: [np.asarray(value)] for name, value in values.items()})


def test_affine() -> None:
    data = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
    whole = affine_dequantize(
        arguments(quantized_data=data, scale=np.float16(0.5), zero_point=np.int8(1), axis=0)
    )
    assert whole.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    rows = arguments(quantized_data=data, scale=[1.0, 2.0, 3.0], zero_point=[0, 1, 2], axis=0)
    assert affine_dequantize(rows).tolist() == [[1, 2], [4, 6], [9, 12]]
    columns = arguments(quantized_data=data, scale=[1.0, 10.0], zero_point=np.int8(0), axis=1)
    assert affine_dequantize(columns).tolist() == [[1, 20], [3, 40], [5, 60]]


def test_a_scale_never_makes_weights_larger() -> None:
    data = np.ones((1, 2), np.int8)
    with pytest.raises(UserError, match="Scales of a CoreML program do not fit"):
        affine_dequantize(
            arguments(quantized_data=data, scale=[1.0, 2.0], zero_point=np.int8(0), axis=0)
        )


def test_blocks() -> None:
    data = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int8)
    scale = np.array([[1.0, 10.0], [2.0, 0.5]], np.float16)
    plain = arguments(data=data, scale=scale)
    assert blockwise_shift_scale(plain).tolist() == [[1, 2, 30, 40], [10, 12, 3.5, 4]]
    shifted = arguments(data=data, scale=scale, offset=np.array([[1], [2]], np.int8))
    assert blockwise_shift_scale(shifted).tolist() == [[0, 1, 20, 30], [6, 8, 2.5, 3]]


def test_palettes_of_packed_indices() -> None:
    lut = np.array([0.5, -1, 2, 4], np.float16)
    packed = np.array([0b11_10_01_00, 0b00_01], np.uint8)  # 0 1 2 3 | 1 0
    found = lut_to_dense(arguments(lut=lut, indices=packed, shape=[2, 3]))
    assert found.tolist() == [[0.5, -1, 2], [4, -1, 0.5]]


def test_palettes_of_blocks() -> None:
    lut = np.array([[[[0.5], [1]]], [[[10], [20]]]], np.float16)  # [2, 1, 2, 1]: one for each row
    indices = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    assert lut_to_dense(arguments(lut=lut, indices=indices)).tolist() == [
        [0.5, 1, 1], [20, 10, 20],
    ]  # fmt: skip
    columns = np.array([[[[0.5], [1]], [[10], [20]]]], np.float16)
    four = np.array([[0, 1, 1, 0]], np.uint8)
    assert lut_to_dense(arguments(lut=columns, indices=four)).tolist() == [[0.5, 1, 20, 10]]
    vectors = np.zeros((1, 1, 2, 2), np.float16)
    with pytest.raises(UserError, match="Palettes of vectors"):
        lut_to_dense(arguments(lut=vectors, indices=indices))
