"""Eight bits as a network's card knows them: which layers, and the interval of every tensor.

A tensor is known by the layer that made it: ``lr`` is the network's input, a convolution has its
module's name (and its tensor is the one after the ReLU that alone reads it), ``sum.0``, ``sum.1``
... are the sums of two images in the order they are computed, and ``NAME:i`` is the ``i``-th input
of layer ``NAME`` where no layer made it. So the names are the same in torch and in every graph that
is exported from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from srdeploy.models.calibration import CALIBRATION_METHODS

Activations = Literal["uint8", "int8"]
ACTIVATIONS: tuple[Activations, ...] = ("uint8", "int8")
STEPS: dict[Activations, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}
"""Lowest and highest step of activations."""

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(CALIBRATION_METHODS)]
"""How an interval is found on images: a name of the table."""

WEIGHT_STEPS = 127
SMALLEST_SCALE = 1e-9
INPUT = "lr"


@dataclass(frozen=True)
class Range:
    """The interval of a tensor that 8 bits cover; what lies outside is clipped.

    Attributes:
        low: Its lower end, not above 0.
        high: Its upper end, not below 0.
    """

    low: float
    high: float

    def grid(self, activations: Activations) -> tuple[np.float32, NDArray]:
        """Scale and zero point: 0 is always one of the steps.

        ``uint8`` spends all 256 steps on the interval; ``int8`` is symmetric around 0 (what
        NVIDIA's parser reads), so a ReLU's output gets 128.
        """
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if activations == "int8":
            scale = max(-low, high) / 127
            return np.float32(max(scale, SMALLEST_SCALE)), np.int8(0)
        scale = max((high - low) / 255, SMALLEST_SCALE)
        return np.float32(scale), np.uint8(np.clip(np.round(-low / scale), 0, 255))

    def times(self, factor: float) -> Range:
        """The interval of a tensor multiplied by a positive number."""
        return Range(self.low * factor, self.high * factor)


class Quantised(BaseModel):
    """What 8-bit fine-tuning found; belongs to the weights it was found with and no others.

    Attributes:
        activations: The grid of the activations.
        layers: Layers that run on 8 bits, by the names of this module's text.
        ranges: Lower and upper end for every tensor that they read or write, as torch sees it.
        weights_sha256: Of the weights (:func:`srdeploy.models.digest.weights_sha256`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activations: Activations
    layers: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    weights_sha256: str
