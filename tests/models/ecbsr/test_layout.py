"""ECBSR's files, expanded and folded, against the branches of the paper, one by one."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.folding import folded
from srdeploy.models.importing.assemble import assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]
EDGES = {
    "sbx": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
    "sby": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    "lpl": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}


def published(widths: list[int], expanded: bool = True, prelu: bool = True) -> Tensors:
    """From the image's channels to those of the last block."""
    torch.manual_seed(0)
    tensors: Tensors = {}
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        block = f"backbone.{i}"
        tensors[f"{block}.conv3x3.weight"] = torch.randn(n_out, n_in, 3, 3) / 9
        tensors[f"{block}.conv3x3.bias"] = torch.randn(n_out) / 9
        if expanded:
            between = 2 * n_out
            tensors |= {
                f"{block}.conv1x1_3x3.k0": torch.randn(between, n_in, 1, 1) / 3,
                f"{block}.conv1x1_3x3.b0": torch.randn(between) / 3,
                f"{block}.conv1x1_3x3.k1": torch.randn(n_out, between, 3, 3) / 9,
                f"{block}.conv1x1_3x3.b1": torch.randn(n_out) / 9,
            }
            for edge, rows in EDGES.items():
                mask = torch.tensor(rows).float().expand(n_out, 1, 3, 3).clone()
                tensors |= {
                    f"{block}.conv1x1_{edge}.k0": torch.randn(n_out, n_in, 1, 1) / 3,
                    f"{block}.conv1x1_{edge}.b0": torch.randn(n_out) / 3,
                    f"{block}.conv1x1_{edge}.scale": torch.randn(n_out, 1, 1, 1) / 3,
                    f"{block}.conv1x1_{edge}.bias": torch.randn(n_out) / 9,
                    f"{block}.conv1x1_{edge}.mask": mask,
                }
        if prelu and i < len(widths) - 2:
            tensors[f"{block}.act.weight"] = torch.rand(n_out)
    return tensors


def by_the_paper(tensors: Tensors, x: Tensor, scale: int) -> Tensor:
    numbers = {name: tensor.double() for name, tensor in tensors.items()}
    y, i = x, 0
    while f"backbone.{i}.conv3x3.weight" in numbers:
        own = {k.removeprefix(f"backbone.{i}."): v for k, v in numbers.items()}
        z = functional.conv2d(y, own["conv3x3.weight"], own["conv3x3.bias"], padding=1)
        for branch in ("3x3", "sbx", "sby", "lpl") if "conv1x1_3x3.k0" in own else ():
            part = {k.removeprefix(f"conv1x1_{branch}."): v for k, v in own.items()}
            inside = functional.conv2d(y, part["k0"])  # a border of zeros, then the bias: both
            inside = functional.pad(inside, (1, 1, 1, 1)) + part["b0"][:, None, None]
            if branch == "3x3":
                z = z + functional.conv2d(inside, part["k1"], part["b1"])
            else:
                filters = part["scale"] * part["mask"]
                z = z + functional.conv2d(inside, filters, part["bias"], groups=len(filters))
        i += 1
        if f"backbone.{i}.conv3x3.weight" in numbers:
            slope = own.get("act.weight", torch.zeros(1).double())[:, None, None]
            z = torch.where(z > 0, z, slope * z)
        y = z
    nearest = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return functional.pixel_shuffle(y, scale) + nearest


def first_version(tensors: Tensors, last: int) -> Tensors:
    def name_of(match: re.Match[str]) -> str:
        i = int(match[1])
        return "head.0." if i == 0 else "tail.0." if i == last else f"body.{i - 1}."

    return {re.sub(r"^backbone\.(\d+)\.", name_of, k): v for k, v in tensors.items()}


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ([1, 6, 6, 6, 4], {}),
        ([3, 4, 4, 4, 12], {"prelu": False}),
        ([1, 6, 3, 5, 9], {"expanded": False}),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_files_compute_what_the_paper_says(
    widths: list[int], options: dict[str, Any], first: bool
) -> None:
    tensors = published(widths, **options)
    scale = {4: 2, 12: 2, 9: 3}[widths[-1]]
    given = first_version(tensors, 3) if first else dict(tensors)
    found = assemble(StateDict(given), "file.pth")
    network, config = found.network, found.network.card.config
    assert (network.card.arch, network.card.scale, config["n_blocks"]) == ("ecbsr", scale, 2)
    assert config["expanded"] is options.get("expanded", True)
    assert network.card.value_range == 255.0
    assert ("identity False, as published" in found.assumed) is config["expanded"]
    x = torch.rand(2, widths[0], 7, 9, dtype=torch.float64)
    expected = by_the_paper(tensors, x, scale)
    network.module.double()
    with torch.no_grad():
        assert torch.allclose(network.module(x), expected, rtol=0, atol=1e-11)
        assert torch.allclose(folded(network).module(x), expected, rtol=0, atol=1e-11)


def test_the_identity_is_part_of_the_folded_weights() -> None:
    tensors = published([1, 4, 4, 4, 4])
    with_identity = dict(tensors)
    for i in (1, 2, 3):  # where as many channels come out as go in
        weight = tensors[f"backbone.{i}.conv3x3.weight"].clone()
        weight[range(4), range(4), 1, 1] += 1
        with_identity[f"backbone.{i}.conv3x3.weight"] = weight
    network = create("ecbsr", n_blocks=2, n_feats=4, identity=True)
    network.module.load_state_dict(tensors)
    network.module.double()
    x = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    expected = by_the_paper(with_identity, x, 2)
    with torch.no_grad():
        assert torch.allclose(network.module(x), expected, rtol=0, atol=1e-6)
        assert torch.allclose(folded(network).module(x), network.module(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.1.conv1x1_sbx.mask": None}, "'backbone.1.conv1x1_sbx.mask' is missing"),
        ({"backbone.1.conv1x1_sby.scale": torch.rand(5, 1, 1, 1)}, "6 is needed where it has 5"),
        ({"backbone.1.conv1x1_3x3.k0": torch.rand(11, 6, 1, 1)}, "11 is needed where it has 12"),
        ({"backbone.3.conv3x3.weight": torch.rand(5, 6, 3, 3)}, "5 output channels"),
        ({"backbone.3.act.weight": torch.rand(4)}, "'backbone.3.act.weight' .* not part of ecbsr"),
        ({"backbone.3.conv3x3.weight": None}, "'backbone.3.conv3x3.weight' is missing"),
    ],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], message: str) -> None:
    tensors = published([1, 6, 6, 6, 4]) | change
    with pytest.raises(UserError, match=message):
        assemble(StateDict({k: v for k, v in tensors.items() if v is not None}), "file.pth")


def test_any_number_of_channels_inside_a_branch_is_told() -> None:
    network = create("ecbsr", n_blocks=1, n_feats=7, multiplier=61 / 7)  # 7 times that is below 61
    found = assemble(StateDict(network.module.state_dict()), "file.pth").network
    assert found.card == network.card
    assert found.module.get_parameter("backbone.0.conv1x1_3x3.b0").shape == (61,)
