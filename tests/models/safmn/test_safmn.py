"""SAFMN: published names, and its formulas with the adaptive pooling of the published code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def small(scale: int = 2, n_levels: int = 3) -> Network:
    torch.manual_seed(0)
    config = {"n_blocks": 2, "n_feats": 12, "hidden_feats": 7, "n_levels": n_levels}
    network = create("safmn", scale=scale, **config)
    with torch.no_grad():
        for name, tensor in network.module.named_parameters():
            if "norm" in name:
                tensor += torch.randn_like(tensor) / 3
    return network


def published(tensors: Tensors, x: Tensor, n_levels: int) -> Tensor:
    """The network in float64, from the published names alone."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def conv(name: str, y: Tensor, groups: int = 1) -> Tensor:
        weight = t[f"{name}.weight"]
        return functional.conv2d(
            y, weight, t[f"{name}.bias"], padding=weight.shape[-1] // 2, groups=groups
        )

    def norm(name: str, y: Tensor) -> Tensor:
        y = y.permute(0, 2, 3, 1)
        y = functional.layer_norm(y, y.shape[3:], t[f"{name}.weight"], t[f"{name}.bias"], 1e-6)
        return y.permute(0, 3, 1, 2)

    x = x.double()
    height, width = x.shape[2:]
    y = first = conv("to_feat", x)
    for i in range(2):
        name, parts = f"feats.{i}", []
        z = norm(f"{name}.norm1", y)
        for level, part in enumerate(z.split(12 // n_levels, 1)):
            size = (height // 2**level, width // 2**level)
            pooled = functional.adaptive_max_pool2d(part, size)
            pooled = conv(f"{name}.safm.mfr.{level}", pooled, groups=pooled.shape[1])
            parts.append(functional.interpolate(pooled, (height, width)))
        gate = conv(f"{name}.safm.aggr", torch.cat(parts, 1))
        y = y + z * gate * (1 + torch.erf(gate / 2**0.5)) / 2
        z = conv(f"{name}.ccm.ccm.0", norm(f"{name}.norm2", y))
        y = y + conv(f"{name}.ccm.ccm.2", z * (1 + torch.erf(z / 2**0.5)) / 2)
    y = conv("to_img.0", y + first)
    return functional.pixel_shuffle(y, int((y.shape[1] / 3) ** 0.5))


def load(tensors: Tensors, folder: Path) -> Network:
    torch.save({"params_ema": tensors}, folder / "a.pth")
    return load_network(folder / "a.pth")


@pytest.mark.parametrize(("scale", "n_levels"), [(2, 3), (3, 4), (4, 1)])
def test_published_names_and_numbers(scale: int, n_levels: int, tmp_path: Path) -> None:
    original = small(scale, n_levels)
    tensors = dict(original.module.state_dict())
    read = load(tensors, tmp_path)
    assert {**dict(read.card), "history": []} == dict(original.card)
    assert read.card.size_multiple == 2 ** (n_levels - 1)
    x = torch.rand(2, 3, 8, 24)
    with torch.no_grad():
        found = read.module.double()(x.double())
    torch.testing.assert_close(found, published(tensors, x, n_levels))


def test_pruned_by_others(tmp_path: Path) -> None:
    """Mixers of other widths than their siblings have."""
    tensors = dict(small().module.state_dict())
    for kind in ("weight", "bias"):
        tensors[f"feats.1.ccm.ccm.0.{kind}"] = tensors[f"feats.1.ccm.ccm.0.{kind}"][2:]
    tensors["feats.1.ccm.ccm.2.weight"] = tensors["feats.1.ccm.ccm.2.weight"][:, 2:]
    read = load(tensors, tmp_path)
    assert (read.card.widths["feats.1.ccm.ccm.0"], read.card.config["hidden_feats"]) == (5, 7)
    x = torch.rand(1, 3, 12, 8)
    with torch.no_grad():
        found = read.module.double()(x.double())
    torch.testing.assert_close(found, published(tensors, x, 3))


def test_how_far_it_looks() -> None:
    """No pixel beyond half the receptive field changes an output."""
    network = small(n_levels=2)
    half = network.card.receptive_field // 2
    module, x = network.module.double(), torch.rand(1, 3, 64, 64).double()
    other = x.clone()
    other[:, :, :, 40:] = torch.rand(1, 3, 64, 24)
    with torch.no_grad():
        changed = (module(x) != module(other)).any(1)[0].any(0).nonzero()[0].item()
    assert 40 - half <= changed / 2 < 40


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("feats.1.norm2.bias", None, r"'feats\.1\.norm2\.bias' is missing"),
        ("feats.1.norm2.weight", (11,), "12 is needed where it has 11"),
        ("feats.0.safm.mfr.1.weight", (3, 1, 3, 3), "4 is needed where it has 3"),
        ("feats.0.safm.mfr.3.weight", (3, 1, 3, 3), "'feats.0.safm.mfr.3.bias' is missing"),
        ("feats.0.safm.mfr.4.weight", (3, 1, 3, 3), "cannot be shared out evenly to 5 levels"),
        ("feats.1.ccm.ccm.2.weight", (12, 6, 1, 1), "7 is needed where it has 6"),
        ("to_img.0.weight", (13, 12, 3, 3), "has 13 output channels"),
        ("norm.gamma", (1, 12, 1, 1), "is not part of safmn"),
    ],
)
def test_wrong_tensors(
    name: str, shape: tuple[int, ...] | None, message: str, tmp_path: Path
) -> None:
    tensors = dict(small().module.state_dict())
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.rand(shape)
    with pytest.raises(UserError, match=message):
        load(tensors, tmp_path)


def test_channels_that_cannot_be_shared_out() -> None:
    with pytest.raises(UserError, match="13 cannot be shared out to 4"):
        create("safmn", n_feats=13)
