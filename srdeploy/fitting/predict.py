"""How long a network takes on a device, from its layers' times and a few whole networks.

The sum of the layers is corrected by what whole networks took: a factor on the layers (fusion,
caches), one on the channels that are written (what stands between convolutions) and a constant
(starting, copying). The three are fitted to the whole networks' relative errors by least squares
that lets none be negative (Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23),
with the layers' factor drawn towards 1 where there are few networks.

All of these are times of a device that nothing else disturbs (:mod:`srdeploy.fitting.bench`). How
much longer the median takes is one factor more, the median of what whole networks showed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from srdeploy.fitting.bench import Timed
from srdeploy.fitting.grid import filled
from srdeploy.fitting.limits import energy_mj
from srdeploy.fitting.table import LatencyTable
from srdeploy.fitting.uses import LayerUse, Uses

Removed = Mapping[str, int]

PULL = 0.02
"""Weight of "the layers' factor is 1" beside one whole network."""

AGAIN = 4.0
"""Weight of a network that was measured because it had been chosen, beside any other."""


@dataclass(frozen=True)
class Observation:
    """A whole network that was measured.

    Attributes:
        removed: Atoms that each group has lost.
        ms: Its undisturbed time,
        median_ms: and its median time.
        weight: How much it counts.
        mb: Peak memory, where the device told it.
        mj: Millijoules of an image, likewise.
    """

    removed: Removed
    ms: float
    median_ms: float
    weight: float = 1.0
    mb: float | None = None
    mj: float | None = None

    @classmethod
    def of(cls, removed: Removed, timed: Timed, weight: float = 1.0) -> Observation:
        """From what was measured."""
        found = timed.found
        told = found.peak_mb, energy_mj(found)
        return cls(removed, timed.ms, found.p50_ms or 0.0, weight, *told)


@dataclass(frozen=True)
class Predictor:
    """Milliseconds, the median, of a network with some of its channels gone.

    Attributes:
        uses: Its layers.
        table: The device's.
        observations: Whole networks.
        factors: On the layers, on what is written, and the constant; of undisturbed times.
        unrest: The median over the undisturbed time.
    """

    uses: Uses
    table: LatencyTable
    observations: tuple[Observation, ...] = ()
    factors: tuple[float, float, float] = field(default=(1.0, 0.0, 0.0))
    unrest: float = 1.0

    def corrected(self, *observed: Observation) -> Predictor:
        """With more whole networks."""
        seen = (*self.observations, *observed)
        rows = [
            np.array([self.layers_ms(one.removed), self.written(one.removed), 1.0]) / one.ms
            for one in seen
        ]
        weights = np.array([one.weight for one in seen])
        return replace(
            self,
            observations=seen,
            factors=_fit(np.array(rows), weights),
            unrest=median(one.median_ms / one.ms for one in seen),
        )

    def __call__(self, removed: Removed) -> float:
        """The prediction, in milliseconds."""
        return self.unrest * self.undisturbed(removed)

    def undisturbed(self, removed: Removed) -> float:
        """The same for a device that nothing else disturbs."""
        layers, moved, constant = self.factors
        return layers * self.layers_ms(removed) + moved * self.written(removed) + constant

    def written(self, removed: Removed) -> float:
        """Channels that all layers write for each pixel of the input, in blocks."""
        return sum(self._written(u, u.outputs.left(removed)) for u in self.uses.left(removed))

    def layers_ms(self, removed: Removed) -> float:
        """The plain sum of the table's entries."""
        return sum(
            self.layer_ms(use, use.inputs.left(removed), use.outputs.left(removed))
            for use in self.uses.left(removed)
        )

    def layer_ms(self, use: LayerUse, inputs: int, outputs: int) -> float:
        """One layer with the given widths, from the table.

        A layer at the network's end counts half of what stands around the table's first chain, for
        as many pixels and channels of the image as it has. Layers that no pruning changes count
        nothing: they are in the constant.
        """
        if use.inputs.fixed and use.outputs.fixed:
            return 0.0
        if use.is_end:
            width = outputs if use.inputs.fixed else inputs
            return 0.5 * self.table.kinds[0].around_ms(width, self.table.block)
        found = self.table.of(use.kind)
        return found.layer_ms(inputs, outputs, self.table.block) if found else 0.0

    def use_ms(self, use: LayerUse, inputs: int, outputs: int) -> float:
        """One layer's part of the prediction; with the constant, they add up to it."""
        layers, moved, _ = self.factors
        ms = layers * self.layer_ms(use, inputs, outputs) + moved * self._written(use, outputs)
        return self.unrest * ms

    def _written(self, use: LayerUse, outputs: int) -> float:
        return filled(outputs, self.table.block) * use.kind.factor**2

    @property
    def constant_ms(self) -> float:
        """What no layer takes."""
        return self.unrest * self.factors[2]


def _fit(rows: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Factors under which each row gives 1."""
    from scipy.optimize import nnls

    scale = np.maximum(rows.max(axis=0), 1e-12)  # columns of one size, for the solver
    pull = np.array([[PULL / scale[0], 0.0, 0.0]])
    matrix = np.concatenate([rows / scale * weights[:, None], pull])
    wanted = np.concatenate([weights, [PULL]])
    found, _ = nnls(matrix, wanted)
    layers, moved, constant = (float(x) for x in found / scale)
    return layers, moved, constant


def errors(predict: Predictor, networks: Sequence[Observation]) -> list[float]:
    """Relative errors of the predicted undisturbed times, without sign."""
    return [abs(predict.undisturbed(one.removed) / one.ms - 1) for one in networks]
