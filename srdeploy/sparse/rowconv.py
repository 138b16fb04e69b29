"""Convolution at listed pixels: what is asked for, and the form made of torch's operators.

Features lie channels-last, one row per pixel, images inside a border of zeros: a tap of a kernel is
a fixed distance between rows. Features that exist at some pixels only lie one behind the other
(:class:`Features`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

ALIGN = 16
"""Widths of rows are rounded up to this, the widest vector unit's floats."""

CHUNK = 2048
"""Pixels whose patches are gathered at a time: what they occupy stays in a core's cache."""


def aligned(width: int) -> int:
    """Floats that a row of so many channels takes."""
    return -(-width // ALIGN) * ALIGN


class Features(NamedTuple):
    """Channels at pixels.

    Attributes:
        data: ``[rows, width]``, float32, contiguous.
        places: int32, pixel's row to row of ``data``, 0 for pixels without (row 0 of ``data`` is
            zero); None where every pixel has its own row.
    """

    data: Tensor
    places: Tensor | None = None


@dataclass(frozen=True)
class Tap:
    """A stretch of input under one kernel position.

    Attributes:
        source: Which of the features given.
        dy: Lines below the output pixel.
        dx: Columns to its right.
        start: First channel.
        channels: How many.
    """

    source: int
    dy: int
    dx: int
    start: int
    channels: int


@dataclass(frozen=True)
class RowConv:
    """A convolution for listed pixels.

    Attributes:
        taps: Where its inputs are.
        matrix: ``[sum of the taps' channels, n_out]``.
        bias: ``[n_out]`` or None.
        relu: Whether a ReLU follows.
    """

    taps: tuple[Tap, ...]
    matrix: Tensor
    bias: Tensor | None = None
    relu: bool = False


def spatial(
    kernel: Tensor,
    bias: Tensor | None = None,
    relu: bool = False,
    *,
    split: int | None = None,
    origin: int = 1,
) -> RowConv:
    """Rows' form of a kernel ``[n_out, n_in, k, k]``.

    Args:
        kernel: The weights.
        bias: ``[n_out]``.
        relu: Whether a ReLU follows.
        split: The first so many input channels come from source 0, the rest from source 1 (each
            under its own channel number); None: all from source 0.
        origin: Line and column of the kernel that lies on the output pixel.
    """
    n_out, n_in, size = kernel.shape[:3]
    first = n_in if split is None else split
    parts = [(0, 0, first), (1, first, n_in - first)]
    taps, rows = [], []
    for source, start, channels in parts:
        if not channels:
            continue
        for y in range(size):
            for x in range(size):
                taps.append(Tap(source, y - origin, x - origin, start, channels))
                rows.append(kernel[:, start : start + channels, y, x].t())
    matrix = torch.cat(rows) if rows else kernel.new_zeros(0, n_out)
    return RowConv(tuple(taps), matrix.contiguous(), bias, relu)


def pointwise(
    weight: Tensor, widths: Sequence[int], bias: Tensor | None = None, relu: bool = False
) -> RowConv:
    """Rows' form of a 1x1 kernel ``[n_out, sum(widths)]``; each width is a source of its own."""
    taps = tuple(Tap(source, 0, 0, 0, n) for source, n in enumerate(widths) if n)
    return RowConv(taps, weight.t().contiguous(), bias, relu)


class PreparedConv(Protocol):
    """A :class:`RowConv` made ready by a backend."""

    def __call__(
        self,
        sources: Sequence[Features],
        rows: Tensor,
        line: int,
        out: Features,
        *,
        also: Tensor | None = None,
        scale: Tensor | None = None,
        residual: Tensor | None = None,
        sums: Tensor | None = None,
    ) -> None:
        """Compute ``out`` at ``rows``.

        Columns from the number of outputs up to the next multiple of :data:`ALIGN` may be
        overwritten too.

        Args:
            sources: The input.
            rows: The pixels, int32, rising; none of them on the border.
            line: Rows from a pixel to the one below it.
            out: The result.
            also: ``[pixels' rows, width]``: as many of the first columns as it has, again.
            scale: Factor per output, ``[at least the outputs, aligned]``, applied before
                ``residual`` is added.
            residual: Added, ``[pixels' rows, width]``.
            sums: ``[aligned outputs]``, float64: what is written is added up here, per channel.
        """
        ...


class TorchRowConv:
    """Gather patches, multiply: in any torch, on any machine.

    The product runs as a 1x1 convolution, which oneDNN computes twice as fast as ``torch.mm`` does
    where its BLAS does not know the processor (measured on AVX-512 of another make than the BLAS).
    """

    def __init__(self, conv: RowConv) -> None:
        self._conv = conv
        self._n_out = conv.matrix.shape[1]
        self._kernel = conv.matrix.t().contiguous()[:, :, None, None]

    def __call__(
        self,
        sources: Sequence[Features],
        rows: Tensor,
        line: int,
        out: Features,
        *,
        also: Tensor | None = None,
        scale: Tensor | None = None,
        residual: Tensor | None = None,
        sums: Tensor | None = None,
    ) -> None:
        """See :class:`PreparedConv`."""
        conv, n = self._conv, self._n_out
        for start in range(0, rows.shape[0] if n else 0, CHUNK):
            part = rows[start : start + CHUNK]
            y = self._product(sources, part, line)
            if conv.bias is not None:
                y = y + conv.bias
            if scale is not None:
                y = y * scale[:n]
            if residual is not None:
                y = y + residual.index_select(0, part)[:, :n]
            if conv.relu:
                y = functional.relu(y)
            if sums is not None:
                sums[:n] += y.sum(0)
            places = part if out.places is None else out.places.index_select(0, part)
            out.data[:, :n].index_copy_(0, places.long(), y)
            if also is not None:
                columns = min(n, also.shape[1])
                also[:, :columns].index_copy_(0, part.long(), y[:, :columns])

    def _product(self, sources: Sequence[Features], rows: Tensor, line: int) -> Tensor:
        if not self._conv.taps:
            return torch.zeros(rows.shape[0], self._n_out)
        pieces = []
        for tap in self._conv.taps:
            data, places = sources[tap.source]
            at = rows + (tap.dy * line + tap.dx)
            at = at if places is None else places.index_select(0, at)
            pieces.append(data[:, tap.start : tap.start + tap.channels].index_select(0, at))
        patches = torch.cat(pieces, 1)
        n, depth = patches.shape
        if n == CHUNK:  # one shape, so that oneDNN prepares its kernel once
            image = patches.view(1, 1, n, depth).permute(0, 3, 1, 2)
            return functional.conv2d(image, self._kernel).permute(0, 2, 3, 1).reshape(n, -1)
        return patches @ self._conv.matrix
