"""Cuts of channels at numbers that a network's code has from elsewhere.

``y[..., : c // 2]``, where ``c`` is the width of another tensor, cuts other channels once some are
gone. A part of a pruned network can be given other numbers for such calls
(:mod:`srdeploy.models.code_numbers`): as many as stay of those before the cut. What is cut is known
when all of a network has been seen, so it is settled then. A cut keeps its channels where

- the same line of code, run by the part or a layer inside it, also cuts a dimension that is none of
  channels (a crop): for an image of some size it may ask for the same numbers;
- one place of the dimension holds channels that can go on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from srdeploy.models.code_calls import Site
from srdeploy.models.code_numbers import Asked, number_name, of_cut
from srdeploy.pruning.tracing.unionfind import Nodes, UnionFind

Count = Callable[[str, str, Nodes], None]
"""Takes a part, the name of a number of it, and the channels whose number it is."""


class _Cut(NamedTuple):
    places: Sequence[str]
    asked: Asked
    rows: Nodes | None
    """Of every place of the dimension what lies there; None where these are no channels."""
    why: str


class Cuts:
    """The cuts of one traced run."""

    def __init__(self) -> None:
        self._cuts: list[_Cut] = []
        self._fixed: list[tuple[Nodes, str]] = []
        self._running: list[tuple[Site, Sequence[str]]] = []

    def calls(self, said: Sequence[Site], places: Sequence[str]) -> None:
        """Code makes a call that may cut.

        Args:
            said: What it asks for; nothing when the call is over.
            places: Names of the layers that run.
        """
        for site, known in self._running:  # what cut nothing, or no channels
            self._cuts.append(_Cut(known, of_cut(site), None, ""))
        self._running = [(site, places) for site in said]

    def cut(self, nodes: Nodes, dim: int, why: str) -> bool:
        """An operation cuts a dimension of channels at fixed positions.

        Args:
            nodes: Of the tensor that is cut.
            dim: Its dimension.
            why: The reason why they stay, where they do.

        Returns:
            Whether it is the work of the call that is made, so that other numbers can be given.
        """
        for number, (site, places) in enumerate(self._running):
            if site.dim == dim:
                del self._running[number]
                self._cuts.append(_Cut(places, of_cut(site), _rows(nodes, dim), why))
                return True
        return False

    def fix(self, nodes: Nodes, dim: int, why: str) -> None:
        """A tensor must stay as long in a dimension as it is; another one may become shorter."""
        self._fixed.append((_rows(nodes, dim), why))

    def settle(self, sets: UnionFind, count: Count) -> None:
        """Freeze what is cut at fixed positions, and tell what the others count.

        Args:
            sets: All of the run is known, boxes are settled.
            count: Is told the numbers that become smaller with the channels.
        """
        for rows, why in self._fixed:
            if not all_alike(sets.find(rows)):
                sets.freeze(rows, why)
        open_cuts: list[_Cut] = []
        closed: list[_Cut] = []
        for one in self._cuts:
            if one.rows is None or all_alike(found := sets.find(one.rows)):
                closed.append(one)
            elif (found != found[:, :1]).any() or not list(_pieces(one.asked, len(found))):
                sets.freeze(one.rows, one.why)
            else:
                open_cuts.append(one)
        for one in open_cuts:
            assert one.rows is not None
            part = one.places[-1]
            if any(part in c.places and c.asked.kind == one.asked.kind for c in closed):
                sets.freeze(one.rows, one.why)
            for other in open_cuts:  # of layers inside, too, which then are given the same
                if part in other.places and other.asked == one.asked:
                    assert other.rows is not None
                    for place, start, stop in _pieces(one.asked, len(other.rows)):
                        count(part, number_name(one.asked, place), other.rows[start:stop, 0])


def _pieces(asked: Asked, length: int) -> Iterator[tuple[int, int, int]]:
    """Place of a number, start and stop of the channels whose number it is.

    Nothing for numbers that may stay, and for cuts that other numbers cannot follow.
    """
    kind, numbers = asked
    if kind.startswith("split each"):
        size = numbers[0] or length
        if length % size == 0:
            yield from ((0, start, start + size) for start in range(0, length, size))
    elif kind.startswith("slice"):
        for place, number in enumerate(numbers):
            if number is not None and 0 < number < length:
                yield place, 0, number
            elif number is not None and -length < number < 0:
                yield place, length + number, length
    elif kind.startswith("narrow"):
        start, size = (number or 0 for number in numbers)
        if start >= 0:
            yield from ((0, 0, start),) if start else ()
            yield 1, start, start + size
    else:
        start = 0
        for place, number in enumerate(numbers):
            if number:
                yield place, start, start + number
                start += number


def _rows(nodes: Nodes, dim: int) -> Nodes:
    return np.moveaxis(nodes, dim, 0).reshape(nodes.shape[dim], -1)


def all_alike(rows: Nodes) -> bool:
    """Whether all rows, of more than one number, hold the same ones."""
    found = [set(row) for row in rows.tolist()]
    return rows.shape[1] > 1 and all(row == found[0] for row in found)
