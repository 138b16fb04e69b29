"""The card's receptive field is what an impulse reaches: a NaN in one pixel spreads so far."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models.registry import create


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("edsr", {"n_blocks": 2, "n_feats": 4}),
        ("ledsr", {"n_blocks": 2, "n_feats": 4}),
        ("rirsr", {"n_groups": 2, "n_blocks": 1, "n_feats": 4}),
        ("vdsr", {"n_layers": 5, "n_feats": 4}),
    ],
)
def test_receptive_field(arch: str, config: dict[str, int], scale: int) -> None:
    network = create(arch, scale=scale, **config)
    radius = network.card.receptive_field // 2
    side = 2 * radius + 7
    x = torch.rand(1, network.card.channels, side, side)
    x[..., side // 2, side // 2] = torch.nan
    with torch.no_grad():
        touched = network.module(x).isnan()[0].any(0)
    factor = network.card.network_scale
    # Which input pixels an output pixel sees, in input pixels, is this many to each side.
    rows = torch.nonzero(touched.any(1)).flatten() // factor - side // 2
    assert max(-int(rows.min()), int(rows.max())) == radius
