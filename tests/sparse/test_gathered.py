"""SMSR as it is traced for export: its masked layers by number, each in both forms."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models.smsr.dense import DenseModule
from srdeploy.sparse.gathered import GatheredModule, Traceable
from tests.sparse import nets


@pytest.mark.parametrize("scale", [2, 3])
def test_a_network_to_be_traced_has_the_shapes_of_the_network(scale: int) -> None:
    module = nets.network(scale=scale)
    traceable = Traceable(module)
    x = nets.image(7, 9, 2)
    with torch.inference_mode():
        assert traceable(x).shape == module(x).shape
    assert not traceable.training
    assert traceable.channels == module.head[2].out_channels == 12


def test_both_forms_of_every_module_are_at_hand() -> None:
    module = nets.network(dense=(5, 0, 12))
    traceable = Traceable(module)
    assert len(traceable.gathered) == len(traceable.dense) == len(traceable.frame.body) == 2
    assert [place.number for place in traceable.frame.body] == [0, 1]
    for gathered, dense, place in zip(
        traceable.gathered, traceable.dense, traceable.frame.body, strict=True
    ):
        assert isinstance(gathered, GatheredModule)
        assert isinstance(dense, DenseModule)
        assert place.spa_mask is dense.spa_mask
        assert gathered.dense == dense.dense == [5, 0, 12]
        assert gathered.widths == [12, 12, 12]
        assert not gathered.training


def test_channels_are_those_between_modules() -> None:
    module = nets.network()
    first = module.head[0]
    module.head[0] = torch.nn.Conv2d(3, 7, 3, padding=1)
    module.head[2] = torch.nn.Conv2d(7, 12, 3, padding=1)
    assert Traceable(module).channels == 12 == first.out_channels
