"""Files of SRResNet: any width, depth and factor, pruned or damaged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.network import Network
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def made(**config: Any) -> Network:
    return create("srresnet", **{"n_blocks": 2, "n_feats": 6, **config})


def read(tensors: Tensors) -> Network:
    return assemble(StateDict(dict(tensors)), "file.pth").network


def reference(t: Tensors, x: Tensor, n_blocks: int, factors: tuple[int, ...]) -> Tensor:
    """The network layer by layer, in float64."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = t[f"model.{name}.weight"].double(), t[f"model.{name}.bias"].double()
        return F.conv2d(x, weight, bias, padding=1)

    first = x = conv("0", x)
    for i in range(n_blocks):
        x = x + conv(f"1.sub.{i}.res.2", conv(f"1.sub.{i}.res.0", x).clamp(min=0))
    x = first + conv(f"1.sub.{n_blocks}", x)
    place = 2
    for factor in factors:
        x = F.pixel_shuffle(conv(str(place), x), factor).clamp(min=0)
        place += 3
    return conv(str(place + 2), conv(str(place), x).clamp(min=0))


@pytest.mark.parametrize(
    ("config", "factors"),
    [
        ({"scale": 1}, ()),
        ({"scale": 2, "channels": 1}, (2,)),
        ({"scale": 3, "n_blocks": 1}, (3,)),
        ({"scale": 4}, (2, 2)),
        ({"scale": 8}, (2, 2, 2)),
    ],
)
def test_any_size(config: dict[str, Any], factors: tuple[int, ...]) -> None:
    original = made(**config)
    network = read(original.module.state_dict())
    card = network.card
    assert card == original.card
    assert card.receptive_field == measure_receptive_field(network.module, card.channels, 1)
    x = torch.rand(1, card.channels, 7, 9, dtype=torch.float64)
    wanted = reference(original.module.state_dict(), x, card.config["n_blocks"], factors)
    with torch.no_grad():
        assert torch.allclose(network.module.double()(x), wanted, rtol=0, atol=1e-12)


def test_every_width_may_be_another() -> None:
    tensors = dict(made(scale=2).module.state_dict())
    tensors["model.2.weight"] = tensors["model.2.weight"][:20]
    tensors["model.2.bias"] = tensors["model.2.bias"][:20]
    tensors["model.5.weight"] = tensors["model.5.weight"][:, :5]
    network = read(tensors)
    assert network.card.widths["model.2"] == 20
    x = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(network.module.double()(x), reference(tensors, x, 2, (2,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.8.weight": None}, "'model.8.weight' is missing"),
        ({"model.1.sub.1.res.2.bias": None}, "'model.1.sub.1.res.2.bias' is missing"),
        ({"model.10.weight": None, "model.10.bias": None}, "'model.7.weight' is missing"),
        ({"model.1.sub.0.res.1.weight": torch.rand(6)}, "not part of srresnet"),
        ({"model.2.weight": torch.rand(18, 6, 3, 3)}, "no upsampler of SRResNet"),
        ({"model.1.sub.0.res.2.weight": torch.rand(6, 5, 3, 3)}, "needed where it has 5"),
        ({"model.0.weight": torch.rand(6, 2, 3, 3)}, "takes images of 2 channels"),
        ({"model.99.weight": torch.rand(3, 6, 3, 3)}, "is missing|not part of srresnet"),
    ],
)
def test_wrong_tensors(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {**made(scale=4).module.state_dict(), **change}
    with pytest.raises(UserError, match=message):
        read({name: tensor for name, tensor in tensors.items() if tensor is not None})
