"""Prune without training: choose by cost, remove, prove, refit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srdeploy.compact.run import Measure, PruneReport, measure_removal, report_on
from srdeploy.compact.surgery import compact
from srdeploy.data.builtin import BUILTIN
from srdeploy.models.network import Network
from srdeploy.progress import track
from srdeploy.prune.groups import find_groups
from srdeploy.prune.options import PruneOptions, nothing_to_prune, removals
from srdeploy.prune.plan import Plan, make_plan
from srdeploy.reconstruct.choice import choose_by_cost
from srdeploy.reconstruct.refit import RIDGE, LayerFit, refit
from srdeploy.reconstruct.rotate import rotate_streams
from srdeploy.runtime.inputs import network_inputs

PATCHES, SIDE = 64, 32
"""Calibration patches, and their side in LR pixels."""


@dataclass(frozen=True)
class Calibration:
    """What the network is run on.

    Attributes:
        images: A benchmark folder, or ``builtin``: the shipped training images.
        patches: How many pieces of them.
        side: Their side in LR pixels.
    """

    images: str | Path = BUILTIN
    patches: int = PATCHES
    side: int = SIDE

    def inputs(self, network: Network) -> Tensor:
        """Network inputs, ``float32 [N, C, H, W]``.

        Raises:
            UserError: the folder cannot be read, or its images are too small.
        """
        found = network_inputs(self.images, network.card, patches=self.patches, side=self.side)
        shapes = [x.shape for x in found]
        largest = max(set(shapes), key=lambda s: (shapes.count(s), s))
        return torch.from_numpy(np.concatenate([x for x in found if x.shape == largest]))


def prune_by_cost(
    network: Network,
    options: PruneOptions,
    calibration: Calibration | None = None,
    measure: Measure | None = None,
    *,
    rotate: bool = False,
) -> tuple[Network, PruneReport]:
    """Remove the channels that cost least and refit the rest; nothing is trained.

    Args:
        network: Left as it is.
        options: What to remove; ``criterion`` and ``seed`` are not used.
        calibration: What it is run on; default: up to 64 pieces of the shipped training images.
        measure: If given, called for the dense, masked, compact and refitted network.
        rotate: Give linear streams the basis in which their last channels matter least, first.

    Raises:
        UserError: options that fit no layer, nothing to prune, or no images.
        SrdeployError: compaction would change the network's output, or its measured quality.
    """
    calibration = calibration or Calibration()
    grouping = find_groups(network)
    counts = removals(grouping, options)
    if not counts:
        raise nothing_to_prune(grouping, options)
    x = calibration.inputs(network)
    quality: dict[str, dict[str, Any]] = {}
    turned, cut = network, dict[str, list[int]]()
    if rotate:
        turned, record = rotate_streams(network, grouping, counts, x.split(1))
        if record is not None:
            names = record.pop("streams")
            streams = [group for group in grouping.groups if group.name in names]
            layers = [group.layers[0] for group in streams]
            card = turned.card.step(step="rotate", streams=layers, **record)
            turned = replace(turned, card=card)
            cut = {g.name: [*range(len(g.atoms))][-counts[g.name] :] for g in streams}
    others = {name: count for name, count in counts.items() if name not in cut}
    removed, _ = choose_by_cost(turned.module, grouping, others, x.split(1))
    settings = options.model_dump(mode="json", exclude={"criterion", "seed"})
    plan = make_plan(grouping, cut | removed, "reconstruct" if rotate else "obs", settings)
    small = compact(turned, plan)
    if measure is not None:
        quality["dense"] = measure("dense", network)
        quality |= measure_removal(turned, plan, small, measure)
    fits = _refitted(turned, small, plan, x)
    figures = {} if measure is None else {"refit": measure("refit", small)}
    step = {
        "step": "refit",
        "images": Path(calibration.images).name,
        "patches": len(x),
        "ridge": RIDGE,
        "layers": len(fits),
        **_psnr("before", quality.get("compact", {})),
        **_psnr("after", figures.get("refit", {})),
    }
    report = report_on(network, grouping, plan, options, small, quality | figures)
    return replace(small, card=small.card.step(**step)), report


def _refitted(network: Network, small: Network, plan: Plan, x: Tensor) -> list[LayerFit]:
    layers = sum(1 for _ in small.module.modules())
    with track("refit", layers) as bar:

        def done(fit: LayerFit) -> None:
            bar.update()

        return refit(network.module, small.module, plan, x, on_layer=done)


def _psnr(when: str, figures: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in figures.items() if key.startswith("psnr_")}
    return {f"{key}_{when}": round(value, 3) for key, value in found.items()}
