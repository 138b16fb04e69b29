"""Axes of tensors that can be written as one, for formats that have few of them."""

from __future__ import annotations

from collections.abc import Sequence


def merged(shapes: Sequence[Sequence[int]], own: Sequence[int] = ()) -> list[list[int]]:
    """Neighbouring axes that can be one for an operation.

    Args:
        shapes: Of its operands, all of one rank; each axis has one size, or 1, in them.
        own: Axes along which the operation works: these stay alone.
    """
    runs: list[list[int]] = []
    patterns: list[tuple[bool, ...] | None] = []  # None: a run of axes of one value, so far
    for axis in range(len(shapes[0])):
        sizes = [shape[axis] for shape in shapes]
        if axis in own:
            runs.append([axis])
            patterns.append(())
            continue
        pattern = None if max(sizes) == 1 else tuple(n == 1 for n in sizes)
        if runs and patterns[-1] != () and (pattern is None or patterns[-1] in (None, pattern)):
            runs[-1].append(axis)
            patterns[-1] = patterns[-1] if pattern is None else pattern
        else:
            runs.append([axis])
            patterns.append(pattern)
    return runs
