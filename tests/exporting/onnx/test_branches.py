"""Sizes and batches of another kind are found without computing anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srdeploy.exporting.onnx.branches import other_ways
from srdeploy.exporting.probe import SIZES
from srdeploy.models.registry import create
from tests.exporting.fickle import Branch, Plain, Single, network


@pytest.mark.parametrize(
    ("axis", "threshold", "expected"),
    [
        (-1, 48, []),  # the usual sizes are on both sides of it
        (-1, 200, [((24, 264), 1)]),
        (-2, 1000, [((1032, 20), 1)]),
        (-1, 1900, [((24, 1928), 1)]),
        (-1, 5000, []),
        (0, 1, []),
        (0, 2, [((24, 20), 3)]),
        (0, 5, [((24, 20), 8)]),
    ],
)
def test_the_cheapest_input_beyond_a_threshold(
    axis: int, threshold: int, expected: list[tuple[tuple[int, int], int]]
) -> None:
    assert other_ways(network(Branch(axis, threshold)), SIZES, (1, 2)) == expected


def test_every_kind_is_met_once() -> None:
    class Steps(Plain):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            for step in (160, 300, 600):
                y = torch.relu(y) if x.shape[-1] > step else y
            return y

    found = other_ways(network(Steps()), SIZES, (1, 2))
    assert [size for size, _ in found] == [(24, 200), (24, 392), (24, 776)]


def test_both_sides_where_one_is_not_enough() -> None:
    class Area(Plain):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return torch.relu(y) if x.shape[-1] * x.shape[-2] > 80_000 else y

    ((size, batch),) = other_ways(network(Area()), SIZES, (1, 2))
    assert (size, batch) == ((216, 392), 1)


def test_sizes_keep_to_the_networks_multiple() -> None:
    ((size, _),) = other_ways(network(Branch(-1, 200), size_multiple=7), [(21, 28)], (1, 2))
    assert not size[0] % 7
    assert not size[1] % 7


def test_a_network_that_reads_pixels_or_takes_one_image_is_left_alone() -> None:
    class Reads(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if float(x.mean()) > -1 else x

    assert other_ways(network(Reads()), SIZES, (1, 2)) == []
    assert other_ways(network(Single()), SIZES, (1,)) == []


def test_shipped_architectures_have_one_way_and_keep_their_weights() -> None:
    net = create("smsr", n_modules=1, n_layers=2, n_feats=8)
    before = {name: value.clone() for name, value in net.module.state_dict().items()}
    assert other_ways(net, SIZES, (1, 2)) == []
    assert all(torch.equal(value, before[name]) for name, value in net.module.state_dict().items())
    assert isinstance(net.module, nn.Module)
