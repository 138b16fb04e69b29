"""What RRDBNet says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.registry import create


@pytest.mark.parametrize(
    "config",
    [
        {"scale": 1},
        {"scale": 2},
        {"scale": 4},
        {"scale": 8, "channels": 1},
        {"scale": 2, "unshuffle": 2},
        {"scale": 1, "unshuffle": 4},
    ],
)
def test_receptive_field(config: dict[str, Any]) -> None:
    network = create("rrdbnet", n_blocks=1, n_feats=2, growth=2, **config)
    card = network.card
    measured = measure_receptive_field(network.module, card.channels, card.size_multiple)
    assert card.receptive_field == measured
    assert card.luma_only == (card.channels == 1)


def test_the_dense_blocks_begin_small() -> None:
    """A tenth of the others, whose weights reach to 1/sqrt(9 * 8)."""
    weights = create("rrdbnet", n_blocks=1, n_feats=8, growth=8).module.state_dict()
    reach = {name: float(tensor.abs().max()) for name, tensor in weights.items()}
    assert 0.1 < reach["conv_hr.weight"] < 0.118
    assert 0.01 < reach["body.0.rdb1.conv1.weight"] < 0.0118
