"""Networks against their formulas, written out here with other words of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from srdeploy.models.attention import ChannelAttention
from srdeploy.models.edsr.network import EDSR, LEDSR
from srdeploy.models.layers import (
    DIV2K_MEAN,
    UPSAMPLER_RADIUS,
    MeanShift,
    ResidualBlock,
    conv3x3,
    upsampler,
)
from srdeploy.models.rirsr.network import RIRSR
from srdeploy.models.smsr.network import SMSR, Bicubic, SparseMaskModule
from srdeploy.models.vdsr.network import VDSR


def shape(module: nn.Module, *size: int) -> tuple[int, ...]:
    return tuple(module(torch.zeros(*size)).shape)


def test_a_mean_shift_adds_its_part_of_the_range_and_does_not_train() -> None:
    shift = MeanShift(255.0, (0.5, 0.25, 0.0), -1)
    x = torch.rand(1, 3, 4, 5)
    expected = x - torch.tensor([127.5, 63.75, 0.0])[:, None, None]
    torch.testing.assert_close(shift(x), expected)
    torch.testing.assert_close(MeanShift(1.0, (0.5,) * 3, 1)(x), x + 0.5)
    assert not any(p.requires_grad for p in shift.parameters())
    assert DIV2K_MEAN == (0.4488, 0.4371, 0.4040)


@pytest.mark.parametrize("res_scale", [1.0, 0.1, 0.0, 2.0])
def test_a_residual_block(res_scale: float) -> None:
    block = ResidualBlock(4, res_scale)
    x = torch.randn(2, 4, 5, 6)
    first, _, second = block.body
    expected = x + res_scale * second(torch.relu(first(x)))
    torch.testing.assert_close(block(x), expected)
    assert ResidualBlock(4).res_scale == 1.0


@pytest.mark.parametrize(
    ("scale", "widths"), [(2, [16]), (3, [36]), (4, [16, 16]), (8, [16, 16, 16])]
)
def test_upsamplers_go_in_steps(scale: int, widths: list[int]) -> None:
    stages = upsampler(scale, 4)
    assert [s.out_channels for s in stages if isinstance(s, nn.Conv2d)] == widths
    assert shape(stages, 1, 4, 5, 6) == (1, 4, 5 * scale, 6 * scale)


def test_a_convolution_keeps_the_size() -> None:
    assert shape(conv3x3(2, 5), 1, 2, 4, 7) == (1, 5, 4, 7)
    assert conv3x3(2, 5).kernel_size == (3, 3)
    assert conv3x3(2, 5).bias is not None
    assert conv3x3(2, 5, False).bias is None


NETWORKS: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (EDSR, {"n_blocks": 2, "n_feats": 4}),
    (LEDSR, {"n_blocks": 2, "n_feats": 4}),
    (RIRSR, {"n_groups": 2, "n_blocks": 1, "n_feats": 4}),
]


@pytest.mark.parametrize(("kind", "config"), NETWORKS)
@pytest.mark.parametrize("mean_shift", [True, False])
def test_a_long_skip_between_head_and_tail(kind: Any, config: Any, mean_shift: bool) -> None:
    net = kind(scale=2, mean_shift=mean_shift, value_range=1.0, **config).eval()
    x = torch.rand(1, 3, 6, 7)
    mean = torch.tensor(DIV2K_MEAN)[:, None, None] * mean_shift
    with torch.no_grad():
        head = net.head(x - mean)
        expected = net.tail(head + net.body(head)) + mean
        torch.testing.assert_close(net(x), expected)
    facts = net.facts()
    assert facts["mean_shift"] == (DIV2K_MEAN if mean_shift else None)
    assert (facts["scale"], facts["scales"], facts["channels"]) == (2, (2,), 3)
    assert facts["value_range"] == 1.0


def test_defaults_are_the_published_baselines() -> None:
    with torch.device("meta"):
        edsr, rirsr, vdsr, smsr = EDSR(), RIRSR(), VDSR(), SMSR()
    assert (len(edsr.body), edsr.head[0].out_channels, edsr.scale) == (17, 64, 2)
    assert edsr.body[0].res_scale == 1.0
    assert (edsr.value_range, edsr.mean) == (255.0, DIV2K_MEAN)
    assert (len(rirsr.body), len(rirsr.body[0].body), rirsr.head[0].out_channels) == (11, 21, 96)
    assert rirsr.body[0].body[0].res_scale == 1.0
    assert (len(vdsr.residual_layer), vdsr.input.out_channels, vdsr.scale) == (18, 64, 2)
    assert vdsr.input.bias is None
    assert (len(smsr.body), len(smsr.body[0].body.body), smsr.scale) == (5, 4, 2)
    assert smsr.body[0].ca.conv_du[0].out_channels == 4


def test_groups_have_skips_of_their_own() -> None:
    group = RIRSR(n_groups=1, n_blocks=2, n_feats=4, res_scale=0.5).body[0]
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(group(x), x + group.body(x))
    assert group.body[1].res_scale == 0.5
    assert EDSR(n_blocks=2, n_feats=4, res_scale=0.5).body[1].res_scale == 0.5


@pytest.mark.parametrize(
    ("net", "radius"),
    [(LEDSR(n_blocks=3, n_feats=2), 9), (EDSR(n_blocks=3, n_feats=2), 10),
     (RIRSR(n_groups=2, n_blocks=3, n_feats=2), 18)],
)  # fmt: skip
def test_the_reach(net: Any, radius: int) -> None:
    assert net.radius == radius
    assert net.receptive_field == 2 * radius + 1
    assert UPSAMPLER_RADIUS == 2


@pytest.mark.parametrize(("scale", "scales"), [(2, (2, 3, 4)), (3, (2, 3, 4)), (5, (2, 3, 4, 5))])
def test_vdsr(scale: int, scales: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = VDSR(scale, n_layers=4, n_feats=8, bias=True)
    x = torch.rand(1, 1, 6, 7)
    y = torch.relu(net.input(x))
    for layer in net.residual_layer:
        y = torch.relu(layer.conv(y))
    torch.testing.assert_close(net(x), x + net.output(y))
    facts = net.facts()
    assert (facts["scale"], facts["scales"]) == (scale, scales)
    assert (facts["channels"], facts["value_range"], facts["receptive_field"]) == (1, 1.0, 9)
    assert facts["luma_only"]
    assert facts["pre_upscaled"]
    spread = torch.cat([m.weight.flatten() for m in VDSR(n_feats=64).residual_layer.modules()
                        if isinstance(m, nn.Conv2d)]).std()  # fmt: skip
    assert float(spread.detach()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_channel_attention_and_bicubic() -> None:
    attention = ChannelAttention(8, 3)
    x = torch.randn(2, 8, 4, 5)
    first, _, second, _ = attention.conv_du
    assert first.out_channels == 2
    gate = torch.sigmoid(second(torch.relu(first(x.mean(dim=(2, 3), keepdim=True)))))
    torch.testing.assert_close(attention(x), x * gate)
    assert ChannelAttention(2, 16).conv_du[0].out_channels == 1
    x = torch.rand(1, 3, 6, 7)
    expected = functional.interpolate(x, size=(18, 21), mode="bicubic", align_corners=False)
    torch.testing.assert_close(Bicubic(3)(x), expected)


def test_smsr_adds_the_bicubic_image() -> None:
    torch.manual_seed(0)
    net = SMSR(scale=2, n_modules=2, n_layers=2, n_feats=4, mask_feats=4, reduction=2).eval()
    x = 255 * torch.rand(1, 3, 8, 9)
    mean = 255 * torch.tensor(DIV2K_MEAN)[:, None, None]
    with torch.no_grad():
        head = net.head(x - mean)
        first = net.body[0](head)
        second = net.body[1](first)
        y = net.tail(net.collect(torch.cat([first, second], 1)) + head)
        torch.testing.assert_close(net(x), y + net.upscale(x - mean) + mean)
    assert net.receptive_field == 0
    assert net.temperature is None
    net.temperature = 0.5
    assert [m.temperature for m in net.mask_modules()] == [0.5, 0.5]
    for value in (0.0, -1.0):
        with pytest.raises(ValueError, match="a temperature is above 0"):
            net.temperature = value
    dense = net.without_masks()
    assert [m.body.masked for m in dense.mask_modules()] == [False, False]
    assert [m.body.masked for m in net.mask_modules()] == [True, True]


def test_masks_are_of_the_images_size() -> None:
    module = SparseMaskModule(4, 2, 4, 2).eval()
    for height, width in ((1, 1), (5, 8), (6, 7)):
        mask = module.mask(torch.randn(2, 4, height, width))
        assert mask.shape == (2, 1, height, width)
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
