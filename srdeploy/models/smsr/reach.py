"""How far SMSR looks besides its channel attention. torch is not needed."""

from __future__ import annotations

_MASK = 5
"""Pixels that a mask looks to each side: a convolution, windows of 2x2, a convolution on these, and
a transposed one."""


def pooled_field(n_modules: int, n_layers: int) -> int:
    """Side, in pixels, of what an output pixel depends on, the attention's means being given.

    What the first masked layer of a module gives is masked where the last ones read it.
    """
    frame = 4  # two convolutions before the modules, two behind them
    return 2 * (frame + n_modules * (n_layers - 1 + _MASK)) + 1
