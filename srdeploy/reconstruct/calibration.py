"""What a network is run on while channels are chosen and layers are fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srdeploy.data.builtin import BUILTIN, CALIBRATION_IMAGES
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, fit_size, photograph, run
from srdeploy.runtime.inputs import network_inputs
from srdeploy.util.strict import expand

PATCHES, SIDE = 112, 32
"""Calibration patches, and their side in LR pixels."""


@dataclass(frozen=True)
class Calibration:
    """What the network is run on.

    Attributes:
        images: A benchmark folder (``~`` and ``$VARIABLES`` are expanded), or ``builtin``: the
            shipped training images, and one that is shipped for this.
        patches: How many pieces of them; fewer where a network needs larger ones.
        side: Their side in LR pixels; of a network that runs on no image so small, the smallest
            on which it does.
        network_wise: Steps of network-wise reconstruction after the refit.
        steps_asked: Whether someone asked for so many. If not, a large network makes fewer
            (:data:`srdeploy.reconstruct.network_wise.UNASKED_MACS`), and one whose code computes
            without gradients none; the report's remarks say so.
    """

    images: str | Path = BUILTIN
    patches: int = PATCHES
    side: int = SIDE
    network_wise: int = 0
    steps_asked: bool = True

    def inputs(self, network: Network) -> Tensor:
        """Network inputs, ``float32 [N, C, H, W]``.

        Raises:
            UserError: the folder cannot be read, or its images are too small.
        """
        own = str(self.images) != BUILTIN
        folders = (expand(str(self.images)),) if own else CALIBRATION_IMAGES
        side = _runnable(network, self.side)
        patches = max(1, self.patches * self.side**2 // side**2)
        found = [
            x
            for folder in folders
            for x in network_inputs(folder, network.card, patches=patches, side=side)
        ]
        found = found[:: -(-len(found) // patches)]
        shapes = [x.shape for x in found]
        largest = max(set(shapes), key=lambda s: (shapes.count(s), s))
        return torch.from_numpy(np.concatenate([x for x in found if x.shape == largest]))


def _runnable(network: Network, side: int) -> int:
    """The smallest side near the wanted one, in LR pixels, of a square that the network runs on."""
    card = network.card
    enlarged = card.scale // card.network_scale

    def attempt(size: Size) -> None:
        run(network.module, torch.from_numpy(photograph(card, size)))

    size, _ = fit_size(attempt, (side * enlarged,) * 2, card.size_multiple)
    return -(-max(size) // enlarged)
