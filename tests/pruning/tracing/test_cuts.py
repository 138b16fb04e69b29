"""Cuts at numbers that code has from elsewhere: pruned exactly, or kept where that is not sure."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srdeploy.compacting.surgery import compact
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.tracing.everywhere import trace_everywhere
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import (
    FACTORY,
    changed_by_hand,
    group_with,
    groups_of,
    random_plan,
    user_network,
)
from tests.pruning.tracing.test_groups import Net, conv

C = 16


class TwoWindows(nn.Module):
    """DAT's spatial attention (ICCV 2023): each half of the channels in windows of its own.

    All numbers come from the width of the input, which stays as it is normalised.
    """

    def __init__(self, shifted: bool) -> None:
        super().__init__()
        self.shifted, self.heads = shifted, 2
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.dwconv = nn.Conv2d(C, C, 3, padding=1, groups=C)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(C, C, 1), nn.Sigmoid())

    def forward(self, x: Tensor, h: int, w: int) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, -1, 3, c).permute(2, 0, 1, 3)
        v = qkv[2].transpose(-2, -1).contiguous().view(b, c, h, w)
        qkv = qkv.reshape(3 * b, h, w, c).permute(0, 3, 1, 2)
        tall, wide = -(-h // 2) * 2, -(-w // 2) * 2
        qkv = F.pad(qkv, (0, wide - w, 0, tall - h)).reshape(3, b, c, -1).transpose(-2, -1)
        if self.shifted:
            qkv = qkv.view(3, b, tall, wide, c)
            parts = [
                torch.roll(part, (1, 1), (2, 3)).view(3, b, -1, c // 2)
                for part in (qkv[:, :, :, :, : c // 2], qkv[:, :, :, :, c // 2 :])
            ]
        else:
            parts = [qkv[:, :, :, : c // 2], qkv[:, :, :, c // 2 :]]
        done = [
            self.windows(part, tall, wide)[:, :h, :w, :].reshape(b, n, c // 2) for part in parts
        ]
        y = torch.cat(done, dim=2)
        conv = self.dwconv(v)
        y = y * self.gate(conv).permute(0, 2, 3, 1).contiguous().view(b, 1, c)
        return self.proj(y + conv.permute(0, 2, 3, 1).contiguous().view(b, n, c))

    def windows(self, qkv: Tensor, h: int, w: int) -> Tensor:
        q, k, v = (self.cut(t, h, w) for t in qkv)
        y = ((q * 0.3) @ k.transpose(-2, -1)).softmax(-1) @ v
        y = y.transpose(1, 2).reshape(-1, 4, y.shape[1] * y.shape[3])
        y = y.view(-1, h // 2, w // 2, 2, 2, y.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return y.contiguous().view(y.shape[0], h, w, -1)

    def cut(self, t: Tensor, h: int, w: int) -> Tensor:
        b, _, c = t.shape
        t = t.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        return t.reshape(-1, 4, self.heads, c // self.heads).permute(0, 2, 1, 3)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.back = nn.Conv2d(3, C, 1), nn.Conv2d(C, 3, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(2))
        self.blocks = nn.ModuleList(map(TwoWindows, (False, True)))

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        y = self.lift(x).flatten(2).transpose(1, 2)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            y = y + block(norm(y), h, w)
        return self.back(y.transpose(1, 2).unflatten(2, (h, w)))


def test_halves_by_the_width_of_the_input_lose_channels(tmp_path) -> None:
    network = user_network(Transformer)
    for seed in (1, 2):  # what was pruned is pruned again
        grouping = find_groups(network)
        for number in (0, 1):
            group = group_with(grouping, f"blocks.{number}.qkv")
            assert group.status == "coupled", group.why
        plan = random_plan(grouping, seed, 0.5)
        small = compact(network, plan)
        for shape in ((2, 3, 9, 14), (1, 3, 16, 8), (3, 3, 8, 16)):
            assert changed_by_hand(network.module, small.module, plan, shape) > 1e-3
        for name in ("blocks.0.qkv", "blocks.1.qkv"):
            assert small.card.widths[name] < network.card.widths[name]
        save_network(small, tmp_path / "n.safetensors")
        again = read_network(tmp_path / "n.safetensors", arch=FACTORY)
        x = torch.rand(2, 3, 16, 8)
        with torch.no_grad():
            assert torch.equal(again.module(x), small.module(x))
        network = again
    assert "slice 3 of 4 at forward 11 (?, 8)[1]" in network.card.numbers["blocks.0"]
    assert "slice 4 of 5 at forward 10 (8, ?)[0]" in network.card.numbers["blocks.1"]
    # An image as high as some number of channels is no reason to take it for one.
    with torch.no_grad():
        for size in ((2, 3, 4), (2, 3, 8), (1, 8, 16), (1, 16, 16), (1, 16, 2), (4, 4, 4)):
            network.module(torch.rand(size[0], 3, *size[1:]))


WAYS = {
    "slices": lambda n, y, c: (y[:, : c // 4], y[:, c // 4 :]),
    "constants": lambda n, y, c: (y[:, :4], y[:, 4:]),
    "from behind": lambda n, y, c: (y[:, -c // 4 :], y[:, : -c // 4]),
    "sizes": lambda n, y, c: torch.split(y, [c // 4, c - c // 4], dim=1),
    "narrow": lambda n, y, c: (y.narrow(1, 0, c // 4), torch.narrow(y, 1, c // 4, c - c // 4)),
    "middle": lambda n, y, c: (y[:, 4:8], torch.cat([y[:, :4], y[:, 8:]], 1)),
}


def _parted(way):
    def forward(n, x):
        y = F.relu(n.a(x))
        first, second = way(n, y, C)
        return n.out(torch.cat([n.b(first), second], 1))

    return lambda: Net(forward, a=conv(3, C), b=conv(4, 5), out=conv(17, 3))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_cut(way: str, tmp_path) -> None:
    network = user_network(_parted(WAYS[way]))
    grouping = find_groups(network)
    groups = [group for group in grouping.groups if "a" in group.layers]
    assert {group.status for group in groups} == {"free"}
    assert sum(len(group.atoms) for group in groups) == C
    assert len(groups) > 1  # some of either part stay
    for seed in (1, 2, 3):
        plan = random_plan(grouping, seed)
        small = compact(network, plan)
        assert changed_by_hand(network.module, small.module, plan) > 1e-3
    save_network(small, tmp_path / "n.safetensors")
    again = read_network(tmp_path / "n.safetensors", arch=FACTORY)
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


def test_parts_of_one_size_lose_as_many() -> None:
    def forward(n, x):
        parts = F.relu(n.a(x)).split(C // 4, dim=1)
        return n.out(torch.cat([n.b(parts[0] * 2), *parts[1:]], 1))

    network = user_network(lambda: Net(forward, a=conv(3, C), b=conv(4, 4), out=conv(C, 3)))
    grouping = find_groups(network)
    group = group_with(grouping, "a")
    assert (group.status, len(group.atoms), group.block) == ("coupled", 4, 4)
    assert group.why == ["counted by the same number in the code in the network's own forward"]
    plan = random_plan(grouping, 1)
    assert changed_by_hand(network.module, compact(network, plan).module, plan) > 1e-3


def test_uneven_parts_stay() -> None:
    def forward(n, x):
        return n.out(torch.cat(F.relu(n.a(x)).split(7, dim=1)[::-1], 1))

    net = Net(forward, a=conv(3, C), out=conv(C, 3))
    group = group_with(groups_of(net), "a")
    assert group.status == "untouchable"
    assert group.why[0].startswith("cut at fixed positions by split")


def front(y, length):
    return y[:, :, :, :length]


def test_a_crop_by_the_same_line_keeps_what_is_cut() -> None:
    """For some width of the image it asks for the numbers of the cut."""

    def forward(crop):
        def run(n, x):
            y = n.a(x).permute(0, 2, 3, 1)
            y = torch.cat([front(y, C // 4), y[..., C // 4 :].relu()], -1).permute(0, 3, 1, 2)
            return n.out(front(F.pad(y, (0, 5)), x.shape[3]) if crop else y)

        return run

    for crop, status in ((False, "free"), (True, "untouchable")):
        net = Net(forward(crop), a=conv(3, C), out=conv(C, 3))
        found = [g for g in groups_of(net).groups if "a" in g.layers]
        assert {group.status for group in found} == {status}


def test_a_crop_that_only_some_sizes_need_is_no_reason_to_refuse() -> None:
    def forward(n, x):
        y = n.a(x).permute(0, 2, 3, 1)
        y = torch.cat([front(y, C // 4), y[..., C // 4 :].relu()], -1).permute(0, 3, 1, 2)
        if x.shape[3] % 4:
            y = front(F.pad(y, (0, 5)), x.shape[3])
        return n.out(y)

    net = Net(forward, a=conv(3, C), out=conv(C, 3))
    network = user_network(lambda: net)
    assert not trace_everywhere(network).cuts_in_code
    assert group_with(find_groups(network), "a").status == "untouchable"


def parted(y):
    return y[:, 4:], y[:, :4]


class Inside(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return torch.cat(parted(y), 1)


def test_a_layer_inside_that_cuts_alike_loses_as_many() -> None:
    def forward(n, x):
        y, z = F.relu(n.a(x)), F.relu(n.b(x))
        first, second = parted(z)
        return n.out(torch.cat([n.inside(y), first, second * 2], 1))

    network = user_network(
        lambda: Net(forward, inside=Inside(), a=conv(3, 8), b=conv(3, 8), out=conv(16, 3))
    )
    grouping = find_groups(network)
    (front,) = [g for g in grouping.groups if {"a", "b"} <= set(g.layers)]
    assert (front.status, len(front.atoms)) == ("coupled", 4)
    for seed in range(3):
        plan = random_plan(grouping, seed)
        assert changed_by_hand(network.module, compact(network, plan).module, plan) > 1e-3


def test_what_stays_whole_is_cut_as_before() -> None:
    """Numbers of channels that cannot go are no numbers of channels that can."""

    def forward(n, x):
        y = torch.cumsum(n.a(x), 1)
        return n.out(torch.cat([y[:, :4], n.b(x)[:, 4:]], 1))

    network = user_network(lambda: Net(forward, a=conv(3, 8), b=conv(3, 8), out=conv(8, 3)))
    grouping = find_groups(network)
    assert group_with(grouping, "a").status == "untouchable"
    plan = random_plan(grouping, 1)
    if plan.keep:
        changed_by_hand(network.module, compact(network, plan).module, plan)
