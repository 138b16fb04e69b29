"""Files of SRVGGNetCompact: any width, depth and factor, pruned or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def made(**config: Any) -> Network:
    network = create("srvggnet", **{"n_layers": 3, "n_feats": 6, **config})
    for tensor in network.module.parameters():
        tensor.data.normal_(0, 0.2)
    return network


def read(tensors: Tensors) -> Network:
    return assemble(StateDict(dict(tensors)), "file.pth").network


def reference(t: Tensors, x: Tensor, scale: int) -> Tensor:
    """The network by its description, in float64; PixelShuffle by its definition."""
    y, last = x, len([name for name in t if name.endswith(".bias")]) * 2 - 2
    for i in range(0, last + 1, 2):
        y = F.conv2d(y, t[f"body.{i}.weight"].double(), t[f"body.{i}.bias"].double(), padding=1)
        if i < last:
            y = torch.where(y > 0, y, y * t[f"body.{i + 1}.weight"].double()[:, None, None])
    n, _, height, width = x.shape
    y = y.view(n, -1, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    return (y + x[:, :, :, None, :, None]).reshape(n, -1, height * scale, width * scale)


@pytest.mark.parametrize(
    "config",
    [
        {"scale": 1},
        {"scale": 2, "channels": 1},
        {"scale": 3, "n_layers": 1},
        {"scale": 4, "channels": 4},
        {"scale": 8, "n_feats": 3},
    ],
)
def test_any_size(config: dict[str, Any]) -> None:
    original = made(**config)
    network = read(original.module.state_dict())
    card = network.card
    assert card == original.card
    assert card.receptive_field == measure_receptive_field(network.module, card.channels, 1)
    x = torch.rand(2, card.channels, 7, 9, dtype=torch.float64)
    wanted = reference(original.module.state_dict(), x, card.scale)
    with torch.no_grad():
        assert torch.allclose(network.module.double()(x), wanted, rtol=0, atol=1e-12)


def test_published_file(shared_data: Path) -> None:
    path = shared_data / "weights" / "realesrgan" / "realesr-animevideov3.pth"
    network = load_network(path)
    assert network.card.config == {"scale": 4, "n_layers": 16, "n_feats": 64, "channels": 3}
    x = torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        wanted = reference(torch.load(path, weights_only=True)["params"], x.double(), 4)
        assert torch.allclose(network.module(x).double(), wanted, rtol=0, atol=1e-5)


def test_every_width_may_be_another() -> None:
    tensors = dict(made(scale=2).module.state_dict())
    for name in ("body.2.weight", "body.2.bias", "body.3.weight"):
        tensors[name] = tensors[name][:4]
    tensors["body.4.weight"] = tensors["body.4.weight"][:, :4]
    network = read(tensors)
    assert network.card.widths["body.2"] == 4
    assert network.card.config["n_feats"] == 6
    x = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(network.module.double()(x), reference(tensors, x, 2), atol=1e-12)


RELUS = {f"body.{i}.weight": None for i in (1, 3, 5, 7)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.8.weight": None, "body.8.bias": None}, "'body.7.weight' .* four dimensions"),
        ({"body.4.weight": None}, "'body.4.weight' is missing"),
        ({"body.3.weight": None}, "'body.3.weight' is missing"),
        ({"body.3.weight": torch.rand(1)}, "6 is needed where it has 1"),
        ({"body.3.bias": torch.rand(6)}, "'body.3.bias' .* is not part of srvggnet"),
        ({"body.4.weight": torch.rand(6, 5, 3, 3)}, "6 is needed where it has 5"),
        ({"body.4.weight": torch.rand(6, 6, 5, 5)}, "3 is needed where it has 5"),
        ({"body.8.weight": torch.rand(13, 6, 3, 3)}, r"13 output channels, but .* 3\*scale\^2"),
        ({"body.8.weight": torch.rand(75, 6, 3, 3), "body.8.bias": torch.rand(75)}, "no x5"),
        ({"body.8.weight": torch.rand(0, 6, 3, 3), "body.8.bias": torch.rand(0)}, "non-empty"),
        ({"body.0.weight": torch.rand(6, 5, 3, 3)}, "takes images of 5 channels"),
        ({"body.900.weight": torch.rand(3)}, "'body.900.weight' .* is not part of srvggnet"),
        (RELUS, "fits no architecture"),
        ({"head.weight": torch.rand(3)}, "fits no architecture"),
    ],
)
def test_wrong_tensors(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {**made(scale=2).module.state_dict(), **change}
    with pytest.raises(UserError, match=message):
        read({name: tensor for name, tensor in tensors.items() if tensor is not None})
