"""Networks for the CoreML tests, and packages made from them once."""

from __future__ import annotations

from typing import Any

from torch import nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create

ZOO: list[tuple[str, dict[str, Any]]] = [
    ("vdsr", {"n_layers": 3, "n_feats": 8}),
    ("edsr", {"scale": 2, "n_blocks": 1, "n_feats": 8}),
    ("edsr", {"scale": 3, "n_blocks": 1, "n_feats": 8, "res_scale": 0.1}),
    ("edsr", {"scale": 4, "n_blocks": 1, "n_feats": 8, "mean_shift": False}),
    ("ledsr", {"scale": 3, "n_blocks": 1, "n_feats": 8, "value_range": 1.0}),
    ("rirsr", {"scale": 2, "n_groups": 1, "n_blocks": 1, "n_feats": 8}),
]


def small(scale: int = 3, **config: Any) -> Network:
    return create("edsr", scale=scale, **{"n_blocks": 1, "n_feats": 8, "res_scale": 0.1, **config})


def own(module: nn.Module, **facts: Any) -> Network:
    fields = {"scale": 2, "scales": (2,), "channels": 3, "value_range": 1.0, **facts}
    return Network(module.eval(), Card(arch="tests:own", **fields))
