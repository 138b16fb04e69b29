"""FSRCNN's files, under both names of its layers, against a transposed convolution by zeros."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict

Tensors = dict[str, Tensor]
WIDTHS = (8, 4, 5, 3, 6)  # extraction, shrinking, two mapping layers, expanding


def published(channels: int = 1) -> Tensors:
    torch.manual_seed(0)
    names = ["first_part.0", *(f"mid_part.{2 * i}" for i in range(4))]
    tensors: Tensors = {}
    before = channels
    for name, width, side in zip(names, WIDTHS, (5, 1, 3, 3, 1), strict=True):
        part, _, number = name.partition(".")
        tensors[f"{name}.weight"] = torch.randn(width, before, side, side) / before**0.5 / side
        tensors[f"{name}.bias"] = torch.randn(width) / 10
        tensors[f"{part}.{int(number) + 1}.weight"] = torch.rand(width)
        before = width
    tensors["last_part.weight"] = torch.randn(before, channels, 9, 9) / 10
    tensors["last_part.bias"] = torch.randn(channels) / 10
    return tensors


def by_stages(tensors: Tensors) -> Tensors:
    """The same under the paper's names of the stages."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        part, number, leaf = re.fullmatch(r"(\w+?)(?:\.(\d+))?\.(\w+)", name).groups()  # type: ignore[union-attr]
        i = int(number or 0)
        if part == "first_part":
            found[f"feature_extraction.{i}.{leaf}"] = tensor
        elif part == "last_part":
            found[f"deconv.{leaf}"] = tensor
        else:
            stage, first = ("shrink", 0) if i < 2 else ("map", 2) if i < 6 else ("expand", 6)
            found[f"{stage}.{i - first}.{leaf}"] = tensor
    return found


def by_zeros(tensors: Tensors, x: Tensor, scale: int) -> Tensor:
    """In float64; the last layer as a convolution of the image with zeros between its pixels."""
    numbers = {name: tensor.double() for name, tensor in tensors.items()}
    for name in ["first_part.0", *(f"mid_part.{2 * i}" for i in range(4))]:
        weight = numbers[f"{name}.weight"]
        x = functional.conv2d(x, weight, numbers[f"{name}.bias"], padding=weight.shape[-1] // 2)
        part, _, number = name.partition(".")
        slope = numbers[f"{part}.{int(number) + 1}.weight"][:, None, None]
        x = torch.where(x > 0, x, slope * x)
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * scale, w * scale)
    spread[..., ::scale, ::scale] = x
    weight = numbers["last_part.weight"].flip(2, 3).transpose(0, 1)
    return functional.conv2d(spread, weight, numbers["last_part.bias"], padding=4)


@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (3, 3), (4, 1)])
@pytest.mark.parametrize("stages", [False, True])
def test_files_compute_what_the_paper_says(scale: int, channels: int, stages: bool) -> None:
    tensors = published(channels)
    named = by_stages(tensors) if stages else tensors
    network = assemble(StateDict(named), "file.pth", scale=scale).network
    assert (network.card.arch, network.card.scale) == ("fsrcnn", scale)
    assert tuple(network.card.widths.values()) == (*WIDTHS, channels)
    x = torch.rand(2, channels, 7, 11, dtype=torch.float64)
    with torch.no_grad():
        y = network.module.double()(x)
    assert torch.allclose(y, by_zeros(tensors, x, scale), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "do not show by which factor they upscale; pass --scale 2, 3 or 4"),
        ({"last_part.weight": None}, "'last_part.weight' is missing"),
        ({"mid_part.3.weight": torch.rand(1)}, r"shape \[1\], but 5 is needed"),
        ({"mid_part.2.weight": torch.rand(5, 4, 1, 1)}, "3 is needed where it has 1"),
        ({"mid_part.8.weight": torch.rand(6, 6, 3, 3)}, "is missing"),
        ({"map.0.weight": torch.rand(5, 4, 3, 3)}, "'map.0.weight' .* not part of fsrcnn"),
    ],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {k: v for k, v in (published() | change).items() if v is not None}
    with pytest.raises(UserError, match=message):
        assemble(StateDict(tensors), "file.pth")
