"""Convolutions in rows: taps, and the form of torch's operators against its convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from srdeploy.sparse.rowconv import (
    ALIGN,
    CHUNK,
    Features,
    RowConv,
    Tap,
    TorchRowConv,
    aligned,
    pointwise,
    spatial,
)
from srdeploy.sparse.workspace import Arena, Workspace


def test_widths_are_whole_vectors() -> None:
    assert [aligned(n) for n in (0, 1, 15, 16, 17, 32, 33)] == [0, 16, 16, 16, 32, 32, 48]
    assert ALIGN == 16


def test_taps_of_a_kernel() -> None:
    kernel = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    conv = spatial(kernel, origin=0)
    assert conv.taps == (Tap(0, 0, 0, 0, 3), Tap(0, 0, 1, 0, 3), Tap(0, 1, 0, 0, 3),
                         Tap(0, 1, 1, 0, 3))  # fmt: skip
    assert conv.matrix.tolist() == kernel.permute(2, 3, 1, 0).reshape(12, 2).tolist()
    assert (conv.bias, conv.relu) == (None, False)
    centred = spatial(torch.zeros(1, 1, 3, 3), torch.ones(1), True)
    assert [(t.dy, t.dx) for t in centred.taps] == [
        (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert centred.relu
    assert centred.bias is not None


@pytest.mark.parametrize(
    ("split", "sources"),
    [(None, [(0, 0, 3)]), (3, [(0, 0, 3)]), (2, [(0, 0, 2), (1, 2, 1)]), (0, [(1, 0, 3)])],
)
def test_taps_of_two_sources(split: int | None, sources: list[tuple[int, int, int]]) -> None:
    kernel = torch.randn(2, 3, 1, 1)
    conv = spatial(kernel, split=split, origin=0)
    assert [(t.source, t.start, t.channels) for t in conv.taps] == sources
    assert torch.equal(conv.matrix, kernel[:, :, 0, 0].t())


def test_taps_of_a_pointwise_kernel() -> None:
    weight = torch.randn(2, 5)
    conv = pointwise(weight, [3, 0, 2])
    assert conv.taps == (Tap(0, 0, 0, 0, 3), Tap(2, 0, 0, 0, 2))
    assert torch.equal(conv.matrix, weight.t())
    assert spatial(torch.zeros(4, 0, 3, 3)).matrix.shape == (0, 4)


@pytest.mark.parametrize("size", [(5, 7), (60, 70)])
@pytest.mark.parametrize("relu", [False, True])
def test_an_image_of_any_size(size: tuple[int, int], relu: bool) -> None:
    """More pixels than are gathered at a time, too."""
    height, width = size
    assert (height * width > CHUNK) == (height == 60)
    chance = torch.Generator().manual_seed(0)
    image = torch.randn(1, 6, height, width, generator=chance)
    kernel, bias = torch.randn(4, 6, 3, 3, generator=chance), torch.randn(4, generator=chance)
    space = Workspace(Arena(), height, width)
    x, out = space.plane("x", 16), space.plane("out", 16)
    space.inner(x, 6).copy_(image)
    residual = torch.randn(space.n_rows, 16, generator=chance)
    scale, sums = torch.linspace(1, 2, 16), torch.zeros(16, dtype=torch.float64)
    also = torch.zeros(space.n_rows, 2)
    conv = TorchRowConv(spatial(kernel, bias, relu))
    conv([Features(x)], space.rows, space.line, Features(out),
         scale=scale, residual=residual, sums=sums, also=also)  # fmt: skip
    expected = functional.conv2d(image, kernel, bias, padding=1) * scale[:4, None, None]
    expected = expected + space.inner(residual, 4)
    expected = functional.relu(expected) if relu else expected
    torch.testing.assert_close(space.inner(out, 4), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sums[:4].float(), expected.sum((0, 2, 3)), rtol=1e-3, atol=1e-2)
    assert (sums[4:] == 0).all()
    torch.testing.assert_close(space.inner(also, 2), expected[:, :2], rtol=1e-4, atol=1e-4)


def test_no_taps_are_zeros() -> None:
    conv = TorchRowConv(RowConv((), torch.zeros(0, 2), torch.tensor([3.0, 4.0])))
    out = torch.zeros(4, 16)
    conv([Features(out)], torch.tensor([1, 2], dtype=torch.int32), 2, Features(out))
    assert out[:, :3].tolist() == [[0, 0, 0], [3, 4, 0], [3, 4, 0], [0, 0, 0]]


def test_rows_lie_inside_a_border() -> None:
    space = Workspace(Arena(), 2, 3)
    assert (space.line, space.n_rows) == (5, 20)
    assert space.rows.tolist() == [6, 7, 8, 11, 12, 13]
    assert space.rows.dtype == space.places.dtype == torch.int32
    plane = space.plane("a", 16)
    assert space.plane("a", 16) is plane
    plane[:] = 1
    image = space.image(plane)
    assert image.shape == (4, 5, 16)
    inner = space.inner(plane, 3)
    assert inner.shape == (1, 3, 2, 3)
    inner.zero_()
    assert plane[:, :3].sum() == (20 - 6) * 3
    assert plane[:, 3:].sum() == 20 * 13


def test_memory_is_kept_and_its_border_is_zero() -> None:
    arena = Arena()
    large = Workspace(arena, 4, 4).plane("a", 16)
    large.fill_(9)
    space = Workspace(arena, 2, 3)
    small = space.plane("a", 16)
    assert small.data_ptr() == large.data_ptr()
    assert space.inner(small, 16).min() == 9
    space.inner(small, 16).zero_()
    assert small.abs().sum() == 0
    assert Workspace(arena, 2, 3, "b ").plane("a", 16).data_ptr() != large.data_ptr()
    assert arena.take("x", 5).shape == (5,)
    assert arena.take("x", 3).data_ptr() == arena.take("x", 5).data_ptr()


def test_compact_rows_follow_a_row_of_zeros() -> None:
    space = Workspace(Arena(), 3, 3)
    first = space.compact("a", 9, 16)
    first.data.fill_(5)
    found = space.compact("a", 2, 16)
    assert found.data.shape == (3, 16)
    assert found.places is space.places
    assert (found.data[0] == 0).all()
    assert (found.data[1:] == 5).all()
