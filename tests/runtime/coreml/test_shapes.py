"""Operations that move values, choose among them, or compute sizes, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from tests.runtime.coreml.test_ops import count, line, plane, run


@pytest.mark.parametrize(
    ("operation", "values", "expected"),
    [
        ("floor_div", {"x": np.array([7, -7, 6]), "y": np.array([2, 2, 3])}, [3, -4, 2]),
        ("mod", {"x": np.array([7, -7]), "y": np.array([4, 4])}, [3, 1]),
        ("greater_equal", {"x": line(1, 2, 3), "y": 2.0}, [False, True, True]),
        ("less", {"x": line(1, 2, 3), "y": 2.0}, [True, False, False]),
        ("less_equal", {"x": line(1, 2, 3), "y": 2.0}, [True, True, False]),
        ("equal", {"x": line(1, 2, 3), "y": 2.0}, [False, True, False]),
        ("not_equal", {"x": line(1, 2, 3), "y": 2.0}, [True, False, True]),
        ("logical_and", {"x": line(1, 1, 0), "y": line(1, 0, 0)}, [True, False, False]),
        ("logical_or", {"x": line(1, 1, 0), "y": line(1, 0, 0)}, [True, True, False]),
        ("logical_xor", {"x": line(1, 1, 0), "y": line(1, 0, 0)}, [False, True, False]),
        ("logical_not", {"x": line(1, 0)}, [False, True]),
        ("ceil", {"x": line(0.5, -0.5)}, [1, 0]),
        ("sign", {"x": line(3, -3, 0)}, [1, -1, 0]),
        ("sin", {"x": line(0, np.pi / 2)}, [0, 1]),
        ("cos", {"x": line(0, np.pi)}, [1, -1]),
        ("erf", {"x": line(0, 1)}, [0, 0.8427008]),
        ("exp2", {"x": line(3)}, [8]),
        ("log", {"x": line(np.e)}, [1]),
        ("inverse", {"x": line(4), "epsilon": 0.0}, [0.25]),
        ("l2_norm", {"x": plane([3, 0], [0, 4])}, [[[[0.6, 0], [0, 0.8]]]]),
        ("reduce_min", {"x": count(2, 2), "axes": [1]}, [1, 3]),
        ("reduce_l1_norm", {"x": -count(2, 2), "axes": [0]}, [4, 6]),
        ("reduce_sum_square", {"x": count(2, 2), "axes": [0]}, [10, 20]),
        ("reduce_prod", {"x": count(2, 2), "axes": [0, 1]}, 24),
        ("reduce_argmax", {"x": count(2, 2), "axis": 1}, [1, 1]),
        ("reduce_argmin", {"x": count(2, 2), "axis": 1, "keep_dims": True}, [[0], [0]]),
        ("range_1d", {"start": np.array(1), "end": np.array(6), "step": np.array(2)}, [1, 3, 5]),
        ("fill", {"shape": np.array([1, 2]), "value": np.array(3.0)}, [[3, 3]]),
        ("slice_by_size", {"x": count(2, 3), "begin": [0, 1], "size": [1, -1]}, [[2, 3]]),
        ("gather_along_axis", {"x": count(2, 2), "indices": np.array([[1, 0], [0, 0]]), "axis": 1},
         [[2, 1], [3, 3]]),
        ("gather_nd", {"x": count(2, 2), "indices": np.array([[1, 0], [0, 1]])}, [3, 2]),
        ("argsort", {"x": line(3, 1, 2), "axis": 0, "ascending": True}, [1, 2, 0]),
        ("argsort", {"x": line(3, 1, 2), "axis": 0}, [0, 2, 1]),
        ("scatter_along_axis", {"data": count(1, 3), "indices": np.array([[2, 0]]), "axis": 1,
                                "updates": count(1, 2), "mode": "update"}, [[2, 2, 1]]),
        ("scatter_along_axis", {"data": count(1, 3), "indices": np.array([[2, 2]]), "axis": 1,
                                "updates": count(1, 2)}, [[1, 2, 6]]),
        ("select", {"cond": line(1, 0), "a": line(5, 6), "b": line(7, 8)}, [5, 8]),
        ("band_part", {"x": count(2, 2), "lower": 0, "upper": -1}, [[1, 2], [0, 4]]),
        ("band_part", {"x": count(2, 2), "lower": -1, "upper": 0}, [[1, 0], [3, 4]]),
        ("cumsum", {"x": count(2, 2), "axis": 1}, [[1, 3], [3, 7]]),
        ("reverse", {"x": count(2, 2), "axes": [1]}, [[2, 1], [4, 3]]),
        ("reverse", {"x": count(2, 2)}, [[4, 3], [2, 1]]),
        ("resize", {"x": plane([0, 4]), "shape": np.array([0, 4]), "resized_dims": 2,
                    "sampling_mode": "UNALIGN_CORNERS"}, [[[[0, 1, 3, 4]]]]),
        ("resize", {"x": plane([0, 3]), "shape": np.array([1, 4]), "resized_dims": 2,
                    "sampling_mode": "STRICT_ALIGN_CORNERS"}, [[[[0, 1, 2, 3]]]]),
        ("resize_nearest_neighbor", {"x": plane([1, 2]), "target_size_height": 1,
                                     "target_size_width": 4}, [[[[1, 1, 2, 2]]]]),
        ("scatter", {"data": count(2, 2), "indices": np.array([1]), "updates": line(9, 8)[None],
                     "axis": 0, "mode": "update"}, [[1, 2], [9, 8]]),
        ("scatter", {"data": count(2, 2), "indices": np.array([1, 1]), "updates": count(2, 2),
                     "axis": 1}, [[1, 5], [3, 11]]),
        ("scatter_nd", {"data": count(2, 2), "indices": np.array([[0, 1]]), "updates": line(7),
                        "mode": "update"}, [[1, 7], [3, 4]]),
        ("einsum", {"values": (count(2, 2), count(2, 2)), "equation": "ab,bc->ac"},
         [[7, 10], [15, 22]]),
    ],
)  # fmt: skip
def test_by_hand(operation: str, values: dict[str, Any], expected: Any) -> None:
    found = np.array(run(operation, **values))
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_largest_and_their_places() -> None:
    assert run("topk", x=line(2, 9, 4), k=2, axis=0) == [[9, 4], [1, 2]]
    assert run("topk", x=line(2, 9, 4), k=1, axis=0, ascending=True) == [[2], [0]]


def test_blocks_into_channels_and_back() -> None:
    x = count(1, 2, 4, 6)
    there = torch.tensor(run("space_to_depth", x=x, block_size=2))
    assert there.shape == (1, 8, 2, 3)
    assert run("depth_to_space", x=there, block_size=2) == x.tolist()


@pytest.mark.parametrize(
    ("operation", "values", "said"),
    [
        ("scatter", {"data": count(2), "indices": np.array([0]), "updates": line(1), "axis": 0,
                     "mode": "mul"}, "scatter with mode mul"),
        ("resize", {"x": plane([1]), "shape": np.array([2, 2]), "resized_dims": 2,
                    "interpolation_mode": "NEAREST_NEIGHBOR"}, "resize by NEAREST_NEIGHBOR"),
        ("resize", {"x": count(2), "shape": np.array([2]), "resized_dims": 1}, "resize of 1 axes"),
        ("resize_nearest_neighbor", {"x": plane([1, 2]), "target_size_height": 1,
                                     "target_size_width": 3}, "by a fraction"),
        ("topk", {"x": line(1), "k": 1, "axis": 0, "sort": False}, "topk without order"),
        ("gather_nd", {"x": count(2), "indices": np.array([[0]]), "batch_dims": 1}, "batch"),
    ],
)  # fmt: skip
def test_what_is_not_known(operation: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(operation, **values)
