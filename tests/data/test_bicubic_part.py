"""Parts of a resized image are parts of the whole, bit for bit, and only what they need is read."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.data import bicubic
from srdeploy.data.bicubic import imresize, imresize_part

IMAGE = np.random.default_rng(0).uniform(0, 255, (9, 12, 2))


@pytest.mark.parametrize("scale", [2, 3, 1.5, 0.5, 1 / 3])
@pytest.mark.parametrize("flat", [True, False])
def test_every_part_equals_its_place_in_the_whole(scale: float, flat: bool) -> None:
    image = IMAGE[..., 0] if flat else IMAGE
    whole = imresize(image, scale)
    read: list[tuple[int, int, int, int]] = []

    def part(rows: slice, columns: slice) -> np.ndarray:
        read.append((rows.start, rows.stop, columns.start, columns.stop))
        return image[rows, columns]

    height, width = whole.shape[:2]
    for top, bottom in ((0, 1), (0, height), (height - 1, height), (height // 2, height // 2 + 1)):
        for left, right in ((0, width), (width - 1, width), (1, 2)):
            found = imresize_part(part, (9, 12), scale, slice(top, bottom), slice(left, right))
            assert np.array_equal(found, whole[top:bottom, left:right])
            assert found.flags.c_contiguous
    assert min(a for a, *_ in read) == 0
    assert max(b for _, b, *_ in read) == 9
    reach = int(np.ceil(4 * max(1, 1 / scale))) + 2
    assert all(b - a <= reach for a, b, *_ in read if (a, b) != (0, 9))


def test_sizes_of_results() -> None:
    for scale, size in (
        (0.5, (5, 6)),
        (1 / 3, (3, 4)),
        (0.7, (7, 9)),
        (1.1, (10, 14)),
        (2, (18, 24)),
    ):
        assert imresize(IMAGE, scale).shape == (*size, 2)
    assert imresize(np.zeros((3, 3)), 1 / 3).shape == (1, 1)
    assert imresize(IMAGE, size=(1, 30)).shape == (1, 30, 2)
    with pytest.raises(ValueError, match="cannot make an image of size"):
        imresize(IMAGE, size=(3, 0))


def test_what_shrinks_most_comes_first() -> None:
    """In 8 bits the order shows, since each dimension is rounded."""
    image = IMAGE.astype(np.uint8)
    columns_first = imresize(imresize(image, size=(9, 4)), size=(6, 4))
    rows_first = imresize(imresize(image, size=(6, 12)), size=(6, 4))
    assert not np.array_equal(columns_first, rows_first)
    assert np.array_equal(imresize(image, size=(6, 4)), columns_first)
    image = np.ascontiguousarray(image.swapaxes(0, 1))
    assert np.array_equal(imresize(image, size=(4, 6)), columns_first.swapaxes(0, 1))


@pytest.mark.parametrize("size", [1, 8 * 2 * 12 * 2, 1 << 30])
def test_whatever_is_summed_at_a_time(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = imresize(IMAGE, 2), imresize(IMAGE.astype(np.uint8), 0.5)
    monkeypatch.setattr(bicubic, "_BLOCK_BYTES", size)
    assert np.array_equal(imresize(IMAGE, 2), expected[0])
    assert np.array_equal(imresize(IMAGE.astype(np.uint8), 0.5), expected[1])


def test_halves_round_up_and_levels_end() -> None:
    steps = np.array([[0, 1], [0, 1]], np.uint8)
    assert imresize(steps, size=(2, 1)).tolist() == [[1], [1]]
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 255
    out = imresize(edge, 2)
    assert (out.min(), out.max()) == (0, 255)
    assert (out[:, :4] == 0).all()


def test_weights_add_up_and_mirror_at_the_edge() -> None:
    flat = np.full((1, 1), 7.5)
    assert np.allclose(imresize(flat, size=(4, 5)), 7.5)
    ramp = np.arange(5.0)[:, None]
    mirrored = np.concatenate([ramp[::-1], ramp, ramp[::-1]])
    assert np.allclose(imresize(ramp, 2)[:, :1], imresize(mirrored, 2)[10:20, :1])


def test_only_what_shrinks_is_blurred() -> None:
    image = np.random.default_rng(1).uniform(0, 255, (12, 12))
    assert not np.allclose(imresize(image, 0.5, antialias=False), imresize(image, 0.5))
    dot = np.zeros((12, 12))
    dot[0, 0] = 1
    assert not imresize(dot, 0.25, antialias=False)[1:].any()
    assert imresize(dot, 0.25)[1:].any()
    assert np.array_equal(imresize(image, 2, antialias=False), imresize(image, 2))
