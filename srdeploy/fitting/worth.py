"""What quality costs: the error that each removal and each precision brings, measured once.

All are mean squared differences from the dense network's output on the calibration images, so they
can be added up: of channels the price lists of pruning without training
(:mod:`srdeploy.reconstruct.allocate`), of a residual block what is left when all other layers are
refitted without it (corrected once, as without two it is more than the sum), of a precision what
the dense network's own artifact loses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.fitting.subject import Subject
from srdeploy.models.probes import run
from srdeploy.pruning.depth import grouping_without, outermost, without_blocks
from srdeploy.pruning.plan import make_plan
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock
from srdeploy.reconstruct.allocate import price_lists
from srdeploy.reconstruct.choice import readers_of
from srdeploy.reconstruct.refit import refit
from srdeploy.reconstruct.rotate import why_not_linear
from srdeploy.reconstruct.run import removal_error
from srdeploy.runtime.open import open_session
from srdeploy.util.strict import Strict

SAMPLE = 16
"""Calibration inputs on which a precision, or a removal, is tried, at most."""

LEVELS = (0.25, 0.5, 0.75)
"""Shares of groups' channels whose removal is tried."""


class Worth(Strict):
    """Errors of the dense network's output.

    Attributes:
        format: How removals are priced; a file with other prices, or of before they had a number,
            is none of these.
        removals: By group, the error after the first removal, after the first two and so on; a
            group that is missing has no price, because no layer of known form reads it. By
            residual block, the error without it.
        precisions: By precision, the error of the dense network's artifact.
    """

    format: Literal[2]
    removals: Mapping[str, tuple[float, ...]]
    precisions: Mapping[str, float]

    def of_removal(self, group: str, count: int) -> float:
        """The error that the removal of so many atoms of a group brings, or of a block (1)."""
        return self.removals[group][count - 1] if count else 0.0


@dataclass(frozen=True)
class Measured:
    """What a network is judged by.

    Attributes:
        subject: The network.
        inputs: Calibration inputs, ``float32 [N, C, H, W]``.
    """

    subject: Subject
    inputs: Tensor

    def removals(self) -> dict[str, tuple[float, ...]]:
        """Of :class:`Worth`."""
        network, grouping = self.subject.network, self.subject.grouping
        priced = [g for g in self.subject.groups if readers_of(network.module, g)]
        prices = price_lists(network, grouping, priced, self.inputs.split(1), rotate=True)
        totals = {name: np.cumsum(np.maximum(listed, 0.0)) for name, listed in prices.items()}
        streams = {g.name for g in priced if not why_not_linear(network, g)}
        found = self._blocks()
        for kind in (streams, totals.keys() - streams):
            found |= self._corrected({name: totals[name] for name in totals if name in kind})
        return found

    def _corrected(self, totals: Mapping[str, NDArray]) -> dict[str, tuple[float, ...]]:
        """Errors of groups of one kind, times what they are too large or too small by together.

        A price list counts what a removal does to the layers that read the group. Those behind
        them make up for a good part of it when they are refitted, above all of a stream's, which
        all blocks read.
        """
        network, grouping = self.subject.network, self.subject.grouping
        factors = []
        for level in LEVELS:
            counts = {name: int(level * (len(total) + 1)) for name, total in totals.items()}
            counts = {name: count for name, count in counts.items() if count}
            expected = sum(totals[name][count - 1] for name, count in counts.items())
            if expected > 0:
                error = removal_error(network, grouping, counts, self._sample, rotate=True)
                factors.append(error / expected)
            else:
                factors.append(1.0)
        found = {}
        for name, total in totals.items():
            shares = np.arange(1, len(total) + 1) / (len(total) + 1)
            corrected = total * np.interp(shares, LEVELS, factors)
            found[name] = tuple(float(one) for one in np.maximum.accumulate(corrected))
        return found

    @property
    def _sample(self) -> Tensor:
        return self.inputs[:: -(-len(self.inputs) // SAMPLE)]

    def _blocks(self) -> dict[str, tuple[float, ...]]:
        """The error without each residual block.

        Without several blocks it is more than the sum, as each makes up for others. So all prices
        are raised once, by what the cheaper half of the blocks shows.
        """
        alone = {block.name: self._without(block) for block in self.subject.blocks}
        outer = sorted(outermost(self.subject.blocks), key=lambda block: alone[block.name])
        half = outer[: (len(outer) + 1) // 2]
        factor = 1.0
        if len(half) > 1 and (total := sum(alone[block.name] for block in half)) > 0:
            factor = max(self._without(*half) / total, 1.0)
        return {name: (factor * error,) for name, error in alone.items()}

    def _without(self, *blocks: ResidualBlock) -> float:
        """The error without residual blocks, all other layers refitted."""
        network, x = self.subject.network, self._sample
        small = without_blocks(network, blocks).module
        plan = make_plan(grouping_without(self.subject.grouping, blocks), {}, "", {}, blocks)
        refit(network.module, small, plan, x)
        return float((run(small, x) - run(network.module, x)).square().mean())

    def precision(self, precision: str, folder: Path) -> float:
        """The mean squared error that a precision brings to the dense network."""
        if precision == "fp32":
            return 0.0
        file = folder / f"dense-{precision}.onnx"
        if not file.exists():
            export_onnx(self.subject.network, file, check=False, precision=precision)
        errors = []
        with open_session(file) as session:
            for x in self._sample.split(1):
                wanted = run(self.subject.network.module, x).numpy()
                errors.append(float(np.mean((session.run(x.numpy()) - wanted) ** 2)))
        return float(np.mean(errors))


def loss_db(psnr: float, error: float, value_range: float) -> float:
    """About how many dB of PSNR an error costs, if it has nothing to do with the network's own.

    Args:
        psnr: Of the dense network, dB.
        error: Mean squared error that is added, in squared units of the output.
        value_range: Largest value of the output.
    """
    if not math.isfinite(psnr):
        return 0.0
    own = value_range**2 / 10 ** (psnr / 10)
    return 10 * math.log10(1 + error / own)
