"""Exact groups of known structures: neither too fine (wrong) nor too coarse (useless)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srdeploy.models.registry import create
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.pruning.tracing.trace import trace
from tests.pruning.helpers import group_with, groups_of, out_members


class Net(nn.Module):
    """Layers by keyword, and a forward function that takes them."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            if isinstance(layer, torch.Tensor) and not isinstance(layer, nn.Parameter):
                self.register_buffer(name, layer)
            else:
                setattr(self, name, layer)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def conv(c_in, c_out, k=1, **options):
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **options)


def grouping(forward, **layers):
    return groups_of(Net(forward, **layers).eval())


def statuses(found):
    return {layer: group.status for group in found.groups for layer in group.layers}


def test_edsr_couples_the_residual_trunk_and_frees_the_rest():
    found = find_groups(create("edsr", n_blocks=2, n_feats=8, scale=4))
    trunk = group_with(found, "head.0")
    assert trunk.status == "coupled"
    assert trunk.layers == ["head.0", "body.0.body.2", "body.1.body.2", "body.2"]
    assert out_members(trunk) == [dict.fromkeys(trunk.layers, (i,)) for i in range(8)]
    assert statuses(found) == {
        **dict.fromkeys(trunk.layers, "coupled"),
        **dict.fromkeys(["body.0.body.0", "body.1.body.0"], "free"),
        **dict.fromkeys(["tail.0.0", "tail.0.2"], "coupled"),
        **dict.fromkeys(["sub_mean", "tail.1", "add_mean"], "untouchable"),
    }
    shuffled = group_with(found, "tail.0.0")
    assert (shuffled.block, len(shuffled.atoms)) == (4, 8)
    assert out_members(shuffled)[1] == {"tail.0.0": (4, 5, 6, 7)}
    assert "PixelShuffle in 'tail.0.1'" in shuffled.why[0]


def test_ledsr_tail_and_vdsr_output_stay():
    ledsr = find_groups(create("ledsr", n_blocks=1, n_feats=8, scale=3))
    assert group_with(ledsr, "tail.0").status == "untouchable"
    vdsr = find_groups(create("vdsr"))
    kinds = statuses(vdsr)
    assert kinds.pop("output") == "untouchable"
    assert set(kinds.values()) == {"free"}
    assert len(kinds) == 19


def test_the_output_of_a_bare_network_is_untouchable():
    found = grouping(lambda n, x: n.b(F.relu(n.a(x))), a=conv(3, 8), b=conv(8, 3))
    assert statuses(found) == {"a": "free", "b": "untouchable"}
    assert group_with(found, "b").why == ["it is the network's output"]


def test_squeeze_and_excitation_gate_prunes_with_its_channels():
    def forward(n, x):
        y = n.a(x)
        s = torch.sigmoid(n.up(F.relu(n.down(y.mean((2, 3), keepdim=True)))))
        return n.b(y * s)

    found = grouping(forward, a=conv(3, 8), down=conv(8, 4), up=conv(4, 8), b=conv(8, 3))
    assert statuses(found) == {"a": "coupled", "up": "coupled", "down": "free", "b": "untouchable"}
    assert out_members(group_with(found, "a")) == [{"a": (i,), "up": (i,)} for i in range(8)]
    assert "multiplied together" in group_with(found, "a").why[0]


def test_a_gate_that_does_not_multiply_freezes_what_is_never_zero():
    found = grouping(lambda n, x: n.b(torch.sigmoid(n.a(x))), a=conv(3, 8), b=conv(8, 3))
    group = group_with(found, "a")
    assert group.status == "untouchable"
    assert group.why == ["removed, it would not be zero where 'b' reads it"]


@pytest.mark.parametrize(
    "act", [F.relu, F.gelu, F.silu, F.elu, torch.tanh, F.hardswish, F.mish, F.relu6]
)
def test_activations_with_a_zero_at_zero_leave_layers_free(act):
    found = grouping(lambda n, x: n.b(act(n.a(x))), a=conv(3, 8), b=conv(8, 3))
    assert statuses(found)["a"] == "free"


def test_simple_gate_ties_a_channel_to_its_partner():
    def forward(n, x):
        first, second = n.a(x).chunk(2, dim=1)
        return n.b(first * second)

    group = group_with(grouping(forward, a=conv(3, 12), b=conv(6, 3)), "a")
    assert (group.status, group.block) == ("coupled", 2)
    assert out_members(group) == [{"a": (i, i + 6)} for i in range(6)]


def test_glu_ties_the_same():
    group = group_with(
        grouping(lambda n, x: n.b(F.glu(n.a(x), 1)), a=conv(3, 8), b=conv(4, 3)), "a"
    )
    assert out_members(group) == [{"a": (i, i + 4)} for i in range(4)]


def test_split_at_fixed_sizes_and_its_readers_prune():
    def forward(n, x):
        kept, rest = torch.split(n.a(x), (2, 6), 1)
        return n.d(torch.cat([kept, n.c(F.relu(n.b(rest)))], 1))

    found = grouping(forward, a=conv(3, 8), b=conv(6, 8), c=conv(8, 4), d=conv(6, 3))
    assert statuses(found) == {"a": "free", "b": "free", "c": "free", "d": "untouchable"}
    first, second = [group for group in found.groups if "a" in group.layers]  # some of either stay
    assert (first.readers, second.readers) == (["d"], ["b"])


def test_concat_keeps_layers_free_and_shifts_the_readers_columns():
    found = grouping(
        lambda n, x: n.c(torch.cat([n.a(x), n.b(x)], 1)), a=conv(3, 4), b=conv(3, 6), c=conv(10, 3)
    )
    assert statuses(found) == {"a": "free", "b": "free", "c": "untouchable"}
    (columns,) = [
        indices
        for axis, indices in group_with(found, "b").atoms[2].members.items()
        if axis.role == "in"
    ]
    assert columns == (4 + 2,)


def test_concat_added_to_a_layer_couples_by_offset():
    found = grouping(
        lambda n, x: n.d(torch.cat([n.a(x), n.b(x)], 1) + n.c(x)),
        a=conv(3, 2), b=conv(3, 3), c=conv(3, 5), d=conv(5, 3),
    )  # fmt: skip
    coupled = [g for g in found.groups if g.status == "coupled"]
    assert [out_members(g) for g in coupled] == [
        [{"a": (i,), "c": (i,)} for i in range(2)],
        [{"b": (i,), "c": (i + 2,)} for i in range(3)],
    ]


@pytest.mark.parametrize("r", [2, 3])
def test_pixel_shuffle_and_unshuffle_blocks(r):
    def forward(n, x):
        y = F.pixel_shuffle(n.a(x), r)
        return n.c(F.pixel_unshuffle(n.b(y), r))

    found = grouping(forward, a=conv(3, 2 * r * r), b=conv(2, 4), c=conv(4 * r * r, 3))
    a, b = group_with(found, "a"), group_with(found, "b")
    assert out_members(a) == [{"a": tuple(range(k * r * r, (k + 1) * r * r))} for k in range(2)]
    assert (b.status, b.block, len(b.atoms)) == ("free", 1, 4)
    (read,) = [i for axis, i in b.atoms[1].members.items() if axis.role == "in"]
    assert read == tuple(range(r * r, 2 * r * r))


def test_nested_pixel_shuffle():
    found = grouping(
        lambda n, x: n.b(F.pixel_shuffle(F.pixel_shuffle(n.a(x), 2), 2)),
        a=conv(3, 32),
        b=conv(2, 3),
    )
    assert out_members(group_with(found, "a")) == [
        {"a": tuple(range(16))}, {"a": tuple(range(16, 32))}
    ]  # fmt: skip


def test_channel_shuffle_ties_the_same_position_of_each_group():
    found = grouping(
        lambda n, x: n.b(n.shuffle(n.a(x))),
        a=conv(3, 8),
        shuffle=nn.ChannelShuffle(2),
        b=conv(8, 3),
    )
    assert out_members(group_with(found, "a")) == [{"a": (i, i + 4)} for i in range(4)]


def test_grouped_convolution_ties_positions_across_groups():
    found = grouping(
        lambda n, x: n.c(F.relu(n.b(n.a(x)))), a=conv(3, 8), b=conv(8, 6, groups=2), c=conv(6, 3)
    )
    assert out_members(group_with(found, "a")) == [{"a": (i, i + 4)} for i in range(4)]
    assert out_members(group_with(found, "b")) == [{"b": (i, i + 3)} for i in range(3)]


def test_depthwise_carries_channels_and_multiplies_them():
    found = grouping(
        lambda n, x: n.c(n.b(F.relu(n.a(x)))), a=conv(3, 4), b=conv(4, 8, 3, groups=4), c=conv(8, 3)
    )
    assert out_members(group_with(found, "a")) == [
        {"a": (i,), "b": (2 * i, 2 * i + 1)} for i in range(4)
    ]


def test_depthwise_after_a_sigmoid_is_still_exact_to_prune():
    found = grouping(
        lambda n, x: n.c(n.b(torch.sigmoid(n.a(x)))),
        a=conv(3, 4), b=conv(4, 4, 3, groups=4), c=conv(4, 3),
    )  # fmt: skip
    assert statuses(found)["a"] == "coupled"


def test_per_channel_numbers_go_with_the_channel():
    found = grouping(
        lambda n, x: n.b(n.act(n.bn(n.a(x))) * n.gamma),
        a=conv(3, 4),
        bn=nn.BatchNorm2d(4),
        act=nn.PReLU(4),
        gamma=nn.Parameter(torch.ones(1, 4, 1, 1)),
        b=conv(4, 3),
    )
    group = group_with(found, "a")
    assert group.status == "free"
    along = {axis.tensor for axis in group.atoms[0].members if axis.role == "along"}
    assert along == {
        "a.bias",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "act.weight",
        "gamma",
    }


@pytest.mark.parametrize(
    ("layer", "status", "reason"),
    [
        (nn.GroupNorm(4, 4), "free", "read only"),
        (nn.GroupNorm(2, 4), "coupled", "GroupNorm in 'mid'"),
        (nn.GroupNorm(1, 4), "untouchable", "GroupNorm in 'mid'"),
        (nn.GroupNorm(4, 4, affine=False), "untouchable", "GroupNorm without weights in 'mid'"),
        (nn.InstanceNorm2d(4, affine=True), "free", "read only"),
        (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), "free", "read only"),
        (nn.Softmax2d(), "untouchable", "softmax in 'mid'"),
        (nn.Sequential(nn.Sigmoid(), nn.BatchNorm2d(4)), "free", "read only"),
        (nn.ConstantPad2d(1, 0.5), "untouchable", "would not be zero"),
        (nn.ReflectionPad2d(1), "free", "read only"),
        (nn.AvgPool2d(2), "free", "read only"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "free", "read only"),
    ],
)
def test_layers_in_between(layer, status, reason):
    group = group_with(
        grouping(lambda n, x: n.b(n.mid(n.a(x))), a=conv(3, 4), mid=layer, b=conv(4, 3)), "a"
    )
    assert group.status == status
    assert reason in group.why[0]


def test_one_channel_mask_freezes_neither_what_it_masks_nor_its_reader():
    def forward(n, x):
        y = n.a(x)
        return n.b(y * torch.sigmoid(n.mask(F.relu(n.h(y)))))

    found = grouping(forward, a=conv(3, 8), h=conv(8, 4), mask=conv(4, 1), b=conv(8, 3))
    assert statuses(found) == {"a": "free", "h": "free", "mask": "untouchable", "b": "untouchable"}


def test_constants_with_a_value_per_channel_freeze():
    constant = torch.rand(1, 4, 1, 1)  # no buffer: nothing could cut it
    found = grouping(lambda n, x: n.b(n.a(x) * constant), a=conv(3, 4), b=conv(4, 3))
    assert "fixed tensor of shape [1, 4, 1, 1]" in group_with(found, "a").why[0]
    found = grouping(
        lambda n, x: n.b(n.a(x) * n.k), a=conv(3, 4), b=conv(4, 3), k=torch.rand(1, 4, 1, 1)
    )
    assert statuses(found)["a"] == "free"


def test_padding_and_adding_in_space_does_not_freeze():
    def forward(n, x):
        y = n.a(x)
        return n.c(y + F.pad(n.b(y), (1, 1, 1, 1)))

    found = grouping(forward, a=conv(3, 4), b=nn.Conv2d(4, 4, 3), c=conv(4, 3))
    assert statuses(found) == {"a": "coupled", "b": "coupled", "c": "untouchable"}


def test_padding_of_channels_ties_only_what_it_meets():
    def forward(n, x):  # four channels, then two of zeros, added to six
        return n.c(F.pad(n.a(x), (0, 0, 0, 0, 0, 2)) + n.b(x))

    found = grouping(forward, a=conv(3, 4), b=conv(3, 6), c=conv(6, 3))
    removable = [g for g in found.groups if g.status == "coupled"]
    assert [out_members(g) for g in removable] == [[{"a": (i,), "b": (i,)} for i in range(4)]]


def test_stack_and_sum_is_an_addition():
    found = grouping(
        lambda n, x: n.c(torch.stack([n.a(x), n.b(x)]).sum(0)),
        a=conv(3, 4),
        b=conv(3, 4),
        c=conv(4, 3),
    )
    assert out_members(group_with(found, "a")) == [{"a": (i,), "b": (i,)} for i in range(4)]


def test_sum_over_channels_is_like_a_convolution_but_mean_is_not():
    layers = {"a": conv(3, 4), "b": conv(1, 3)}
    total = grouping(lambda n, x: n.b(F.relu(n.a(x)).sum(1, keepdim=True)), **layers)
    assert statuses(total)["a"] == "free"
    mean = grouping(lambda n, x: n.b(F.relu(n.a(x)).mean(1, keepdim=True)), **layers)
    assert "mixed with others by mean" in group_with(mean, "a").why[0]
    largest = grouping(lambda n, x: n.b(n.a(x).max(1, keepdim=True)[0]), **layers)
    assert "mixed with others by max" in group_with(largest, "a").why[0]


def test_difference_of_two_non_zeros_is_not_zero():
    def forward(n, x):  # equal probes for both would cancel
        return n.c(torch.sigmoid(n.a(x)) - torch.exp(n.b(x)))

    found = grouping(forward, a=conv(3, 4), b=conv(3, 4), c=conv(4, 3))
    assert statuses(found) == dict.fromkeys("abc", "untouchable")


def test_a_condition_that_may_be_either_is_tried_both_ways():
    def forward(n, x):
        y = torch.sigmoid(n.a(x))
        return n.b(torch.where(y > 0.3, torch.zeros_like(y), torch.ones_like(y)))

    assert statuses(grouping(forward, a=conv(3, 4), b=conv(4, 3)))["a"] == "untouchable"


def test_efficient_channel_attention_sees_all_channels():
    def forward(n, x):
        y = n.a(x)
        s = n.eca(y.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
        return n.b(y * torch.sigmoid(s))

    found = grouping(forward, a=conv(3, 8), eca=nn.Conv1d(1, 1, 3, padding=1), b=conv(8, 3))
    assert statuses(found) == dict.fromkeys(["a", "eca", "b"], "untouchable")


def test_colour_order_and_rolled_channels():
    found = grouping(lambda n, x: n.b(F.relu(n.a(x[:, [2, 1, 0]]))), a=conv(3, 4), b=conv(4, 3))
    assert statuses(found)["a"] == "free"
    found = grouping(lambda n, x: n.b(n.a(x).roll(1, 1)), a=conv(3, 4), b=conv(4, 3))
    assert "fixed positions by roll" in group_with(found, "a").why[0]


def test_frozen_weights_stay():
    frozen = conv(4, 4).requires_grad_(False)
    found = grouping(lambda n, x: n.c(n.b(n.a(x))), a=conv(3, 4), b=frozen, c=conv(4, 3))
    assert statuses(found) == dict.fromkeys("abc", "untouchable")
    assert "'b', whose weights are frozen, reads it" in group_with(found, "a").why[0]


def test_linear_layers_on_channels_last_input():
    def forward(n, x):
        y = n.up(n.a(x).permute(0, 2, 3, 1))
        return n.b(n.down(F.gelu(y)).permute(0, 3, 1, 2))

    found = grouping(forward, a=conv(3, 4), up=nn.Linear(4, 6), down=nn.Linear(6, 5), b=conv(5, 3))
    assert statuses(found) == {"a": "free", "up": "free", "down": "free", "b": "untouchable"}


def test_training_mode_comes_back_layer_by_layer():
    net = Net(lambda n, x: n.b(n.a(x)), a=conv(3, 4), b=conv(4, 3))
    net.train()
    net.b.eval()
    trace(net, torch.rand(1, 3, 8, 8))
    assert (net.training, net.a.training, net.b.training) == (True, True, False)
    assert [len(layer._forward_hooks) for layer in net.modules()] == [0, 0, 0]


def test_groups_print_readably():
    trunk = group_with(find_groups(create("edsr", n_blocks=8, n_feats=8)), "head.0")
    assert str(trunk).splitlines() == [
        "g2: coupled, 8 channels",
        "  layers:  head.0, body.0.body.2, body.1.body.2, body.2.body.2, body.3.body.2 ... body.8 "
        "(10 layers)",
        "  read by: body.0.body.0, body.1.body.0, body.2.body.0, body.3.body.0, body.4.body.0 ... "
        "tail.0.0 (10 layers)",
        "  why:     added together in 'body.0', 'body.1', 'body.2' and 6 more",
    ]
    assert trunk.to_dict()["atoms"] == 8
