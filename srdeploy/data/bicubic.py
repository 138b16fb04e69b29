"""Bicubic resizing as MATLAB's ``imresize`` does it, the degradation of every benchmark.

The kernel is Keys' cubic convolution with a = -0.5 (Keys 1981, eq. 15). When an image shrinks, the
kernel is stretched by 1/scale so that it also removes what would alias. Edges are extended by
mirroring with the edge pixel repeated. The dimensions are resized one after the other, and a
``uint8`` image is rounded to ``uint8`` after each: leaving that rounding out changes one value in
eight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_KERNEL_WIDTH = 4.0  # support of the cubic kernel in source pixels, before stretching
_BLOCK_BYTES = 1 << 19  # accumulate this much at a time, so that a block stays in the CPU's cache


def imresize(
    image: NDArray,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
) -> NDArray:
    """Resize an image by a factor or to a size, like MATLAB's ``imresize(image, scale)``.

    Args:
        image: ``[H, W]`` or ``[H, W, C]``; ``uint8``, or any floating type.
        scale: output size over input size; the output has ``ceil(scale * size)`` pixels per side.
        size: output ``(height, width)``, instead of ``scale``.
        antialias: stretch the kernel when shrinking (MATLAB's default).

    Returns:
        ``uint8`` for ``uint8`` (rounded and clipped after each dimension), otherwise ``float64``,
        neither rounded nor clipped: the kernel overshoots at edges.

    Raises:
        ValueError: an array of another rank or type, or an empty size.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"imresize takes a non-empty [H, W] or [H, W, C] array, got {image.shape}")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"imresize takes uint8 or floating arrays, got {image.dtype}")
    if (scale is None) == (size is None):
        raise ValueError("imresize takes either a scale or a size")
    height, width = image.shape[:2]
    if size is None:
        assert scale is not None
        # 1e-9 keeps a factor such as 1/3, which has no exact float, from adding a pixel.
        size = (math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9))
        factors = (float(scale), float(scale))
    else:
        factors = (size[0] / height, size[1] / width)
    if min(size) < 1:
        raise ValueError(f"imresize cannot make an image of size {size}")

    channels = image.shape[2] if image.ndim == 3 else 1
    out = image.reshape(height, width, channels)
    # MATLAB starts with the dimension that shrinks most; equal factors start with the height.
    for axis in sorted((0, 1), key=lambda axis: factors[axis]):
        out = _along(out, axis, *cubic_taps(out.shape[axis], size[axis], factors[axis], antialias))
    return np.ascontiguousarray(out).reshape(size if image.ndim == 2 else (*size, channels))


def imresize_part(
    read: Callable[[slice, slice], NDArray],
    size: tuple[int, int],
    scale: float,
    rows: slice,
    columns: slice,
) -> NDArray:
    """Some pixels of ``imresize(image, scale)``, bit for bit, from the pixels they depend on.

    Args:
        read: gives ``image[rows, columns]`` of a source of two or three dimensions.
        size: height and width of that source.
        scale: as in :func:`imresize`.
        rows: of the result, without a step; within it.
        columns: likewise.

    Returns:
        ``imresize(image, scale)[rows, columns]``.
    """
    taps = []
    for length, wanted in zip(size, (rows, columns), strict=True):
        weights, sources = cubic_taps(length, math.ceil(length * scale - 1e-9), float(scale), True)
        part = sources[:, wanted]
        taps.append((weights[:, wanted], part - part.min(), slice(part.min(), part.max() + 1)))
    out = read(taps[0][2], taps[1][2])
    flat = out.ndim == 2
    out = out[..., None] if flat else out
    for axis, (weights, sources, _) in enumerate(taps):
        out = _along(out, axis, weights, sources)
    out = np.ascontiguousarray(out)
    return out[..., 0] if flat else out


def _cubic(distance: NDArray) -> NDArray:
    x = np.abs(distance)
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x <= 2.0, far, 0.0))


@lru_cache(maxsize=256)
def cubic_taps(
    n_in: int, n_out: int, factor: float, antialias: bool = True, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How each sample of a resized line is made.

    Args:
        n_in: Samples of the source.
        n_out: Samples of the result.
        factor: Samples of the result to one of the source.
        antialias: As in :func:`imresize`.
        shift: How far all samples of the result lie beyond where :func:`imresize` has them, in
            samples of the source.

    Returns:
        Weights, and the samples that they weigh, both ``[n_taps, n_out]``.
    """
    stretch = max(1.0, 1.0 / factor) if antialias else 1.0
    width = _KERNEL_WIDTH * stretch
    centre = (np.arange(n_out) + 0.5) / factor - 0.5 + shift
    first = np.floor(centre - width / 2)
    positions = first[None, :] + np.arange(math.ceil(width) + 2)[:, None]
    weights = _cubic((centre[None, :] - positions) / stretch)
    weights /= weights.sum(axis=0, keepdims=True)
    mirrored = positions.astype(np.int64) % (2 * n_in)
    sources = np.where(mirrored < n_in, mirrored, 2 * n_in - 1 - mirrored)
    used = np.any(weights != 0, axis=1)
    return weights[used], sources[used]


def _along(
    image: NDArray, axis: int, weights: NDArray[np.float64], sources: NDArray[np.int64]
) -> NDArray:
    """Resize ``[H, W, C]`` along one axis (a view)."""
    rows = np.ascontiguousarray(np.swapaxes(image, 0, axis))
    resized = _weighted_rows(rows.reshape(rows.shape[0], -1), weights, sources)
    return np.swapaxes(resized.reshape(-1, *rows.shape[1:]), 0, axis)


def _weighted_rows(
    rows: NDArray, weights: NDArray[np.float64], sources: NDArray[np.int64]
) -> NDArray:
    """``out[i] = sum_k weights[k, i] * rows[sources[k, i]]``, rounded if ``rows`` is ``uint8``."""
    n_out, n_columns = weights.shape[1], rows.shape[1]
    is_uint8 = rows.dtype == np.uint8
    out = np.empty((n_out, n_columns), np.uint8 if is_uint8 else np.float64)
    step = max(1, _BLOCK_BYTES // (8 * n_columns))
    for start in range(0, n_out, step):
        block = slice(start, min(start + step, n_out))
        total = np.zeros((block.stop - start, n_columns))
        term = np.empty_like(total)
        for weight, source in zip(weights[:, block], sources[:, block], strict=True):
            np.multiply(rows[source], weight[:, None], out=term)
            total += term
        if is_uint8:
            # MATLAB rounds halves away from zero (numpy's rint would round them to even).
            total += 0.5
            out[block] = np.clip(np.floor(total, out=total), 0, 255, out=total)
        else:
            out[block] = total
    return out
