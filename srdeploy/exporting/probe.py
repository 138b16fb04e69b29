"""What an export is held against: the network's answers, and the operations that it really runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from srdeploy.errors import SrdeployError
from srdeploy.exporting.portable import SORTS, StableSorts
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, Size, photograph, run
from srdeploy.models.registry import architecture_of
from srdeploy.models.watch import CallWatch, argument, name_of

INPUT, OUTPUT = "lr", "sr"
"""Names of the only input and output, in every format."""

SIZES = PROBE_SIZES[1:]
"""What exports are compared at, the example of tracers first: tall, so that swapped sides show."""

TOLERANCE = 1e-4
"""Largest |difference| over the value range that float32 rounding may cause: a fortieth of one
8-bit step. Healthy exports stay near 1e-6."""


def run_torch(network: Network, x: np.ndarray) -> np.ndarray:
    """The network's own answer, equal values left in their order where it sorts; ``x`` stays.

    Raises:
        CannotRunError: its code fails on this input.
    """
    with StableSorts():
        answer: np.ndarray = run(network.module, torch.from_numpy(x)).numpy()
    return answer


@dataclass(frozen=True)
class Gap:
    """How far an output is from the expected one.

    Attributes:
        largest: Largest |difference|.
        relative: The same over the value range, or over the largest |expected| if that is larger.
        rms: Root mean square of the difference, over the same.
        reach: What they are divided by.
    """

    largest: float
    relative: float
    rms: float
    reach: float

    def within(self, tolerance: float, card: Card) -> bool:
        """Whether nothing is off by more than the tolerance, relatively.

        Some architectures (SMSR) choose pixels by a threshold. Coarser arithmetic turns single
        choices over, which shows around few pixels and costs thousandths of a dB, so there it is
        enough that the root mean square stays below a quarter of the tolerance. float32
        (:data:`TOLERANCE`) does not.
        """
        # As comparisons with NaN are false, an output of NaN is never within.
        if self.relative <= tolerance:
            return True
        coarse = tolerance > TOLERANCE and architecture_of(card).decides
        return coarse and self.rms <= tolerance / 4


def gap_between(expected: np.ndarray, found: np.ndarray, value_range: float) -> Gap:
    """Compare two outputs ``[N, C, H, W]`` of one network.

    Args:
        expected: The right one.
        found: The other.
        value_range: What differences are divided by, where outputs are not larger.
    """
    difference = np.abs(found - expected)
    reach = max(value_range, float(np.abs(expected).max())) or 1.0
    largest = float(difference.max())
    rms = float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
    return Gap(largest, largest / reach, rms / reach, reach)


@dataclass
class ForwardTrace:
    """The operations of one forward pass that an export must reproduce.

    Attributes:
        shuffles: Upscale factor of every pixel shuffle, in order.
        conv_weights: Weight shape of every convolution run, in order, transposed ones included.
        orderless: Whether it sorts without saying in which order equal values come.
    """

    shuffles: list[int] = field(default_factory=list)
    conv_weights: list[tuple[int, ...]] = field(default_factory=list)
    orderless: bool = False

    def notes(self) -> list[str]:
        """For people: what a file settles that the network leaves open."""
        told = (
            "the network sorts and leaves the order of equal values open: the file keeps them in "
            "their order, torch does not, so their outputs may differ"
        )
        return [told] if self.orderless else []


class _Spy(CallWatch):
    """Counts calls rather than modules: a layer used twice, or used functionally, counts so."""

    convs = (torch.conv1d, torch.conv2d, torch.conv_transpose1d, torch.conv_transpose2d)

    def __init__(self) -> None:
        super().__init__()
        self.trace = ForwardTrace()

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call, and note it if an export must have it."""
        if func is torch.pixel_shuffle:
            self.trace.shuffles.append(argument(args, kwargs, 1, "upscale_factor"))
        elif name_of(func) in SORTS and not kwargs.get("stable"):
            self.trace.orderless = True
        elif func in self.convs:
            self.trace.conv_weights.append(tuple(argument(args, kwargs, 1, "weight").shape))
        return func(*args, **kwargs)


def trace_operations(network: Network, size: Size) -> ForwardTrace:
    """Run the network once on a size and note what it does.

    Raises:
        SrdeployError: the output does not have the size the card promises.
        CannotRunError: it does not take this size.
    """
    card = network.card
    height, width = size
    with _Spy() as spy:
        y = run(network.module, torch.from_numpy(photograph(card, size)))
    expected = (1, card.channels, height * card.network_scale, width * card.network_scale)
    if y.shape != expected:
        raise SrdeployError(
            f"The network turns 1x{card.channels}x{height}x{width} into {_by(y.shape)}, where its "
            f"card promises {_by(expected)}; correct the card's scale or channels."
        )
    return spy.trace


def missing(expected: list, found: list) -> list:
    """Members of ``expected`` (with repetition) that ``found`` lacks."""
    return sorted((Counter(expected) - Counter(found)).elements())


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
