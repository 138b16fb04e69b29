"""Single rules of the trace, each where a slip would pass a wrong network or refuse a right one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from srdeploy.models.layers import ChannelSplit
from srdeploy.pruning.plan import Plan
from srdeploy.pruning.tracing.trace import trace
from tests.pruning.helpers import group_with, groups_of
from tests.pruning.tracing.test_groups import Net


def conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1)


def test_a_split_after_a_chunk_is_not_even():
    def forward(n, x):
        first, second = n.a(x).chunk(2, dim=1)
        third, fourth = torch.split(n.b(first * second), [2, 2], dim=1)
        return n.c(third + fourth)

    grouping = groups_of(Net(forward, a=conv(3, 8), b=conv(4, 4), c=conv(2, 3)))
    assert group_with(grouping, "a").status == "coupled"
    (b,) = [group for group in grouping.groups if "b" in group.layers]
    assert (b.status, len(b.atoms), b.block) == ("coupled", 2, 2)  # as the parts are added
    assert b.why == ["added together in the network's own forward"]


def test_a_mask_that_a_removed_channel_may_set_is_not_clean():
    def forward(n, x):
        gate = torch.sigmoid(n.b(x)) > 0.1
        return n.c(torch.logical_or(n.a(x) > 0, gate).float())

    def turned(n, x):
        gate = torch.sigmoid(n.b(x)) > 0.1
        return n.c(torch.logical_or(gate, n.a(x) > 0).float())

    for way in (forward, turned):
        grouping = groups_of(Net(way, a=conv(3, 4), b=conv(3, 4), c=conv(4, 3)))
        assert group_with(grouping, "a").status == "untouchable"

    def both(n, x):
        gate = torch.sigmoid(n.b(x)) > 0.1
        return n.c(torch.logical_and(n.a(x) > 0, gate).float())

    grouping = groups_of(Net(both, a=conv(3, 4), b=conv(3, 4), c=conv(4, 3)))
    assert group_with(grouping, "a").status == "coupled"  # off where a is gone, whatever b says


def test_padding_with_a_number_beside_pixels_is_not_clean():
    def padded(value):
        return lambda n, x: n.b(F.pad(n.a(x), (1, 2, 0, 1), value=value))

    for value, status in ((0.0, "free"), (0.5, "untouchable")):
        grouping = groups_of(Net(padded(value), a=conv(3, 4), b=conv(4, 3)))
        assert group_with(grouping, "a").status == status


def test_cropping_by_negative_padding_is_followed_in_space_only():
    def in_space(n, x):
        return n.b(F.pad(n.a(x), (-1, 0, 0, -2)))

    def in_channels(n, x):
        return n.b(F.pad(n.a(x), (0, 0, 0, 0, 0, -1)))

    free = groups_of(Net(in_space, a=conv(3, 4), b=conv(4, 3)))
    assert group_with(free, "a").status == "free"
    cut = groups_of(Net(in_channels, a=conv(3, 4), b=conv(3, 3)))
    assert group_with(cut, "a").status == "untouchable"
    assert "cut at fixed positions" in group_with(cut, "a").why[0]


def test_a_split_that_follows_the_widths_cuts_no_channel_off_from_pruning():
    def forward(n, x):
        first, last = n.split(n.a(x), n.a.out_channels - n.b.in_channels)
        return n.c(torch.cat([first, n.b(last)], 1))

    net = Net(forward, a=conv(3, 6), b=conv(4, 2), c=conv(4, 3), split=ChannelSplit())
    group = group_with(groups_of(net), "a")
    assert (group.status, len(group.atoms), group.readers) == ("free", 6, ["c", "b"])


def test_a_function_of_a_number_is_clean_where_it_keeps_zero():
    cases = {
        "free": [torch.relu, torch.abs, torch.tanh, lambda y: y * 3, lambda y: y**2,
                 lambda y: y.clamp(-1, 1), lambda y: y.clamp(min=0), F.silu, torch.sign,
                 lambda y: y - 0.0, lambda y: y / 2],
        "untouchable": [torch.sigmoid, torch.cos, torch.exp, lambda y: y + 1, lambda y: 1 - y,
                        lambda y: y.clamp(min=0.1), lambda y: y == 0, lambda y: y <= 0,
                        lambda y: y**0, lambda y: (y - 1).relu() - 1],
    }  # fmt: skip
    for status, functions in cases.items():
        for index, function in enumerate(functions):
            net = Net(lambda n, x, f=function: n.b(f(n.a(x)).float()), a=conv(3, 4), b=conv(4, 3))
            assert group_with(groups_of(net), "a").status == status, (status, index)


def test_padding_at_the_far_end_alone():
    for widths in ((0, 1), (1, 0), (0, 0, 0, 1), (0, 0, 1, 0)):
        net = Net(
            lambda n, x, w=widths: n.b(F.pad(n.a(x), w, value=0.5)), a=conv(3, 4), b=conv(4, 3)
        )
        assert group_with(groups_of(net), "a").status == "untouchable", widths


def test_a_depthwise_layer_of_two_channels():
    net = nn.Sequential(conv(3, 2), nn.Conv2d(2, 2, 3, padding=1, groups=2), conv(2, 3))
    group = group_with(groups_of(net), "0")
    assert (group.status, len(group.atoms), group.layers) == ("coupled", 2, ["0", "1"])


def test_a_plan_cannot_be_changed():
    plan = Plan(method="l1", options={}, removed={}, keep={}, zero={})
    with pytest.raises(ValidationError, match="frozen"):
        plan.method = "l2"


def test_normalising_by_fixed_numbers():
    """Numbers that are no parameters cannot be cut along with the channels."""

    class Fixed(nn.Module):
        def __init__(self, stored: bool) -> None:
            super().__init__()
            self.a, self.b = conv(3, 4), conv(4, 3)
            for name, value in (("mean", torch.rand(4)), ("var", torch.rand(4) + 1)):
                if stored:
                    self.register_buffer(name, value)
                else:
                    setattr(self, name, value)

        def forward(self, x):
            return self.b(F.batch_norm(self.a(x), self.mean, self.var, self.weight, self.bias))

    for stored in (True, False):
        net = Fixed(stored)
        net.weight, net.bias = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        group = group_with(groups_of(net), "a")
        assert group.status == ("free" if stored else "untouchable")
        if not stored:
            assert "normalised by fixed numbers" in group.why[0]


def test_layer_normalisation_over_channels_and_something_else():
    def forward(n, x):
        y = n.a(x).permute(0, 2, 3, 1)
        return n.b(F.layer_norm(y, y.shape[-2:]).permute(0, 3, 1, 2))

    group = group_with(groups_of(Net(forward, a=conv(3, 4), b=conv(4, 3))), "a")
    assert group.status == "untouchable"
    assert "normalised together with others by LayerNorm" in group.why[0]

    def in_space(n, x):
        y = n.a(x)
        return n.b(F.layer_norm(y, y.shape[-2:]) * y)

    assert group_with(groups_of(Net(in_space, a=conv(3, 4), b=conv(4, 3))), "a").status == "free"


def test_softmax_over_channels_and_over_space():
    def over(dim):
        return lambda n, x: n.b(torch.softmax(n.a(x), dim) * n.c(x))

    layers = {"a": (3, 4), "b": (4, 3), "c": (3, 4)}
    for dim, status in ((1, "untouchable"), (-3, "untouchable"), (2, "coupled"), (-1, "coupled")):
        net = Net(over(dim), **{name: conv(*size) for name, size in layers.items()})
        assert group_with(groups_of(net), "a").status == status, dim


def test_a_transposed_depthwise_layer():
    net = nn.Sequential(conv(3, 4), nn.ConvTranspose2d(4, 4, 2, 2, groups=4), conv(4, 3))
    group = group_with(groups_of(net), "0")
    assert (group.status, len(group.atoms), group.layers) == ("coupled", 4, ["0", "1"])


def test_channels_that_a_reshape_mixes_with_pixels_stay():
    def interleaved(n, x):
        y = n.a(x)
        return n.b(y.reshape(-1, 2, 4, *y.shape[2:]).transpose(1, 2).reshape(y.shape))

    def into_space(n, x):
        y = n.a(x)
        return n.b(y.reshape(-1, 4, 2 * y.shape[2], y.shape[3]))

    group = group_with(groups_of(Net(interleaved, a=conv(3, 8), b=conv(8, 3))), "a")
    assert (group.status, len(group.atoms), group.block) == ("coupled", 4, 2)  # as a ChannelShuffle
    group = group_with(groups_of(Net(into_space, a=conv(3, 8), b=conv(4, 3))), "a")
    assert group.status == "untouchable"
    assert "reshaped from" in group.why[0]


def test_a_reshape_that_leaves_channels_whole():
    def forward(n, x):
        y = n.a(x)
        return n.b(torch.relu(y.flatten(2)).reshape(y.shape))

    group = group_with(groups_of(Net(forward, a=conv(3, 8), b=conv(8, 3))), "a")
    assert (group.status, len(group.atoms)) == ("free", 8)


def test_a_network_in_training_is_followed_as_in_inference_and_left_in_training():
    net = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 3)).train()
    net[2].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        trace(net, torch.rand(1, 3, 8, 8))
    assert [layer.training for layer in net] == [True, True, False, True]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # running statistics among them


def test_one_mask_serves_layers_that_are_coupled_channel_by_channel():
    def added(n, x):
        return n.c(n.a(x) + n.b(x))

    layers = {"a": conv(3, 8), "b": conv(3, 8), "c": conv(8, 3)}
    grouping = groups_of(Net(added, **layers))
    assert group_with(grouping, "a").aligned(grouping)
    shuffled = nn.Sequential(conv(3, 8), nn.PixelShuffle(2), conv(2, 3))
    grouping = groups_of(shuffled)
    assert not group_with(grouping, "0").aligned(grouping)
