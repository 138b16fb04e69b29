"""Files of RRDBNet: three namings, any factor, pruned or damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import Assembled, assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def made(**config: Any) -> Network:
    network = create("rrdbnet", **{"n_blocks": 2, "n_feats": 6, "growth": 4, **config})
    for tensor in network.module.parameters():
        tensor.data.normal_(0, 0.2)
    return network


def of_2018(tensors: Tensors, n_blocks: int, doublings: int) -> Tensors:
    """Under the names of ESRGAN's code of 2018."""
    top = {"conv_first": 0, "conv_hr": 3 * doublings + 2, "conv_last": 3 * doublings + 4}
    top |= {f"conv_up{i}": 3 * i for i in range(1, doublings + 1)}
    named = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if match := re.fullmatch(r"body\.(\d+)\.rdb(\d)\.(conv\d)(x1)?", layer):
            inner = f"{match[3]}x1" if match[4] else f"{match[3]}.0"
            layer = f"model.1.sub.{match[1]}.RDB{match[2]}.{inner}"
        else:
            layer = f"model.1.sub.{n_blocks}" if layer == "conv_body" else f"model.{top[layer]}"
        named[f"{layer}.{kind}"] = tensor
    return named


def later(tensors: Tensors) -> Tensors:
    """Under the names of ESRGAN's later code."""
    rules = {
        r"^body\.(\d+)\.rdb": r"RRDB_trunk.\1.RDB",
        r"^conv_body": "trunk_conv",
        r"^conv_up": "upconv",
        r"^conv_hr": "HRconv",
    }
    named = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        named[name] = tensor
    return named


def read(tensors: Tensors, **options: Any) -> Assembled:
    return assemble(StateDict(dict(tensors)), "file.pth", **options)


def reference(t: Tensors, x: Tensor, n_blocks: int, doublings: int) -> Tensor:
    """The network by the paper's formulas, on the tensors of 2018, in float64."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = t[f"{name}.weight"].double(), t.get(f"{name}.bias")
        return F.conv2d(x, weight, None if bias is None else bias.double(), padding="same")

    def active(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    first = x = conv("model.0", x)
    for block in range(n_blocks):
        y = x
        for number in (1, 2, 3):
            place = f"model.1.sub.{block}.RDB{number}"
            one = active(conv(f"{place}.conv1.0", y))
            two = active(conv(f"{place}.conv2.0", torch.cat([y, one], 1)))
            plus = f"{place}.conv1x1.weight" in t
            two = two + conv(f"{place}.conv1x1", y) if plus else two
            three = active(conv(f"{place}.conv3.0", torch.cat([y, one, two], 1)))
            four = active(conv(f"{place}.conv4.0", torch.cat([y, one, two, three], 1)))
            four = four + two if plus else four
            y = y + 0.2 * conv(f"{place}.conv5.0", torch.cat([y, one, two, three, four], 1))
        x = x + 0.2 * y
    x = first + conv(f"model.1.sub.{n_blocks}", x)
    for i in range(1, doublings + 1):
        x = active(conv(f"model.{3 * i}", x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    x = active(conv(f"model.{3 * doublings + 2}", x))
    return conv(f"model.{3 * doublings + 4}", x)


@pytest.mark.parametrize(
    ("config", "doublings"),
    [
        ({"scale": 1}, 0),
        ({"scale": 2, "channels": 1}, 1),
        ({"scale": 4, "plus": True}, 2),
        ({"scale": 8, "channels": 4, "n_blocks": 1}, 3),
        ({"scale": 2, "unshuffle": 2}, 2),
        ({"scale": 1, "unshuffle": 4}, 2),
        ({"scale": 1, "unshuffle": 2, "channels": 1}, 1),
    ],
)
def test_every_naming_is_the_network_of_the_paper(config: dict[str, Any], doublings: int) -> None:
    original = made(**config)
    tensors = original.module.state_dict()
    n_blocks, unshuffle = config.get("n_blocks", 2), config.get("unshuffle", 1)
    old = of_2018(tensors, n_blocks, doublings)
    assert len(old) == len(tensors)
    x = torch.rand(1, original.card.channels, 8, 12, dtype=torch.float64)
    wanted = reference(old, F.pixel_unshuffle(x, unshuffle), n_blocks, doublings)
    assert wanted.shape[2] == 8 * original.card.scale
    for named in (old, later(tensors), tensors, {f"module.{k}": v for k, v in old.items()}):
        network = read(named).network
        assert network.card == original.card
        with torch.no_grad():
            assert torch.allclose(network.module.double()(x), wanted, rtol=0, atol=1e-9)


def test_published_file(shared_data: Path) -> None:
    path = shared_data / "weights" / "realesrgan" / "RealESRGAN_x4plus_anime_6B.pth"
    network = load_network(path)
    assert network.card.config == {
        "scale": 4, "n_blocks": 6, "n_feats": 64, "growth": 32, "unshuffle": 1, "channels": 3,
        "plus": False,
    }  # fmt: skip
    stored = torch.load(path, weights_only=True)["params_ema"]
    x = torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        wanted = reference(of_2018(stored, 6, 2), x.double(), 6, 2)
        assert torch.allclose(network.module(x).double(), wanted, rtol=0, atol=1e-5)


def test_every_width_may_be_another() -> None:
    tensors = made(n_blocks=1).module.state_dict()
    name = "body.0.rdb2.conv"
    for layer in ("weight", "bias"):
        tensors[f"{name}2.{layer}"] = tensors[f"{name}2.{layer}"][:3]  # one of four removed
    for i in (3, 4, 5):
        weight = tensors[f"{name}{i}.weight"]
        tensors[f"{name}{i}.weight"] = torch.cat([weight[:, :13], weight[:, 14:]], 1)
    result = read(of_2018(tensors, 1, 2))
    assert result.network.card.widths[f"{name}2"] == 3
    assert result.network.card.config["growth"] == 4
    assert "pruned from 4 channels, the widest layer left" in result.assumed
    x = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        wanted = reference(of_2018(tensors, 1, 2), x.double(), 1, 2)
        assert torch.allclose(result.network.module(x).double(), wanted, rtol=0, atol=1e-5)


def test_colours_made_of_grey() -> None:
    tensors = made(n_blocks=1).module.state_dict()
    tensors["conv_first.weight"] = tensors["conv_first.weight"][:, :1]
    result = read(tensors)
    assert result.network.card.channels == 3
    assert any("reads the grey" in note for note in result.assumed)
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    with torch.no_grad():
        wanted = reference(of_2018(tensors, 1, 2), grey, 1, 2)
        assert torch.allclose(result.network.module.double()(x), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_hr.weight": None}, "'conv_hr.weight' is missing"),
        ({"conv_first.weight": None}, "'conv_first.weight' is missing"),
        ({"conv_up1.weight": None, "conv_up1.bias": None}, "'conv_up1.weight' is missing"),
        ({"body.0.rdb3.conv4.weight": None}, "'body.0.rdb3.conv4.weight' is missing"),
        ({"body.1.rdb1.conv2.weight": torch.rand(4, 9, 3, 3)}, "10 is needed where it has 9"),
        ({"body.1.rdb1.conv5.bias": torch.rand(5)}, "6 is needed where it has 5"),
        ({"body.7.rdb1.conv1.weight": torch.rand(4, 6, 3, 3)}, "'body.2.rdb1.conv1.w.*missing"),
        ({"conv_first.weight": torch.rand(6, 2, 3, 3)}, "takes 2 channels .* and makes 3"),
        ({"conv_first.weight": torch.rand(6, 27, 3, 3)}, "takes 27 channels .* and makes 3"),
        ({"conv_last.weight": torch.rand(0, 6, 3, 3)}, "takes 3 channels .* and makes 0"),
        ({"conv_first.weight": torch.rand(6, 3)}, "has four dimensions"),
        (
            {"conv_first.weight": torch.rand(6, 48, 3, 3), "conv_up2.weight": None,
             "conv_up2.bias": None},
            "reduces its input 4 times and enlarges 2 times",
        ),
        (
            {"conv_first.weight": torch.rand(6, 5, 3, 3),
             "conv_last.weight": torch.rand(5, 6, 3, 3), "conv_last.bias": torch.rand(5)},
            "takes images of 5 channels",
        ),
        ({f"conv_up{i}.weight": torch.rand(6, 6, 3, 3) for i in (3, 4, 5)}
         | {f"conv_up{i}.bias": torch.rand(6) for i in (3, 4, 5)}, "no x32 upsampler"),
        ({"attention.weight": torch.rand(3)}, "'attention.weight' .* is not part of rrdbnet"),
    ],
)  # fmt: skip
def test_wrong_tensors(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {**made(scale=4).module.state_dict(), **change}
    with pytest.raises(UserError, match=message):
        read({name: tensor for name, tensor in tensors.items() if tensor is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.3.weight": "model.2.weight"}, "'conv_up1.weight' is missing"),
        ({"model.10.weight": "model.11.weight"}, r"'conv_(up|hr|last)\S*' is missing"),
        ({"model.1.sub.2.weight": "model.1.sub.4.weight"}, "is not part of rrdbnet|is missing"),
        ({"model.0.weight": "conv_first.weight"}, None),  # a name that means the same
    ],
)
def test_names_of_2018_that_are_others(change: dict[str, str], message: str | None) -> None:
    original = made(scale=4)
    tensors = of_2018(original.module.state_dict(), 2, 2)
    changed = {change.get(name, name): tensor for name, tensor in tensors.items()}
    if message is None:
        assert read(changed).network.card == original.card
        return
    with pytest.raises(UserError, match=message):
        read(changed)


def test_a_tensor_that_is_there_twice_is_not_dropped() -> None:
    tensors = of_2018(made(scale=4).module.state_dict(), 2, 2)
    with pytest.raises(UserError, match=r"'model.0.weight' .* is not part of rrdbnet"):
        read(tensors | {"conv_first.weight": tensors["model.0.weight"]})
