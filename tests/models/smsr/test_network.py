"""SMSR in its dense-with-masks form: sizes, masks at their extremes, and the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from srdeploy.models.count import count
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR, ChannelMask, choose, computed_fraction
from srdeploy.models.store import build, read_network, save_network
from srdeploy.quality.evaluate import evaluate


def smsr(**config: int) -> SMSR:
    torch.manual_seed(0)
    module = create("smsr", **{"n_modules": 2, "n_feats": 12, "mask_feats": 4, **config}).module
    assert isinstance(module, SMSR)
    return module


def set_masks(module: SMSR, spatial: float | None, channels: str) -> None:
    """Make spatial masks full (1) or empty (0), and all channels of one kind."""
    with torch.no_grad():
        for one in module.mask_modules():
            if spatial is not None:
                one.spa_mask[-1].weight.zero_()
                one.spa_mask[-1].bias.copy_(torch.tensor([0.5, spatial]))
            for mask in one.body.ch_mask:
                mask.dense.fill_(1.0 if channels == "dense" else 0.0)
                mask.sparse.fill_(0.5)


@torch.no_grad()
def test_shapes_of_any_size_and_batch() -> None:
    for scale in (2, 3, 4):
        module = smsr(scale=scale)
        for height, width in ((8, 6), (7, 6), (8, 5), (1, 1), (3, 11)):
            x = torch.rand(2, 3, height, width) * 255
            y = module(x)
            assert y.shape == (2, 3, scale * height, scale * width)
            assert torch.allclose(y, torch.cat([module(one) for one in x.split(1)]), atol=1e-3)


@torch.no_grad()
def test_masks_of_odd_sizes_are_those_of_the_edge_padded_features() -> None:
    one = next(smsr().mask_modules())
    one.spa_mask[0], one.spa_mask[3] = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 4, 1)  # no zero padding
    x = torch.randn(1, 12, 7, 9)
    padded = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    assert torch.equal(one.mask(x), one.mask(padded)[..., :7, :9])
    assert 0 < float(one.mask(x).mean()) < 1


@torch.no_grad()
def test_full_masks_compute_the_dense_network_and_empty_ones_nothing() -> None:
    module = smsr()
    x = torch.rand(1, 3, 6, 8) * 255
    set_masks(module, None, "dense")
    dense = module(x)
    set_masks(module, 1.0, "sparse")
    assert torch.allclose(module(x), dense, atol=1e-3)
    set_masks(module, 0.0, "sparse")
    for one in module.mask_modules():
        features = torch.randn(1, 12, 6, 8)
        only_bias = one.body.collect.bias[None, :, None, None].expand_as(features)
        assert torch.allclose(one(features), features + one.ca(only_bias), atol=1e-6)
    assert torch.isfinite(module(x)).all()


@torch.no_grad()
def test_sparse_inputs_count_inside_the_mask_only() -> None:
    """The paper's four cases, pixel by pixel, against a loop."""
    layers = next(smsr(n_layers=2).mask_modules()).body
    x, mask = torch.rand(1, 12, 5, 5), (torch.rand(1, 1, 5, 5) > 0.5).float()
    sparse = [channels() for channels in layers.ch_mask]
    assert all(0 < float(share.mean()) < 1 for share in sparse)
    first = functional.conv2d(x, layers.body[0].weight, padding=1)
    for c in range(12):
        if sparse[0][0, c] == 1:
            first[0, c] *= mask[0, 0]
    first = first.relu()
    second = torch.zeros(1, 12, 5, 5)
    for out in range(12):
        for c in range(12):
            part = functional.conv2d(
                first[:, c : c + 1], layers.body[1].weight[out : out + 1, c : c + 1], padding=1
            )[0, 0]
            inside_only = bool(sparse[0][0, c]) or bool(sparse[1][0, out])
            second[0, out] += part * mask[0, 0] if inside_only else part
    wanted = layers.collect(torch.cat([first, second.relu()], 1))
    assert torch.allclose(layers(x, mask, sparse), wanted, atol=1e-5)


def test_the_hard_choice_is_the_limit_of_the_soft_one() -> None:
    logits = torch.linspace(-3, 3, 7)
    zeros = torch.zeros(7)
    torch.manual_seed(0)
    soft = torch.stack([choose(zeros, logits, 0.01) for _ in range(4000)])
    assert torch.allclose(soft.mean(0), torch.sigmoid(logits), atol=0.03)  # sampled, not chosen
    assert ((soft < 0.01) | (soft > 0.99)).float().mean() > 0.98
    assert torch.equal(choose(zeros, logits, None), (logits > 0).float())


def test_gumbel_pair_and_logistic_difference_are_one_distribution() -> None:
    torch.manual_seed(0)
    pairs = torch.tensor([0.3, 1.1]).expand(20000, 2)
    both = functional.gumbel_softmax(pairs, tau=0.7)[:, 1]
    ours = choose(pairs[:, 0], pairs[:, 1], 0.7)
    quantiles = torch.linspace(0.05, 0.95, 10)
    assert torch.allclose(both.quantile(quantiles), ours.quantile(quantiles), atol=0.03)


def test_training_mode_reaches_every_parameter_and_evaluation_draws_nothing() -> None:
    module = smsr()
    x = torch.rand(1, 3, 8, 8) * 255
    module.train()
    module.temperature = 0.4
    assert not torch.equal(module(x), module(x))
    module(x).sum().backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    module.eval()
    state = torch.get_rng_state()
    assert torch.equal(module(x), module(x))
    assert torch.equal(torch.get_rng_state(), state)
    module.train()
    module.temperature = None
    assert torch.equal(module(x), module.eval()(x))
    with pytest.raises(ValueError, match="above 0"):
        module.temperature = 0.0


def test_computed_fraction() -> None:
    mask = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
    sparse = [torch.tensor([0.0, 1.0])[None, :, None, None], torch.ones(1, 3, 1, 1)]
    assert computed_fraction(mask, sparse).tolist() == [0.625, 0.25]


@pytest.mark.parametrize(
    ("scale", "params", "macs"), [(2, 985e3, 224.1e9), (3, 993e3, 100.5e9), (4, 1006e3, 57.2e9)]
)
def test_published_sizes(scale: int, params: float, macs: float) -> None:
    counts = count(create("smsr", scale=scale))
    assert counts.params == pytest.approx(params, rel=0.006)
    assert counts.macs_720p == pytest.approx(macs, rel=0.005)


def test_files(tmp_path: Path) -> None:
    network = create("smsr", n_modules=1, n_feats=8, scale=3)
    save_network(network, tmp_path / "a.safetensors")
    again = read_network(tmp_path / "a.safetensors")
    x = torch.rand(1, 3, 5, 5)
    with torch.no_grad():
        assert torch.equal(again.module(x), network.module(x))
    fresh = build(network.card)
    shares = [m for m in fresh.module.modules() if isinstance(m, ChannelMask)]
    assert all(bool(((m.dense >= 0) & (m.dense <= 1)).all()) for m in shares)
    assert torch.equal(fresh.module.sub_mean.bias, network.module.sub_mean.bias)


def test_published_weights(shared_data: Path) -> None:
    network = load_network(shared_data / "weights" / "smsr" / "SMSR_X2_model_1000.pt")
    card = network.card
    assert (card.arch, card.scale, card.size_multiple, card.shapes) == ("smsr", 2, 1, {})
    assert card.history[-1]["assumed"] == []
    first = next(network.module.mask_modules())
    assert [int(mask().sum()) for mask in first.body.ch_mask] == [40, 55, 61, 64]


@pytest.mark.slow
def test_published_quality(shared_data: Path) -> None:
    network = load_network(shared_data / "weights" / "smsr" / "SMSR_X2_model_1000.pt")
    quality = evaluate(network, shared_data / "benchmark" / "Set5", 2, progress=False)
    assert abs(quality.psnr - 37.991) < 0.005
