"""At which widths to measure, and the block of channels that a device computes at a time."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

BLOCKS = (32, 16, 8, 4)
"""Blocks that are looked for, the largest first."""

STEPS = 8
"""Widths of the sweep in which blocks are looked for."""

POINTS = 5
"""Widths of a table's side, at most."""

FLAT = 0.97
"""Share of the next block's time from which on a narrower width gains nothing."""


def sweep_widths(widest: int) -> list[int]:
    """Widths, up to the widest, whose times show the device's block."""
    step = BLOCKS[-1] if widest >= 2 * BLOCKS[-1] else 1
    top = -(-widest // step) * step
    return [w for w in range(top - (STEPS - 1) * step, top + 1, step) if w > 0]


def block_of(times: Mapping[int, float]) -> int:
    """The block that times of a sweep show.

    Of a device that computes in blocks, a width between two multiples takes as long as the next
    multiple. The largest block of which that is so for half of such widths and more counts; where
    it is so of none, any width pays, and the step of the sweep is taken.

    Args:
        times: Milliseconds by width, of convolutions that are as wide on both sides.
    """
    widths = sorted(times)
    step = widths[1] - widths[0] if len(widths) > 1 else widths[0]
    for block in BLOCKS:
        ratios = [
            times[w] / times[up]
            for w in widths
            if (up := -(-w // block) * block) != w and up in times
        ]
        if block > step and len(ratios) >= block // step - 1 and median(ratios) >= FLAT:
            return block
    return step


def grid_of(widest: int, block: int, points: int = POINTS) -> tuple[int, ...]:
    """Multiples of a block up to the widest, at about equal distances; ends included."""
    top = -(-widest // block)
    count = min(points, top)
    if count == 1:
        return (top * block,)
    chosen = {round(1 + n * (top - 1) / (count - 1)) for n in range(count)}
    return tuple(sorted(n * block for n in chosen))
