"""Convolution at listed pixels: what is asked for, and the form made of torch's operators.

Features lie channels-last: one row per pixel, images inside a border of zeros, one or more planes
``[planes, rows, width]`` of them. A tap of a kernel is then a fixed distance between rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True)
class Tap:
    """A stretch of input under one kernel position: the first ``channels`` of a plane's row.

    Attributes:
        plane: Which plane.
        dy: Lines below the output pixel.
        dx: Columns to its right.
        channels: How many channels, from the first.
    """

    plane: int
    dy: int
    dx: int
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

    @property
    def macs(self) -> int:
        """Multiplications per pixel."""
        return self.matrix.numel()


def conv3x3_rows(kernel: Tensor, bias: Tensor | None = None, relu: bool = False) -> RowConv:
    """Rows' form of a 3x3 kernel ``[n_out, n_in, 3, 3]`` on one plane."""
    n_out, n_in = kernel.shape[:2]
    taps = tuple(Tap(0, dy, dx, n_in) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    matrix = kernel.permute(2, 3, 1, 0).reshape(9 * n_in, n_out).contiguous()
    return RowConv(taps if n_in else (), matrix, bias, relu)


def conv1x1_rows(
    weight: Tensor, widths: Sequence[int], bias: Tensor | None = None, relu: bool = False
) -> RowConv:
    """Rows' form of a 1x1 kernel ``[n_out, sum(widths)]`` on planes of those widths."""
    taps = tuple(Tap(plane, 0, 0, n) for plane, n in enumerate(widths) if n)
    return RowConv(taps, weight.t().contiguous(), bias, relu)


class PreparedConv(Protocol):
    """A :class:`RowConv` made ready by a backend."""

    def __call__(
        self,
        x: Tensor,
        rows: Tensor,
        line: int,
        out: Tensor,
        *,
        scale: Tensor | None = None,
        residual: Tensor | None = None,
        sums: Tensor | None = None,
    ) -> None:
        """Compute ``out[rows]``; what lies right of the outputs in those rows becomes zero.

        Args:
            x: Features ``[planes, rows, width]``, float32, contiguous.
            rows: The pixels' rows, int32, rising; none of them on the border.
            line: Rows from a pixel to the one below it.
            out: ``[rows, width]``.
            scale: Factor per output ``[width of out]``, applied before ``residual`` is added.
            residual: Added, ``[rows, width of out]``.
            sums: ``[width of out]``, float64: what was written is added up here, per channel.
        """
        ...


class TorchRowConv:
    """Gather patches, multiply: in any torch, on any machine.

    The product runs as a 1x1 convolution, which oneDNN computes twice as fast as ``torch.mm`` does
    where its BLAS does not know the processor (measured on AVX-512 of another make than the BLAS).
    """

    def __init__(self, conv: RowConv) -> None:
        self._conv = conv
        n_out = conv.matrix.shape[1]
        self._n_out = n_out
        self._kernel = conv.matrix.t().contiguous()[:, :, None, None]

    def __call__(
        self,
        x: Tensor,
        rows: Tensor,
        line: int,
        out: Tensor,
        *,
        scale: Tensor | None = None,
        residual: Tensor | None = None,
        sums: Tensor | None = None,
    ) -> None:
        """See :class:`PreparedConv`."""
        conv, n = self._conv, self._n_out
        for start in range(0, rows.shape[0], CHUNK):
            part = rows[start : start + CHUNK]
            if n == 0:
                out.index_fill_(0, part.long(), 0.0)
                continue
            y = self._product(x, part, line)
            if conv.bias is not None:
                y += conv.bias
            if scale is not None:
                y *= scale[:n]
            if residual is not None:
                y += residual.index_select(0, part)[:, :n]
            if conv.relu:
                y = y.relu_()
            if sums is not None:
                sums[:n] += y.sum(0)
            out.index_copy_(0, part.long(), functional.pad(y, (0, out.shape[1] - n)))

    def _product(self, x: Tensor, rows: Tensor, line: int) -> Tensor:
        if not self._conv.taps:
            return x.new_zeros(rows.shape[0], self._n_out)
        patches = torch.cat(
            [
                x[tap.plane, :, : tap.channels].index_select(0, rows + (tap.dy * line + tap.dx))
                for tap in self._conv.taps
            ],
            1,
        )
        n, depth = patches.shape
        if n == CHUNK:  # one shape, so that oneDNN prepares its kernel once
            image = patches.view(1, 1, n, depth).permute(0, 3, 1, 2)
            return functional.conv2d(image, self._kernel).permute(0, 2, 3, 1).reshape(n, -1)
        return patches @ self._conv.matrix
