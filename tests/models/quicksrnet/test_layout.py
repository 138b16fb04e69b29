"""QuickSRNet's files against the formula, and those that are none."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def published(scale: int, widths: tuple[int, ...], anchor: bool, channels: int = 3) -> Tensors:
    torch.manual_seed(0)
    tensors: Tensors = {}
    for i, (n_in, n_out) in enumerate(pairwise([channels, *widths, channels * scale**2])):
        name = "conv_last" if i == len(widths) else f"cnn.{2 * i}"
        tensors[f"{name}.weight"] = torch.randn(n_out, n_in, 3, 3) / n_in**0.5 / 2
        tensors[f"{name}.bias"] = torch.rand(n_out) / 2
    if anchor:
        tensors["anchor.net.weight"] = torch.rand(channels * scale**2, channels, 1, 1)
        tensors["anchor.net.bias"] = torch.rand(channels * scale**2) / 10
    return tensors


def by_the_paper(tensors: Tensors, x: Tensor, scale: int) -> Tensor:
    y = x
    for name in [k.removesuffix(".weight") for k in tensors if k.endswith("weight")]:
        weight, bias = (tensors[f"{name}.{kind}"].double() for kind in ("weight", "bias"))
        if name == "anchor.net":
            y = y + torch.einsum("oi,nihw->nohw", weight[..., 0, 0], x) + bias[:, None, None]
        else:
            y = functional.conv2d(y, weight, bias, padding=1)
            y = y if name == "conv_last" else y.clamp(0, 1)
    return functional.pixel_shuffle(y.clamp(0, 1), scale)


@pytest.mark.parametrize(
    ("scale", "widths", "anchor", "channels"),
    [(2, (8, 5, 8), False, 3), (3, (6,), True, 3), (4, (4, 4), True, 1)],
)
def test_files_compute_what_the_paper_says(
    scale: int, widths: tuple[int, ...], anchor: bool, channels: int
) -> None:
    tensors = published(scale, widths, anchor, channels)
    network = assemble(StateDict(dict(tensors)), "file.pth").network
    card = network.card
    assert (card.arch, card.scale, card.channels) == ("quicksrnet", scale, channels)
    assert card.config["n_layers"] == len(widths)
    x = torch.rand(2, channels, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        y = network.module.double()(x)
    assert torch.allclose(y, by_the_paper(tensors, x, scale), rtol=0, atol=1e-12)
    assert float(((y > 0) & (y < 1)).double().mean()) > 0.05  # not all of it is clipped


def test_untrained_ones_make_nearly_the_nearest_neighbour_image() -> None:
    x = torch.rand(1, 3, 12, 12)
    nearest = functional.interpolate(x, scale_factor=2)
    for anchor in (False, True):
        torch.manual_seed(0)
        with torch.no_grad():
            y = create("quicksrnet", anchor=anchor).module(x)
        assert float((y - nearest).abs().mean()) < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_last.weight": torch.rand(27, 20, 1, 1)}, "upscales by 1.5, as its 1x1 last"),
        ({"conv_last.weight": torch.rand(14, 5, 3, 3)}, "14 output channels, but the last conv"),
        ({"cnn.2.weight": None}, "'cnn.2.weight' is missing"),
        ({"cnn.2.weight": torch.rand(5, 7, 3, 3)}, "8 is needed where it has 7"),
        ({"cnn.3.weight": torch.rand(5)}, "'cnn.3.weight' .* not part of quicksrnet"),
        ({"anchor.net.bias": torch.rand(12)}, "'anchor.net.weight' is missing"),
    ],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    tensors = published(2, (8, 5), anchor=False)
    tensors = {k: v for k, v in (tensors | change).items() if v is not None}
    with pytest.raises(UserError, match=message):
        assemble(StateDict(tensors), "file.pth")
