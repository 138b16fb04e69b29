"""What is counted of SMSR's masks, on masks that are known."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.count import macs
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.smsr.pack import pack
from srdeploy.sparse.masks import LayerWork, MaskReport, ModuleMask, find_masks
from tests.sparse import nets


def network(**case: object) -> Network:
    made = create("smsr", scale=2, n_modules=2, n_layers=3, n_feats=12, mask_feats=4, reduction=4)
    return Network(nets.network(**case), made.card)


IMAGE = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_all_or_nothing(density: float) -> None:
    report = find_masks(network(density=density, dense=(5, 3, 0)), IMAGE)
    whole = 9 * 12 * 12 * 10 * 14  # multiplications of one masked layer
    assert report.masked_macs == 2 * 3 * whole
    assert len(report.modules) == 2
    for module in report.modules:
        assert module.mask.shape == (10, 14)
        assert module.mask.dtype == bool
        assert module.inside == density
        assert [(layer.dense, layer.sparse) for layer in module.layers] == [(5, 7), (3, 9), (0, 12)]
        if density == 1:
            assert {(layer.outputs, layer.macs) for layer in module.layers} == {(1, 1)}
        else:
            assert [layer.outputs for layer in module.layers] == pytest.approx([5 / 12, 3 / 12, 0])
            assert [layer.macs for layer in module.layers] == pytest.approx(
                [5 / 12, 3 * 5 / 144, 0]
            )
    share = 1 if density == 1 else (5 / 12 + 15 / 144) / 3
    assert report.masked_share == pytest.approx(share)
    net = network()
    assert report.macs == macs(net, 10, 14)
    assert report.computed_macs == report.macs - round(report.masked_macs * (1 - share))


def test_a_share_inside_adds_up() -> None:
    net = network(density=0.4)
    report = find_masks(net, IMAGE)
    computed = 0.0
    for module, packed in zip(report.modules, pack(net.module), strict=True):
        assert 0 < module.inside < 1
        assert module.inside == module.mask.mean()
        for layer, work in zip(packed.layers, module.layers, strict=True):
            dense = layer.outside.shape[0]
            assert work.outputs == pytest.approx(module.inside + (1 - module.inside) * dense / 12)
            listed = module.mask.sum() * layer.inside.numel()
            others = (~module.mask).sum() * layer.outside.numel()
            assert work.macs == pytest.approx((listed + others) / layer.inside.numel() / 140)
            computed += listed + others
    assert report.masked_share == pytest.approx(computed / report.masked_macs)


def test_what_is_told() -> None:
    layer = LayerWork(dense=1, sparse=2, outputs=0.5, macs=0.25)
    report = MaskReport([ModuleMask(np.ones((1, 1), bool), 1.0, [layer])], 100, 0.25, 1000)
    assert report.computed_macs == 925
    assert report.to_dict() == {
        "macs": 1000,
        "computed_macs": 925,
        "masked_layers": {"macs": 100, "computed": 0.25},
        "modules": [
            {"inside": 1.0,
             "layers": [{"dense": 1, "sparse": 2, "outputs": 0.5, "macs": 0.25}]}
        ],
    }  # fmt: skip


def test_the_image_is_scaled_as_the_network_wants_it() -> None:
    """Masks of an image in 0..1 are those of the network that eats 0..255."""
    net = network(density=0.4)
    unit = Network(net.module, net.card.model_copy(update={"value_range": 1.0}))
    black = find_masks(net, np.zeros_like(IMAGE))
    nearly = find_masks(unit, IMAGE)  # at most 1 of 255
    plain = find_masks(net, IMAGE)
    difference = [
        np.mean(a.mask != b.mask) for a, b in zip(black.modules, nearly.modules, strict=True)
    ]
    assert max(difference) < 0.1
    assert any((a.mask != b.mask).any() for a, b in zip(plain.modules, nearly.modules, strict=True))


def test_other_networks_have_none() -> None:
    with pytest.raises(UserError, match=r"Masks belong to SMSR; this network is edsr\."):
        find_masks(create("edsr", n_blocks=1, n_feats=4), IMAGE)
