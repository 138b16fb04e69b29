"""Views and moves: whatever is reshaped and transposed, values stay in their order."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.exporting.litert.graph import RANK, Tensor
from srdeploy.exporting.litert.layout import Value, moves, regrouped


def lying(array: np.ndarray, value: Value) -> np.ndarray:
    return array.transpose(value.order).ravel()


def moved(flat: np.ndarray, value: Value, order: tuple[int, ...]) -> np.ndarray:
    perm = tuple(value.order.index(axis) for axis in order)
    for shape, one in moves(value.in_memory, perm):
        assert len(shape) <= RANK
        flat = flat.reshape(shape).transpose(one).ravel()
    return flat


def split(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    """Sizes whose product is a count, in any number of axes."""
    sizes: list[int] = []
    while count > 1:
        size = int(rng.choice([n for n in range(2, count + 1) if count % n == 0]))
        sizes.append(size)
        count //= size
    for _ in range(rng.integers(0, 3)):
        sizes.insert(int(rng.integers(0, len(sizes) + 1)), 1)
    return tuple(sizes) or (1,)


@pytest.mark.parametrize("seed", range(60))
def test_chains_of_views(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.choice([24, 36, 60, 64, 72, 210]))
    shape = split(rng, count)
    array = np.arange(count).reshape(shape)
    order = tuple(int(n) for n in rng.permutation(len(shape)))
    value = Value(Tensor("x", shape), shape, order)
    flat = lying(array, value)
    for _ in range(6):
        if rng.random() < 0.5:
            perm = [int(n) for n in rng.permutation(array.ndim)]
            array, value = array.transpose(perm), value.transposed(perm)
        else:
            new = split(rng, count)
            found = regrouped(value, new)
            assert found is not None
            before, after = found
            flat = moved(flat, value, before)
            array, value = array.reshape(new), Value(value.tensor, new, after)
            assert sorted(after) == list(range(len(new)))
        np.testing.assert_array_equal(flat, lying(array, value))
    np.testing.assert_array_equal(moved(flat, value, tuple(range(array.ndim))), array.ravel())


def test_views_that_move_nothing() -> None:
    image = Value(Tensor("x", (1, 6, 8, 4)), (1, 4, 6, 8), (0, 2, 3, 1))
    for shape in ((1, 4, 48), (4, 6, 2, 4), (1, 2, 2, 6, 8), (1, 4, 3, 2, 8)):
        found = regrouped(image, shape)
        assert found is not None
        assert found[0] == image.order
        assert moves(image.in_memory, [image.order.index(a) for a in found[0]]) == []
    assert regrouped(image, (1, 4, 47)) is None
