"""Channels that a reshape takes apart: ``(3, heads, channels of a head)``, ``(groups, channels)``.

What stays of them must be a box again, so only one side of the box can become shorter, if any, and
what lies at one place of that side goes together. Which side that is shows in what the network does
afterwards, so it is settled when all of it has been seen: the side that leaves most channels to
choose from, and among equals the last one, as code writes what varies there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from srdeploy.models.module_path import ModulePath
from srdeploy.pruning.tracing.cuts import all_alike
from srdeploy.pruning.tracing.unionfind import Nodes, UnionFind


@dataclass(frozen=True)
class _Box:
    nodes: Nodes
    """A dimension for every side, and a last one for what else lies at the same place."""
    part: str
    why: str


class Boxes:
    """The boxes of one traced run."""

    def __init__(self) -> None:
        self._boxes: list[_Box] = []

    def split(self, nodes: Nodes, sides: Sequence[int], place: ModulePath) -> None:
        """Channels are taken apart.

        Args:
            nodes: Of every channel, ``[channels, ...]``.
            sides: What they are reshaped to.
            place: Where, for the reason.
        """
        told = ", ".join(map(str, sides))
        box = _Box(nodes.reshape(*sides, -1), place.name, f"reshaped to ({told}) in {place}")
        self._boxes.append(box)

    def settle(self, sets: UnionFind) -> Iterator[tuple[str, Nodes]]:
        """Join what lies at one place of the side that becomes shorter.

        Yields:
            Where that is not the last side: the part whose code reshapes, and the side's channels.
        """
        for box in self._boxes:
            nodes = sets.find(box.nodes)
            if not nodes.any() or all_alike(nodes.reshape(-1, nodes.shape[-1])):
                continue  # another dimension becomes shorter
            if not nodes.all():
                sets.freeze(nodes, f"side by side with fixed numbers, {box.why}")
                continue
            frozen = set(sets.frozen())
            sides = [side for side in range(nodes.ndim - 1) if nodes.shape[side] > 1]
            best = max(sides, key=lambda side: (_atoms(nodes, side, frozen), side))
            rows = np.moveaxis(nodes, best, 0).reshape(nodes.shape[best], -1)
            sets.join(rows[:, :1], rows, box.why)
            if _atoms(nodes, best, frozen) < 2:
                sets.freeze(nodes, box.why)
            elif best != nodes.ndim - 2:
                yield box.part, rows[:, 0]


def _atoms(nodes: Nodes, side: int, frozen: set[int]) -> int:
    """How many sets there are that could go if a box became shorter on one side."""
    sets = UnionFind()
    names, found = np.unique(nodes, return_inverse=True)
    own = sets.new(len(names))[found.reshape(nodes.shape)]
    rows = np.moveaxis(own, side, 0).reshape(nodes.shape[side], -1)
    sets.join(rows[:, :1], rows)
    stay = {int(sets.find(np.array([i + 1]))[0]) for i, n in enumerate(names) if int(n) in frozen}
    return len(set(sets.find(own).ravel().tolist()) - stay)
