"""How an ONNX tensor lies in LiteRT's memory.

ONNX has channels second and any number of axes; LiteRT's images have them last, and its delegates
take four axes at most. So a tensor is known by its axes as ONNX counts them and by the order in
which they lie in memory, and has whichever shape was useful where it was made. A transpose then
moves nothing, and most reshapes neither: both are only another view. Values are moved where an
operation needs another order, in steps of at most four axes, neighbours that stay together being
one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from srdeploy.exporting.litert.graph import RANK, Tensor

Shape = tuple[int, ...]
Order = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A computed tensor.

    Attributes:
        tensor: Where its values are, in a shape of no importance.
        shape: As ONNX has it.
        order: ONNX's axes, as they lie in memory, the outermost first.
    """

    tensor: Tensor
    shape: Shape
    order: Order

    @property
    def in_memory(self) -> Shape:
        """Sizes of the axes as they lie there."""
        return tuple(self.shape[axis] for axis in self.order)

    def transposed(self, perm: Sequence[int]) -> Value:
        """Its axes counted otherwise; nothing moves."""
        shape = tuple(self.shape[axis] for axis in perm)
        return Value(self.tensor, shape, tuple(list(perm).index(axis) for axis in self.order))

    def widened(self, rank: int) -> Value:
        """With axes of one value before its own."""
        more = rank - len(self.shape)
        order = (*range(more), *(axis + more for axis in self.order))
        return Value(self.tensor, (1,) * more + self.shape, order)


def regrouped(value: Value, shape: Shape) -> tuple[Order, Order] | None:
    """How a reshape is only another view.

    Axes that become others together are a group; where a group lies together in memory, nothing
    has to move.

    Returns:
        The order in which the value must lie (its own, if that will do), and the order of the new
        axes then; None: the sizes do not fit.
    """
    groups = _groups(value.shape, shape)
    if groups is None:
        return None
    large = [axis for axis in value.order if value.shape[axis] > 1]
    place = {axis: at for at, axis in enumerate(large)}
    before = [[axis for axis in old if value.shape[axis] > 1] for old, _ in groups]
    ranked = sorted((n for n, axes in enumerate(before) if axes), key=lambda n: place[before[n][0]])
    together = [axis for n in ranked for axis in before[n]]
    ones = [axis for axis in value.order if value.shape[axis] == 1]
    rest = [axis for n, (_, new) in enumerate(groups) if n not in ranked for axis in new]
    order = value.order if together == large else (*ones, *together)
    return tuple(order), (*rest, *(axis for n in ranked for axis in groups[n][1]))


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Axes of two shapes, in the smallest runs that hold equally many values."""
    if math.prod(old) != math.prod(new) or not math.prod(old):
        return None
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = list[int](), list[int]()
        a = b = 1
        while True:
            if a <= b and i < len(old) and (a < b or not first):
                first.append(i)
                a *= old[i]
                i += 1
            elif j < len(new) and (b < a or not second):
                second.append(j)
                b *= new[j]
                j += 1
            elif i < len(old) and a < b:
                first.append(i)
                a *= old[i]
                i += 1
            else:
                break
            if a == b and first and second:
                break
        found.append((first, second))
    return found


def moves(sizes: Shape, perm: Sequence[int]) -> list[tuple[Shape, Order]]:
    """Transposes of at most four axes that together make a permutation.

    Args:
        sizes: Of the axes in memory.
        perm: Which of them comes where.

    Returns:
        For each the shape that it reads and its permutation; none where nothing moves.
    """
    kept = [axis for axis in range(len(sizes)) if sizes[axis] > 1]
    runs: list[list[int]] = []
    for axis in (axis for axis in perm if sizes[axis] > 1):
        if runs and kept.index(axis) == kept.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    lying = sorted(range(len(runs)), key=lambda n: runs[n][0])
    wide = {n: math.prod(sizes[axis] for axis in runs[n]) for n in lying}
    if len(lying) <= 1:
        return []
    if len(lying) <= RANK:
        return [(tuple(wide[n] for n in lying), tuple(lying.index(n) for n in range(len(runs))))]
    found: list[tuple[Shape, Order]] = []
    done = 1
    for n in range(len(runs)):
        at = lying.index(n)
        before, after = (math.prod(wide[m] for m in part) for part in (lying[:at], lying[at + 1 :]))
        if before > 1:
            found.append(((done, before, wide[n], after), (0, 2, 1, 3)))
        done *= wide[n]
        del lying[at]
    return found
