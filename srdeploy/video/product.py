"""Matrix products in one thread, beside a network that has all cores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ALONE = 1 << 18
"""Multiplications up to which OpenBLAS, which NumPy uses, starts no threads. Those that it starts
wait by spinning: where a network has all cores, a product of a millisecond takes ten times as much
of them from it."""


def product(
    left: NDArray[np.float32], right: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """``out = left @ right``, piece by piece along the longer side of the result.

    Args:
        left: ``[m, k]``.
        right: ``[k, n]``.
        out: ``[m, n]``.
    """
    (rows, inner), columns = left.shape, right.shape[1]
    if rows <= columns:
        step = max(1, _ALONE // (rows * inner))
        for start in range(0, columns, step):
            here = slice(start, start + step)
            np.matmul(left, right[:, here], out=out[:, here])
        return
    step = max(1, _ALONE // (inner * columns))
    for start in range(0, rows, step):
        here = slice(start, start + step)
        np.matmul(left[here], right, out=out[here])
