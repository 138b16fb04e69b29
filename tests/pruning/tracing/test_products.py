"""Products of activations, each case where a slip would pass a wrong network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srdeploy.compacting.surgery import compact
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import (
    changed_by_hand,
    group_with,
    groups_of,
    out_members,
    random_plan,
    user_network,
)
from tests.pruning.tracing.test_groups import Net

HEADS, WIDE = 2, 6


class Attention(nn.Module):
    """Windows of one row; ``attend`` gets q, k and v as ``[N, heads, tokens, channels]``."""

    def __init__(self, attend, layout="qkv") -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(3, 3 * HEADS * WIDE), nn.Linear(HEADS * WIDE, 3)
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.attend, self.layout = attend, layout

    def forward(self, x):
        n, _, h, w = x.shape
        y = self.qkv(x.permute(0, 2, 3, 1).reshape(n * h, w, 3))
        if self.layout == "qkv":
            q, k, v = y.reshape(n * h, w, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        else:  # channels of a head first
            q, k, v = y.reshape(n * h, w, -1, HEADS, 3).permute(4, 0, 3, 1, 2)
        y = self.attend(self, q, k, v)
        y = y.transpose(1, 2) if self.layout == "qkv" else y.permute(0, 2, 3, 1)
        y = self.out(y.reshape(n * h, w, -1))
        return y.reshape(n, h, w, 3).permute(0, 3, 1, 2)


def between_pixels(net, q, k, v):
    return (q @ k.transpose(-2, -1) * 0.3).softmax(-1) @ v


def between_channels(net, q, k, v):
    weights = (q.transpose(-2, -1) @ k * net.temperature).softmax(-1)
    return (weights @ v.transpose(-2, -1)).transpose(-2, -1)


def test_between_pixels_every_head_loses_the_same_places_of_q_k_and_v() -> None:
    group = group_with(groups_of(Attention(between_pixels)), "qkv")
    assert (group.status, group.readers) == ("coupled", ["out"])
    assert out_members(group) == [
        {"qkv": tuple(range(place, 3 * HEADS * WIDE, WIDE))} for place in range(WIDE)
    ]


def test_the_channels_of_a_head_may_come_first() -> None:
    group = group_with(groups_of(Attention(between_pixels, "channels")), "qkv")
    assert out_members(group) == [
        {"qkv": tuple(range(3 * HEADS * place, 3 * HEADS * (place + 1)))} for place in range(WIDE)
    ]


def test_between_channels_a_head_is_removed_as_a_whole() -> None:
    """With code that can do without one: its own number of heads follows from the channels."""

    def attend(net, q, k, v):
        return between_channels(net, q, k, v)

    class Whole(Attention):
        def forward(self, x):
            n, _, h, w = x.shape
            y = self.qkv(x.permute(0, 2, 3, 1).reshape(n * h, w, 3))
            q, k, v = y.reshape(n * h, w, 3, -1, WIDE).permute(2, 0, 3, 1, 4)
            y = self.out(attend(self, q, k, v).transpose(1, 2).reshape(n * h, w, -1))
            return y.reshape(n, h, w, 3).permute(0, 3, 1, 2)

    net = Whole(None)
    grouping = groups_of(net)
    group = group_with(grouping, "qkv")
    part = HEADS * WIDE
    assert out_members(group) == [
        {"qkv": tuple(t * part + head * WIDE + i for t in range(3) for i in range(WIDE))}
        for head in range(HEADS)
    ]
    scaled = [axis.tensor for axis in group.atoms[0].members]
    assert "temperature" in scaled


def test_products_in_all_their_forms_tie_the_same() -> None:
    forms = [
        lambda n, q, k, v: torch.matmul((torch.matmul(q, k.mT) * 0.3).softmax(-1), v),
        lambda n, q, k, v: torch.einsum(
            "bhij,bhjc->bhic", torch.einsum("...ic,...jc->...ij", q, k).softmax(-1), v
        ),
        lambda n, q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3),
        lambda n, q, k, v: torch.bmm(
            torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).softmax(-1), v.flatten(0, 1)
        ).unflatten(0, q.shape[:2]),
        lambda n, q, k, v: between_pixels(n, F.normalize(q, dim=-1), F.normalize(k, dim=-1), v),
    ]
    wanted = out_members(group_with(groups_of(Attention(between_pixels)), "qkv"))
    for number, form in enumerate(forms):
        group = group_with(groups_of(Attention(form)), "qkv")
        assert group.status == "coupled", number
        assert out_members(group) == wanted, number


def test_what_depends_on_the_number_of_channels_stays() -> None:
    def scaled(net, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)

    def by_hand(net, q, k, v):
        return (q @ k.mT / q.shape[-1]).softmax(-1) @ v

    for attend, why in ((scaled, "scaled by their number"), (by_hand, "computes something else")):
        for group in groups_of(Attention(attend)).groups:
            assert group.status == "untouchable"
            if "qkv" in group.layers and len(group.atoms) * group.block >= 2 * HEADS * WIDE:
                assert why in group.why[0]


@pytest.mark.parametrize("dirty", ["both", "one"])
def test_a_sum_over_channels_needs_one_factor_that_is_zero(dirty: str) -> None:
    def forward(n, x):
        a, b = n.a(x).flatten(2).sigmoid(), n.b(x).flatten(2)
        b = b.cos() if dirty == "both" else b
        return n.c((a.mT @ b).mean((1, 2))[:, None, None, None] * x)

    conv = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(3, 4, 1), "c": nn.Conv2d(3, 3, 1)}
    group = group_with(groups_of(Net(forward, **conv)), "a")
    assert group.status == ("untouchable" if dirty == "both" else "coupled")


def test_what_stays_whole_keeps_the_heads_of_what_it_multiplies() -> None:
    """Attention of the image alone, over heads whose channels have nothing else to tie them."""

    def forward(n, x):
        y = n.a(x).flatten(2).reshape(len(x), 2, 3, -1)
        pooled = F.adaptive_avg_pool2d(x, 2).flatten(1)[:, :6].reshape(len(x), 2, 3, 1)
        mixed = pooled.transpose(-2, -1) @ pooled  # 2 heads, one number each
        return n.b((y.mT @ torch.ones_like(y) * mixed).mean((1, 2, 3))[:, None, None, None] * x)

    net = Net(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 3, 1))
    assert out_members(group_with(groups_of(net), "a")) == [{"a": (i, i + 3)} for i in range(3)]


def test_a_constant_factor_keeps_what_it_meets() -> None:
    def forward(n, x):
        return n.b((torch.eye(4) @ n.a(x).flatten(2)).reshape(len(x), 4, *x.shape[2:]))

    net = Net(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 3, 1))
    grouping = groups_of(net)
    assert group_with(grouping, "a").status == "untouchable"
    assert grouping.not_followed[0][0] in ("mm", "bmm")


def test_an_equation_with_a_diagonal_keeps_what_it_reads() -> None:
    def forward(n, x):
        y = n.a(x).flatten(2)
        square = torch.einsum("bci,bdi->bcd", y, y)
        return n.b(torch.einsum("bcc,bci->bci", square, y).unflatten(2, x.shape[2:]))

    net = Net(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 3, 1))
    assert group_with(groups_of(net), "a").status == "untouchable"


def test_windows_that_overlap_are_padded_within_their_channels() -> None:
    """HAT's attention (CVPR 2023): keys and values are unfolded with zeros around the image."""

    def forward(n, x):
        q, kv = n.q(x), n.kv(x)
        b, c, h, w = q.shape
        q = F.unfold(q, 2, stride=2).reshape(b, c, 4, -1).permute(0, 3, 2, 1)
        k, v = F.unfold(kv, 4, stride=2, padding=1).reshape(b, 2, c, 16, -1).permute(1, 0, 4, 3, 2)
        y = (q @ k.transpose(-2, -1) * 0.3).softmax(-1) @ v
        y = y.reshape(b, h // 2, w // 2, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
        return n.out(y.reshape(b, -1, h, w))

    network = user_network(
        lambda: Net(forward, q=nn.Conv2d(3, 6, 1), kv=nn.Conv2d(3, 12, 1), out=nn.Conv2d(6, 3, 1)),
        size_multiple=2,
    )
    grouping = find_groups(network)
    group = group_with(grouping, "q")
    assert out_members(group) == [{"q": (i,), "kv": (i, i + 6)} for i in range(6)], group.why
    plan = random_plan(grouping, 1)
    small = compact(network, plan)
    assert changed_by_hand(network.module, small.module, plan, (2, 3, 8, 10)) > 1e-3


def test_learned_tokens_are_attended_to() -> None:
    """ATD's dictionary (CVPR 2024): keys and values come from parameters alone."""

    def forward(n, x):
        b, _, h, w = x.shape
        q = n.q(x.flatten(2).transpose(1, 2))
        tokens = n.tokens.expand(b, -1, -1)
        y = (q @ n.k(tokens).transpose(-2, -1) * 0.3).softmax(-1) @ n.v(tokens)
        return n.out(y).transpose(1, 2).unflatten(2, (h, w))

    def make():
        tokens = nn.Parameter(torch.randn(1, 5, 4))
        layers = {name: nn.Linear(n, 6) for name, n in (("q", 3), ("k", 4), ("v", 4))}
        return Net(forward, tokens=tokens, out=nn.Linear(6, 3), **layers)

    network = user_network(make)
    grouping = find_groups(network)
    assert grouping.not_followed == ()
    assert out_members(group_with(grouping, "q")) == [{"q": (i,), "k": (i,)} for i in range(6)]
    assert group_with(grouping, "v").status == "free"
    plan = random_plan(grouping, 1)
    assert changed_by_hand(network.module, compact(network, plan).module, plan) > 1e-4


@pytest.mark.parametrize("used", [False, True])
def test_a_reshape_that_mixes_channels_with_pixels_may_be_undone(used: bool) -> None:
    """GRL's attention (CVPR 2023) takes pixels and channels for each other on the way."""

    def forward(n, x):
        y = n.a(x).permute(0, 2, 3, 1).flatten(1, 2)  # N, pixels, channels
        shape = y.shape
        y = y.reshape(shape[0], 2, -1)
        y = y.relu() if used else y
        y = y.view(shape[0], -1, shape[2]).transpose(1, 2).unflatten(2, x.shape[2:])
        return n.b(torch.tanh(y))

    network = user_network(
        lambda: Net(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 3, 1)), size_multiple=2
    )
    grouping = find_groups(network)
    group = group_with(grouping, "a")
    assert group.status == ("untouchable" if used else "free"), group.why
    if not used:
        plan = random_plan(grouping, 1)
        assert (
            changed_by_hand(network.module, compact(network, plan).module, plan, (2, 3, 4, 6))
            > 1e-3
        )
