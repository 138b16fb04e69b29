from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.resize import changed_shapes, layer_numbers, layer_widths, resize


@pytest.mark.parametrize(
    ("layer", "shapes", "expected"),
    [
        (nn.Conv2d(8, 6, 3), {"weight": [4, 5, 3, 3], "bias": [4]},
         {"in_channels": 5, "out_channels": 4, "groups": 1}),
        (nn.Conv2d(8, 8, 3, groups=8), {"weight": [3, 1, 3, 3], "bias": [3]},
         {"in_channels": 3, "out_channels": 3, "groups": 3}),
        (nn.Conv2d(4, 8, 3, groups=4), {"weight": [6, 1, 3, 3], "bias": [6]},
         {"in_channels": 3, "out_channels": 6, "groups": 3}),
        (nn.Conv2d(8, 6, 3, groups=2), {"weight": [4, 1, 3, 3], "bias": [4]},
         {"in_channels": 2, "out_channels": 4, "groups": 2}),
        (nn.ConvTranspose2d(8, 6, 2), {"weight": [5, 3, 2, 2], "bias": [3]},
         {"in_channels": 5, "out_channels": 3, "groups": 1}),
        (nn.ConvTranspose2d(8, 6, 2, groups=2), {"weight": [4, 2, 2, 2], "bias": [4]},
         {"in_channels": 4, "out_channels": 4, "groups": 2}),
        (nn.ConvTranspose2d(8, 8, 2, groups=8), {"weight": [5, 1, 2, 2], "bias": [5]},
         {"in_channels": 5, "out_channels": 5, "groups": 5}),
        (nn.Linear(8, 6), {"weight": [3, 5], "bias": [3]}, {"in_features": 5, "out_features": 3}),
        (nn.PReLU(8), {"weight": [5]}, {"num_parameters": 5}),
        (nn.BatchNorm2d(8, affine=False), {"running_mean": [5], "running_var": [5]},
         {"num_features": 5}),
        (nn.InstanceNorm2d(8, affine=True), {"weight": [5], "bias": [5]}, {"num_features": 5}),
        (nn.GroupNorm(8, 8), {"weight": [5], "bias": [5]}, {"num_groups": 5, "num_channels": 5}),
        (nn.GroupNorm(4, 8), {"weight": [6], "bias": [6]}, {"num_groups": 3, "num_channels": 6}),
        (nn.GroupNorm(1, 8), {"weight": [8], "bias": [8]}, {"num_groups": 1, "num_channels": 8}),
    ],
)  # fmt: skip
def test_a_layers_numbers_follow_its_tensors(layer, shapes, expected):
    resize(layer, shapes)
    assert layer_numbers(layer)[""] == expected
    assert {
        name: list(t.shape) for name, t in layer.state_dict().items() if name in shapes
    } == shapes
    if (n_in := expected.get("in_channels", expected.get("num_channels"))) is not None:
        layer(torch.rand(1, n_in, 6, 6))


def test_round_trip_of_changed_shapes():
    base = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    small = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3))
    shapes = changed_shapes(base, small)
    assert shapes == {"0.weight": [5, 3, 3, 3], "0.bias": [5], "2.weight": [3, 5, 3, 3]}
    base[0].bias.requires_grad_(False)
    resize(base, shapes)
    assert layer_widths(base) == layer_widths(small)
    assert (base[0].bias.requires_grad, base[0].weight.requires_grad) == (False, True)


def test_tied_tensors_stay_tied():
    net = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False))
    net[1].weight = net[0].weight
    resize(net, {"0.weight": [2, 2, 1, 1], "1.weight": [2, 2, 1, 1]})
    assert net[1].weight is net[0].weight
    assert net[1].in_channels == 2
    with pytest.raises(UserError, match=r"shared tensor '1.weight' two shapes"):
        resize(net, {"0.weight": [1, 1, 1, 1], "1.weight": [2, 1, 1, 1]})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"body.weight": [3]}, "does not have; the file was made for another architecture"),
        ({"scale": [3]}, "does not have"),
        ({"weight": [3, 3]}, "impossible shape"),
        ({"weight": [0, 3, 3, 3]}, "impossible shape"),
    ],
)
def test_shapes_that_fit_nothing(shapes, message):
    with pytest.raises(UserError, match=message):
        resize(nn.Conv2d(3, 3, 3), shapes)
