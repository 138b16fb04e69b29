"""Files of SPAN: branches are folded, and nothing else is taken for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import Assembled, assemble
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]

MEAN = torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).view(1, 3, 1, 1)


def published(
    scale: int = 2, channels: int = 3, n_blocks: int = 2, norm: bool = True, width: int = 5
) -> Tensors:
    """Random branches under the published names, with ``eval_conv`` that nobody brought up to date.

    The last convolution of each block but one has more channels inside than the others.
    """
    tensors: Tensors = {} if norm else {"no_norm": torch.zeros(1)}

    def conv(name: str, n_out: int, n_in: int, kernel: int) -> None:
        tensors[f"{name}.weight"] = torch.randn(n_out, n_in, kernel, kernel) / n_in
        tensors[f"{name}.bias"] = torch.randn(n_out) / 4

    def branches(name: str, n_out: int, n_in: int) -> None:
        conv(f"{name}.sk", n_out, n_in, 1)
        conv(f"{name}.conv.0", 2 * n_in, n_in, 1)
        conv(f"{name}.conv.1", 2 * n_out, 2 * n_in, 3)
        conv(f"{name}.conv.2", n_out, 2 * n_out, 1)
        conv(f"{name}.eval_conv", n_out, n_in, 3)

    branches("conv_1", width, channels)
    for i in range(1, n_blocks + 1):
        for j, (n_out, n_in) in enumerate(((width + 1, width), (width - 1, width + 1))):
            branches(f"block_{i}.c{j + 1}_r", n_out, n_in)
        branches(f"block_{i}.c3_r", width, width - 1)
    branches("conv_2", width + 2, width)
    conv("conv_cat", width, 4 * width + 3, 1)
    conv("upsampler.0", channels * scale**2, width, 3)
    return tensors


def reference(t: Tensors, x: Tensor, scale: int, n_blocks: int) -> Tensor:
    """The published network as it is trained, in float64: every branch is computed."""

    def conv(name: str, x: Tensor, padding: int = 0) -> Tensor:
        weight, bias = t[f"{name}.weight"].double(), t[f"{name}.bias"].double()
        return F.conv2d(x, weight, bias, padding=padding)

    def branches(name: str, x: Tensor) -> Tensor:
        y = F.pad(x, (1, 1, 1, 1))
        for i in range(3):
            y = conv(f"{name}.conv.{i}", y)
        return y + conv(f"{name}.sk", x)

    x = x if "no_norm" in t else (x - MEAN) * 255
    start = y = branches("conv_1", x)
    outs, insides = [], []
    for i in range(1, n_blocks + 1):
        first = F.silu(branches(f"block_{i}.c1_r", y))
        third = branches(f"block_{i}.c3_r", F.silu(branches(f"block_{i}.c2_r", first)))
        y = (third + y) * (torch.sigmoid(third) - 0.5)
        outs.append(y)
        insides.append(first)
    y = conv("conv_cat", torch.cat([start, branches("conv_2", y), outs[0], insides[-1]], 1))
    return F.pixel_shuffle(conv("upsampler.0", y, padding=1), scale)


def read(tensors: Tensors) -> Assembled:
    return assemble(StateDict(dict(tensors)), "file.pth")


@pytest.mark.parametrize(
    "config",
    [
        {"scale": 4},
        {"scale": 1, "norm": False},
        {"scale": 3, "channels": 1, "norm": False, "n_blocks": 1},
        {"scale": 2, "n_blocks": 3},
    ],
)
@pytest.mark.parametrize("kept", ["branches and the convolution", "branches"])
def test_branches_are_folded(config: dict[str, Any], kept: str) -> None:
    tensors = published(**config)
    found = {k: v for k, v in tensors.items() if "and" in kept or ".eval_conv." not in k}
    network = read(found).network
    card = network.card
    scale, n_blocks = card.scale, config.get("n_blocks", 2)
    assert card.config == {
        "scale": config["scale"], "n_blocks": n_blocks, "n_feats": 7,
        "channels": config.get("channels", 3), "norm": config.get("norm", True),
    }  # fmt: skip
    assert card.receptive_field == measure_receptive_field(network.module, card.channels, 1)
    x = torch.rand(1, card.channels, 9, 8, dtype=torch.float64)
    wanted = reference(tensors, x, scale, n_blocks)
    with torch.no_grad():
        found_y = network.module.double()(x)
    assert float((found_y - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_a_file_of_single_convolutions() -> None:
    tensors = published()
    result = read(tensors)
    assert "the input is normalised as published (DIV2K mean, times 255)" in result.assumed
    single: Tensors = {}
    for name, tensor in result.network.module.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if owner in ("", "conv_cat", "upsampler.0"):
            single |= {name: tensor} if owner else {}
        else:
            single[f"{owner}.eval_conv.{kind}"] = tensor
    again = read(single).network
    assert again.card == result.network.card
    for name, tensor in again.module.state_dict().items():
        assert torch.equal(tensor, result.network.module.state_dict()[name])


def test_the_fold_is_exact_but_for_one_rounding() -> None:
    """Numbers that float32 holds only if nothing is rounded on the way."""
    tensors = published(width=4)
    for branch in ("sk", "conv.0", "conv.1", "conv.2"):
        for kind in ("weight", "bias"):
            tensor = tensors[f"conv_2.{branch}.{kind}"]
            tensors[f"conv_2.{branch}.{kind}"] = torch.randint_like(tensor, -3, 4) * (1 + 2**-12)
    tensors["conv_2.conv.2.weight"] *= 2**-12
    folded = read(tensors).network.module.state_dict()["conv_2.weight"]
    x = torch.zeros(1, 4, 3, 3, dtype=torch.float64)
    x[0, 2, 1, 1] = 1
    y = F.pad(x, (1, 1, 1, 1))
    for i in range(3):
        y = F.conv2d(y, tensors[f"conv_2.conv.{i}.weight"].double())
    y = y + F.conv2d(x, tensors["conv_2.sk.weight"].double())
    assert torch.equal(folded[:, 2], y[0].flip(1, 2).float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_2.c1_r.sk.bias": None}, "'block_2.c1_r.sk.bias' is missing"),
        ({"block_2.c1_r.conv.1.weight": None}, "'block_2.c1_r.conv.1.weight' is missing"),
        ({"conv_1.sk.weight": None}, "'conv_1.weight' is missing"),
        ({"block_1.c2_r.conv.1.weight": torch.rand(1, 12, 3, 3)}, "1 is needed where it has 8"),
        ({"block_1.c2_r.conv.1.bias": torch.rand(1)}, "8 is needed where it has 1"),
        ({"block_1.c2_r.conv.1.weight": torch.rand(8, 12, 5, 5)}, "3 is needed where it has 5"),
        ({"block_1.c2_r.conv.2.bias": torch.rand(1)}, "4 is needed where it has 1"),
        ({"block_1.c2_r.sk.weight": torch.rand(4, 1, 1, 1)}, "6 is needed where it has 1"),
        ({"block_1.c2_r.weight": torch.rand(4, 6, 3, 3)}, "not part of span|is missing"),
        ({"conv_2.conv.1.bias": torch.ones(14, dtype=torch.int64)}, "whole numbers"),
        ({"conv_cat.weight": torch.rand(5, 22, 1, 1)}, "23 is needed where it has 22"),
        ({"upsampler.0.weight": torch.rand(13, 5, 3, 3)}, r"SPAN .* has 3\*scale\^2"),
        ({"no_norm": torch.zeros(2)}, "1 is needed where it has 2"),
        ({"block_9.c1_r.sk.weight": torch.rand(5, 5, 1, 1)}, "'block_3.c1_r.* is missing"),
        ({"esa.conv1.weight": torch.rand(5, 5, 1, 1)}, "'esa.conv1.weight' .* not part of span"),
    ],
)
def test_wrong_tensors(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {**published(), **change}
    with pytest.raises(UserError, match=message):
        read({name: tensor for name, tensor in tensors.items() if tensor is not None})


def test_grey_images_are_not_normalised_by_a_colour() -> None:
    with pytest.raises(UserError, match="'mean' is missing"):
        read(published(channels=1))
    normalised = create("span", channels=1, n_blocks=1, n_feats=4)
    assert float(normalised.module.mean) == pytest.approx(float(MEAN.mean()))  # type: ignore[arg-type]
