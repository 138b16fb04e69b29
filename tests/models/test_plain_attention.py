"""torch's attention in single layers: the same numbers, and channels inside its heads can go."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srdeploy.compacting.surgery import compact
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.plain_attention import PlainAttention, unpack_attention
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import changed_by_hand, group_with, random_plan

E, HEADS = 12, 2


def unpacked(given: nn.MultiheadAttention) -> PlainAttention:
    around = nn.Sequential(copy.deepcopy(given))
    unpack_attention(around)
    assert isinstance(around[0], PlainAttention)
    return around[0]


@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True}, {"bias": False}, {"kdim": 5, "vdim": 7}]
)
def test_it_computes_the_same(options: dict) -> None:
    torch.manual_seed(0)
    given = nn.MultiheadAttention(E, HEADS, **options).double().eval()
    for parameter in given.parameters():
        nn.init.normal_(parameter)
    plain = unpacked(given)
    q, k, v = (
        torch.rand(5, 5, n, dtype=torch.float64)
        for n in (E, options.get("kdim", E), options.get("vdim", E))
    )
    table = torch.rand(5, 5, dtype=torch.float64)
    many = torch.rand(5 * HEADS, 5, 5, dtype=torch.float64)
    last = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for told in (
        {}, {"need_weights": False}, {"average_attn_weights": False}, {"attn_mask": table},
        {"attn_mask": many}, {"attn_mask": last, "is_causal": True},
        {"key_padding_mask": last}, {"key_padding_mask": table, "attn_mask": table},
    ):  # fmt: skip
        wanted, found = given(q, k, v, **told), plain(q, k, v, **told)
        for one, other in zip(wanted, found, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)
    for one, other in zip(given(q[0], k[0], v[0]), plain(q[0], k[0], v[0]), strict=True):
        torch.testing.assert_close(one, other)


def test_what_it_cannot_be_stays() -> None:
    class Own(nn.MultiheadAttention):
        pass

    given = nn.ModuleList([
        nn.MultiheadAttention(E, HEADS, add_bias_kv=True),
        nn.MultiheadAttention(E, HEADS, add_zero_attn=True), Own(E, HEADS),
    ])  # fmt: skip
    kinds = [type(layer) for layer in given]
    unpack_attention(given)
    assert [type(layer) for layer in given] == kinds


class Attending(nn.Module):
    """Doubles the image; pixels attend to each other, then to a smaller image."""

    value_range, receptive_field = 1.0, 0

    def __init__(self, kind: type[nn.Module] = nn.MultiheadAttention, **options: bool) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, E, 1), nn.Conv2d(E, 12, 1)
        self.own = kind(E, HEADS, batch_first=True, **options)
        self.other = kind(E, HEADS, **options)
        self.norm = nn.LayerNorm(E)
        self.encoder = nn.TransformerEncoderLayer(E, HEADS, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(F.avg_pool2d(x, 2, ceil_mode=True))
        small = F.avg_pool2d(y, 3, ceil_mode=True).flatten(2).permute(2, 0, 1)
        size = y.shape[2:]
        y = self.norm(y.flatten(2).transpose(1, 2))
        y = y + self.own(y, y, y, need_weights=False)[0]
        y = self.encoder(y)
        y = y + self.other(y.transpose(0, 1), small, small)[0].transpose(0, 1)
        y = F.interpolate(y.transpose(1, 2).unflatten(2, size), size=x.shape[2:])
        return F.pixel_shuffle(self.tail(y), 2)


def test_channels_inside_the_heads_go(tmp_path) -> None:
    torch.manual_seed(0)
    network = wrap(Attending().eval())
    grouping = find_groups(network)
    inside = {"queries", "values"}
    for name in ("own", "other", "encoder.self_attn"):
        for layer in inside:
            group = group_with(grouping, f"{name}.{layer}")
            assert (group.status, len(group.atoms)) == ("coupled", E // HEADS), group.why
    plan = random_plan(grouping, 1, 0.5)
    small = compact(network, plan)
    assert changed_by_hand(network.module, small.module, plan) > 1e-3
    assert small.card.widths["own.queries"] == E // 2
    save_network(small, tmp_path / "n.safetensors")
    x = torch.rand(2, 3, 8, 10)
    again = read_network(tmp_path / "n.safetensors", arch=Attending)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


def test_what_is_not_unpacked_is_kept_with_the_reason() -> None:
    network = wrap(Attending(add_zero_attn=True).eval())
    grouping = find_groups(network)
    told = [one for one in grouping.not_followed if one[0] == "multi_head_attention_forward"]
    assert [place for _, place, _ in told] == ["'own'", "'other'"]
    assert group_with(grouping, "encoder.linear1").status == "free"
    assert group_with(grouping, "tail").status == "untouchable"
    plan = random_plan(grouping, 1, 0.5)
    assert changed_by_hand(network.module, compact(network, plan).module, plan) > 1e-4
