"""Reconstruction of networks of which parts are kept whole: attention, computed offsets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.choice import choose_by_cost
from srdeploy.reconstruct.run import prune_by_cost
from tests.pruning import zoo
from tests.pruning.helpers import user_network

FEW = Calibration(patches=6, side=16)


@pytest.mark.parametrize(
    ("block", "rotate"), [(zoo.WindowAttention, True), (zoo.Upsampling, False)]
)
def test_what_is_left_is_fitted_around_what_is_kept(block, rotate) -> None:
    network = user_network(
        lambda: zoo.Network(nn.Sequential(zoo.RCAB(), block(), zoo.RCAB())), scale=2
    )
    small, report = prune_by_cost(network, PruneOptions(ratio=0.4), FEW, rotate=rotate)
    assert bool(report.unprunable.not_followed) == (block is zoo.Upsampling)
    assert small.card.widths["body.0.body.0"] < 8
    assert report.proof["max_difference"] < 1e-9
    x = FEW.inputs(network)
    with torch.no_grad():
        assert torch.isfinite(small.module(x)).all()
        wanted = network.module(x)
        error = float((small.module(x) - wanted).square().mean())
    assert error < float(wanted.var())


class ReadsItself(nn.Module):
    """The weights of ``b`` are used by its code, not by running the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.conv2d(F.relu(self.a(x)), self.b.weight, self.b.bias)
        return F.pixel_shuffle(self.c(F.relu(y)), 2)


def test_channels_that_no_layer_reads_when_it_runs_are_chosen_by_their_norm() -> None:
    network = user_network(ReadsItself, scale=2)
    grouping = find_groups(network)
    with torch.no_grad():
        network.module.a.weight.copy_(
            torch.tensor([5, 1, 4, 2, 6, 3, 8, 7.0]).view(8, 1, 1, 1).expand(8, 3, 1, 1)
        )
    (name,) = (group.name for group in grouping.groups if "a" in group.layers)
    chosen, costs = choose_by_cost(
        network.module, grouping, {name: 3}, FEW.inputs(network).split(1)
    )
    assert (chosen, costs) == ({name: [1, 3, 5]}, {})
