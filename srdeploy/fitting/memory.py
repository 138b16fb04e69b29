"""What a network needs of memory: the runtime's share, and the tensors around its widest layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from srdeploy.errors import UserError
from srdeploy.fitting.uses import LayerUse, Uses


@dataclass(frozen=True)
class MemoryModel:
    """Peak memory by the channels that are read and written at once.

    Attributes:
        uses: The network's layers.
        limit: MB that may be needed.
        base: MB of everything else,
        each: and for each channel of the input's resolution.
    """

    uses: Uses
    limit: float
    base: float
    each: float

    def mb(self, removed: Mapping[str, int]) -> float:
        """The prediction, in MB (10^6 bytes)."""
        return self.base + self.each * widest(self.uses, removed)

    def allows(self, removed: Mapping[str, int]) -> bool:
        """Whether a network is within the limit."""
        return self.mb(removed) <= self.limit

    def allows_layer(self, use: LayerUse, inputs: int, outputs: int) -> bool:
        """Whether a network with such a layer can be."""
        return self.base + self.each * _held(use, inputs, outputs) <= self.limit


def fit_memory(
    uses: Uses, limit: float, observed: Sequence[tuple[Mapping[str, int], float | None]]
) -> MemoryModel:
    """A model from whole networks: what they had lost, and their peak in MB.

    Raises:
        UserError: the device does not tell.
    """
    rows = [(widest(uses, removed), mb) for removed, mb in observed if mb is not None]
    if not rows:
        raise UserError(
            "--max-mb cannot be kept: the device does not tell how much memory it needs."
        )
    at, peaks = (np.array(column, float) for column in zip(*rows, strict=True))
    each = 0.0
    if np.ptp(at) > 0:
        each = max(float(np.polyfit(at, peaks, 1)[0]), 0.0)
    return MemoryModel(uses, limit, float(np.mean(peaks - each * at)), each)


def widest(uses: Uses, removed: Mapping[str, int]) -> float:
    """Channels that the widest layer reads and writes, for each pixel of the input."""
    return max(
        _held(use, use.inputs.left(removed), use.outputs.left(removed))
        for use in uses.left(removed)
    )


def _held(use: LayerUse, inputs: int, outputs: int) -> float:
    return (inputs + outputs) * use.kind.factor**2
