"""SESR's files, expanded and collapsed, against the formulas of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.folding import folded
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.network import Network

Tensors = dict[str, Tensor]
BLOCKS = ("conv_first", "residual_block.0", "residual_block.1", "conv_last")


def published(expanded: bool, *, inner: int = 6, prelu: bool = False, channels: int = 3) -> Tensors:
    """x2, two blocks; ``inner`` channels between them where they are collapsed."""
    torch.manual_seed(0)
    sizes = [(channels, 6), (6, inner), (inner, 6), (6, channels * 4)]
    tensors: Tensors = {
        "anchor.net.weight": torch.eye(channels).repeat_interleave(4, 0)[..., None, None],
        "anchor.net.bias": torch.zeros(channels * 4),
    }
    for i, (name, (n_in, n_out)) in enumerate(zip(BLOCKS, sizes, strict=True)):
        side, inside = 5 if i in (0, 3) else 3, 9 + i
        if expanded:
            tensors[f"{name}.conv_expand.weight"] = torch.randn(inside, n_in, side, side) / 9
            tensors[f"{name}.conv_squeeze.weight"] = torch.randn(n_out, inside, 1, 1) / 3
            tensors[f"{name}.conv_squeeze.bias"] = torch.randn(n_out) / 9
        else:
            tensors[f"{name}.conv_expand.weight"] = torch.randn(n_out, n_in, side, side) / 9
            tensors[f"{name}.conv_expand.bias"] = torch.randn(n_out) / 9
        if prelu and name != "conv_last":
            tensors[f"{name}.activation.weight"] = torch.rand(1)
    return tensors


def by_the_paper(tensors: Tensors, x: Tensor) -> Tensor:
    numbers = {name: tensor.double() for name, tensor in tensors.items()}

    def block(name: str, y: Tensor) -> Tensor:
        weight = numbers[f"{name}.conv_expand.weight"]
        bias = numbers.get(f"{name}.conv_expand.bias")
        z = functional.conv2d(y, weight, bias, padding=weight.shape[-1] // 2)
        if f"{name}.conv_squeeze.weight" in numbers:
            squeeze = numbers[f"{name}.conv_squeeze.weight"][:, :, 0, 0]
            z = torch.einsum("om,nmhw->nohw", squeeze, z)
            z = z + numbers[f"{name}.conv_squeeze.bias"][:, None, None]
            z = z + y if name.startswith("residual") else z
        slope = numbers.get(f"{name}.activation.weight", torch.zeros(1))
        return z if name == "conv_last" else torch.where(z > 0, z, slope * z)

    first = block("conv_first", x)
    y = block(BLOCKS[3], block(BLOCKS[2], block(BLOCKS[1], first)) + first)
    nearest = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return functional.pixel_shuffle(y, 2) + nearest


def run(tensors: Tensors, **options: Any) -> Network:
    return assemble(StateDict(dict(tensors)), "file.pth", **options).network


@pytest.mark.parametrize(
    "options",
    [{"expanded": True}, {"expanded": True, "prelu": True}, {"expanded": False, "inner": 4},
     {"expanded": False, "channels": 1, "prelu": True}],
)  # fmt: skip
def test_files_compute_what_the_paper_says(options: dict[str, Any]) -> None:
    tensors = published(**options)
    network = run(tensors)
    config = network.card.config
    assert (network.card.arch, network.card.scale, config["n_blocks"]) == ("sesr", 2, 2)
    assert (config["expanded"], config["n_feats"]) == (options["expanded"], 6)
    assert bool(network.card.shapes) is (options.get("inner") == 4 or options["expanded"])
    x = torch.rand(2, network.card.channels, 7, 9, dtype=torch.float64)
    expected = by_the_paper(tensors, x)
    network.module.double()
    with torch.no_grad():
        assert torch.allclose(network.module(x), expected, rtol=0, atol=1e-12)
        assert torch.allclose(folded(network).module(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("expanded", "change", "message"),
    [
        (True, {"conv_last.conv_squeeze.bias": None}, "'conv_last.conv_squeeze.bias' is missing"),
        (True, {"residual_block.1.conv_squeeze.weight": None}, "is missing"),
        (True, {"residual_block.0.conv_expand.weight": torch.rand(10, 5, 3, 3)}, "6 is needed"),
        (True, {"residual_block.0.conv_expand.bias": torch.rand(10)}, "not part of sesr"),
        (False, {"residual_block.1.conv_expand.weight": torch.rand(5, 6, 3, 3)}, "6 is needed"),
        (False, {"anchor.net.weight": torch.rand(12, 3, 3, 3)}, "1 is needed where it has 3"),
        (False, {"conv_last.conv_expand.weight": torch.rand(10, 6, 5, 5)}, "10 output channels"),
        (False, {"conv_first.conv_expand.weight": torch.rand(6, 9, 5, 5)}, "images of 9 channels"),
        (False, {"conv_first.conv_squeeze.weight": torch.rand(6, 6, 1, 1)}, "is missing"),
    ],
)
def test_other_files_are_refused(
    expanded: bool, change: dict[str, Tensor | None], message: str
) -> None:
    tensors = {k: v for k, v in (published(expanded) | change).items() if v is not None}
    with pytest.raises(UserError, match=message):
        run(tensors)
