"""ESPCN's files, under both names of its layers, against the formula of the paper."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict

Tensors = dict[str, Tensor]


def published(scale: int, channels: int, widths: tuple[int, ...]) -> Tensors:
    torch.manual_seed(0)
    sizes = [channels, *widths, channels * scale**2]
    tensors: Tensors = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        name = "last_part.0" if i == len(widths) else f"first_part.{2 * i}"
        side = 5 if i == 0 else 3
        tensors[f"{name}.weight"] = torch.randn(n_out, n_in, side, side) / n_in**0.5 / side
        tensors[f"{name}.bias"] = torch.randn(n_out) / 10
    return tensors


def by_the_paper(tensors: Tensors, x: Tensor) -> Tensor:
    """Equations 1 to 4; the periodic shuffling one output phase at a time."""
    channels = x.shape[1]
    *hidden, last = [name.removesuffix(".weight") for name in tensors if name.endswith("weight")]
    for name in (*hidden, last):
        weight, bias = (tensors[f"{name}.{kind}"].double() for kind in ("weight", "bias"))
        x = functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        x = x if name == last else torch.tanh(x)
    scale = math.isqrt(x.shape[1] // channels)
    y = x.new_empty(x.shape[0], channels, x.shape[2] * scale, x.shape[3] * scale)
    for row in range(scale):
        for column in range(scale):
            y[..., row::scale, column::scale] = x[:, row * scale + column :: scale**2]
    return y


@pytest.mark.parametrize(
    ("scale", "channels", "widths"), [(3, 1, (8, 4)), (2, 3, (6,)), (4, 1, (5, 7, 3))]
)
@pytest.mark.parametrize("other_names", [False, True])
def test_files_compute_what_the_paper_says(
    scale: int, channels: int, widths: tuple[int, ...], other_names: bool
) -> None:
    tensors = published(scale, channels, widths)
    named = tensors
    if other_names:
        renamed = {"first_part": "feature_maps", "last_part": "sub_pixel"}
        named = {re.sub(r"^\w+", lambda m: renamed[m[0]], k): v for k, v in tensors.items()}
    found = assemble(StateDict(named), "file.pth")
    card = found.network.card
    assert (card.arch, card.scale, card.channels) == ("espcn", scale, channels)
    assert card.luma_only is (channels == 1)
    assert list(card.widths.values()) == [*widths, channels * scale**2]
    x = torch.rand(2, channels, 9, 13, dtype=torch.float64)
    with torch.no_grad():
        y = found.network.module.double()(x)
    assert torch.allclose(y, by_the_paper(tensors, x), rtol=0, atol=1e-12)
    assert "tanh True, as published" in found.assumed  # no photograph tells it of random weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"last_part.0.weight": torch.rand(8, 4, 3, 3)},
            "8 output channels, but the last .* 1.scale",
        ),
        ({"first_part.0.weight": torch.rand(8, 7, 5, 5)}, "takes images of 7 channels"),
        ({"first_part.0.weight": torch.rand(8, 1, 3, 3)}, "5 is needed where it has 3"),
        ({"first_part.2.weight": torch.rand(4, 7, 3, 3)}, "8 is needed where it has 7"),
        ({"first_part.2.bias": None}, "'first_part.2.bias' is missing"),
        ({"first_part.3.weight": torch.rand(4)}, "'first_part.3.weight' .* not part of espcn"),
    ],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    tensors = {k: v for k, v in (published(2, 1, (8, 4)) | change).items() if v is not None}
    with pytest.raises(UserError, match=message):
        assemble(StateDict(tensors), "file.pth")
