"""At which widths to measure, and the block of channels that a device computes at a time."""

from __future__ import annotations

from collections.abc import Mapping

BLOCKS = (32, 16, 8, 4)
"""Blocks that are looked for, the largest first."""

STEPS = 8
"""Widths of the sweep in which blocks are looked for."""

POINTS = 5
"""Widths of a table's side, at most."""

SAVES = 0.35
"""Of what narrower widths would save if time grew evenly, the share that still makes a block."""

NOISE = 0.01
"""Share of a time that is no difference."""


def sweep_widths(widest: int) -> list[int]:
    """Widths, up to the widest, whose times show the device's block."""
    step = BLOCKS[-1] if widest >= 2 * BLOCKS[-1] else 1
    top = -(-widest // step) * step
    return [w for w in range(top - STEPS * step, top + 1, step) if w > 0]


def block_of(times: Mapping[int, float]) -> int:
    """The block that times of a sweep show.

    A device that computes in blocks takes about as long for a width between two multiples as for
    the next one. So widths in between save little of what they would if time grew evenly from one
    multiple to the next (as the time of no channels at all counts that of the narrowest). The
    largest block counts of which that is so, of all such widths together; where it is so of none,
    any width pays, and the step of the sweep is taken.

    Args:
        times: Milliseconds by width, of convolutions that are as wide on both sides.
    """
    widths = sorted(times)
    step = widths[1] - widths[0] if len(widths) > 1 else widths[0]
    for block in BLOCKS:
        saved = enough = 0.0
        between = [w for w in widths if (up := -(-w // block) * block) != w and up in times]
        for width in between:
            up = -(-width // block) * block
            below = times.get(up - block, times[widths[0]])
            saved += times[up] - times[width]
            enough += SAVES * (up - width) / block * (times[up] - below) + NOISE * times[up]
        if between and saved <= enough:
            return block
    return step


def half_of(block: int) -> int:
    """The one width below a block that is considered; 0 where a block is too small for it.

    What is computed then may be a whole block, but what is read and written need not be.
    """
    return block // 2 if block >= 2 * BLOCKS[-1] else 0


def filled(width: int, block: int) -> int:
    """Channels that a device spends its time on for so many."""
    return half if 0 < width <= (half := half_of(block)) else -(-width // block) * block


def grid_of(widest: int, block: int, points: int = POINTS) -> tuple[int, ...]:
    """Half a block, and multiples up to the widest, at about equal distances, ends included."""
    top = -(-widest // block)
    count = min(points, top)
    chosen = {round(1 + n * (top - 1) / max(count - 1, 1)) for n in range(count)}
    half = half_of(block)
    return ((half,) if half else ()) + tuple(sorted(n * block for n in chosen))
