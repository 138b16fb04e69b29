"""What layers cost on a device, by kind and widths: plain data that predicts.

A convolution's time is looked up between the widths that were measured. Widths are rounded up to
the device's block first (small ones to half of it), because a device that computes 16 channels at a
time takes as long for 9 of them; between blocks a convolution's time is bilinear in its two widths
(tensors read, tensors written, their product computed), and so is what is read off the table.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from srdeploy.fitting.grid import filled
from srdeploy.fitting.uses import LayerKind
from srdeploy.util.strict import Strict

Ms = Annotated[float, Field(ge=0)]


class KindTable(Strict):
    """One kind of layer.

    Attributes:
        kind: Which.
        narrow: Widths of the narrower side, ascending.
        wide: Widths of the wider side, ascending; it begins with those of ``narrow``.
        pair_ms: Milliseconds of two convolutions, one from the narrow to the wide side and one
            back: a row for each of ``narrow``, a column for each of ``wide``.
        base_ms: Milliseconds of all around the chain (:mod:`srdeploy.fitting.probe`), for each of
            ``narrow``.
    """

    kind: LayerKind
    narrow: tuple[int, ...]
    wide: tuple[int, ...]
    pair_ms: tuple[tuple[Ms, ...], ...]
    base_ms: tuple[Ms, ...]

    @model_validator(mode="after")
    def _has_all_entries(self) -> KindTable:
        rows = {len(row) for row in self.pair_ms}
        if (
            rows != {len(self.wide)}
            or len(self.pair_ms) != len(self.narrow)
            or len(self.base_ms) != len(self.narrow)
        ):
            raise ValueError("a table has an entry for every pair of widths")
        return self

    def layer_ms(self, inputs: int, outputs: int, block: int) -> float:
        """One convolution; 0 where it has no channels on one side."""
        if not inputs or not outputs:
            return 0.0
        a, b = sorted((filled(inputs, block), filled(outputs, block)))
        low, high, share = _between(self.narrow, a)
        row = [
            (1 - share) * x + share * y
            for x, y in zip(self.pair_ms[low], self.pair_ms[high], strict=True)
        ]
        left, right, part = _between(self.wide, b)
        return 0.5 * ((1 - part) * row[left] + part * row[right])

    def around_ms(self, width: int, block: int) -> float:
        """All around a chain that begins and ends with so many channels."""
        low, high, share = _between(self.narrow, filled(width, block))
        return (1 - share) * self.base_ms[low] + share * self.base_ms[high]


class LatencyTable(Strict):
    """All kinds of layers of a network, on one device under fixed conditions.

    Attributes:
        format: Version of this description.
        device: URI.
        model: What the device says it is.
        runtime: What runs networks there; None: the device's own choice.
        version: The runtime's version; None where the device does not tell.
        precision: What is computed in.
        threads: CPU threads; None: all.
        input: Height and width of the LR image.
        block: Channels that the device computes at a time.
        kinds: The commonest kind first: its ``base_ms`` stands for a network's ends.
    """

    format: Literal[1] = 1
    device: str
    model: str
    runtime: str | None
    version: str | None
    precision: str
    threads: int | None
    input: tuple[int, int]
    block: Annotated[int, Field(ge=1)]
    kinds: Annotated[tuple[KindTable, ...], Field(min_length=1)]

    def of(self, kind: LayerKind) -> KindTable | None:
        """The table of a kind; None where it was not measured."""
        return next((one for one in self.kinds if one.kind == kind), None)


def _between(grid: Sequence[int], width: int) -> tuple[int, int, float]:
    """The two grid points around a width, and how far it is from the first to the second.

    Beyond the grid the nearest two go on in a line, but not below nothing.
    """
    if len(grid) == 1:
        return 0, 0, 0.0
    high = min(max(bisect_left(grid, width), 1), len(grid) - 1)
    low = high - 1
    share = (width - grid[low]) / (grid[high] - grid[low])
    return low, high, max(share, 0.0)
