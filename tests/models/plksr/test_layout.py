"""Files of PLKSR and RealPLKSR against the formulas, pruned ones too, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.importing.assemble import Assembled, assemble
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.registry import create
from srdeploy.pruning.tracing.groups import find_groups

Tensors = dict[str, Tensor]


def published(
    norm: str = "",
    *,
    scale: int = 2,
    kernels: tuple[int, int, int] = (3, 3, 5),
    attention: bool = True,
    widths: tuple[int, ...] = (16, 8, 4, 4),
) -> Tensors:
    """Two blocks of 8 channels; ``widths`` are those inside a block.

    They are the mixer's inner and outer channels, and those that the large kernel sees and makes.
    """
    torch.manual_seed(0)
    inner, mixed, seen, made = widths
    joined = mixed - seen + made
    shapes: dict[str, tuple[int, ...]] = {"feats.0": (8, 3, 3, 3)}
    mixer = "channel_mixer" if norm else "channe_mixer"
    for i in (1, 2):
        shapes |= {
            f"feats.{i}.{mixer}.0": (inner, 8, kernels[0], kernels[0]),
            f"feats.{i}.{mixer}.2": (mixed, inner, kernels[1], kernels[1]),
            f"feats.{i}.lk.conv": (made, seen, kernels[2], kernels[2]),
        }
        if attention:
            shapes[f"feats.{i}.attn.f.0"] = (joined, joined, 3, 3)
        shapes[f"feats.{i}.refine"] = (8, joined, 1, 1)
        if norm:
            shapes[f"feats.{i}.{norm}"] = (8,)
    shapes[f"feats.{4 if norm else 3}"] = (3 * scale**2, 8, 3, 3)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        fan = torch.Size(shape[1:]).numel()
        tensors[f"{name}.weight"] = torch.randn(shape) * (1.5 / fan) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(shape[0]) / 5
    return tensors


def by_the_paper(tensors: Tensors, x: Tensor, scale: int) -> Tensor:
    numbers = {name: tensor.double() for name, tensor in tensors.items()}

    def conv(name: str, y: Tensor) -> Tensor:
        weight = numbers[f"{name}.weight"]
        return functional.conv2d(y, weight, numbers[f"{name}.bias"], padding=weight.shape[2] // 2)

    def normed(y: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
        variance = y.var(dims, correction=0, keepdim=True)
        return (y - y.mean(dims, keepdim=True)) / torch.sqrt(variance + eps)

    def affine(name: str, y: Tensor) -> Tensor:
        return y * numbers[f"{name}.weight"][:, None, None] + numbers[f"{name}.bias"][:, None, None]

    y = conv("feats.0", x)
    for i in (1, 2):
        block, z = f"feats.{i}", y
        if f"{block}.layer_norm.weight" in numbers:
            z = affine(f"{block}.layer_norm", normed(z, (1,), 1e-6))
        if f"{block}.channe_mixer.0.weight" in numbers:
            z = conv(f"{block}.channe_mixer.0", z)
            z = conv(f"{block}.channe_mixer.2", z * (1 + torch.erf(z / 2**0.5)) / 2)
        else:
            z = conv(f"{block}.channel_mixer.0", z)
            z = conv(f"{block}.channel_mixer.2", z * torch.tanh(torch.log1p(z.exp())))
        seen = numbers[f"{block}.lk.conv.weight"].shape[1]
        z = torch.cat([conv(f"{block}.lk.conv", z[:, :seen]), z[:, seen:]], 1)
        if f"{block}.attn.f.0.weight" in numbers:
            z = z / (1 + (-conv(f"{block}.attn.f.0", z)).exp())
        z = conv(f"{block}.refine", z)
        if f"{block}.norm.weight" in numbers:
            grouped = normed(z.unflatten(1, (4, 2)), (2, 3, 4), 1e-5)
            z = affine(f"{block}.norm", grouped.flatten(1, 2))
        y = y + z
    last = max(int(name.split(".")[1]) for name in numbers)
    nearest = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return functional.pixel_shuffle(conv(f"feats.{last}", y), scale) + nearest


def run(tensors: Tensors) -> Assembled:
    return assemble(StateDict(dict(tensors)), "file.pth")


@pytest.mark.parametrize(
    ("norm", "options"),
    [
        ("", {}),
        ("", {"scale": 3, "kernels": (3, 1, 7), "attention": False}),
        ("", {"kernels": (1, 3, 5), "widths": (13, 7, 4, 3)}),
        ("norm", {"scale": 4}),
        ("norm", {"widths": (13, 7, 3, 4), "attention": False}),
        ("layer_norm", {"scale": 1}),
    ],
)
def test_files_compute_what_the_paper_says(norm: str, options: dict[str, Any]) -> None:
    tensors = published(norm, **options)
    found = run(tensors)
    card, scale = found.network.card, options.get("scale", 2)
    assert (card.arch, card.scale) == ("realplksr" if norm else "plksr", scale)
    assert (card.config["n_blocks"], card.config["n_feats"], card.config["n_partial"]) == (2, 8, 4)
    assert card.pruned is ("widths" in options)
    assert (card.receptive_field == 0) is (norm == "norm")
    assert ("norm_groups 4, as published" in found.assumed) is (norm == "norm")
    x = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        y = found.network.module.double()(x)
    assert torch.allclose(y, by_the_paper(tensors, x, scale), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("norm", "change", "message"),
    [
        ("", {"feats.1.lk.convs.0.weight": torch.rand(4)}, "several sparse kernels in parallel"),
        ("", {"feats.1.lk.mn_conv.weight": torch.rand(4)}, "fits no architecture"),
        ("norm", {"to_img.offset.weight": torch.rand(4)}, "fits no architecture"),
        ("", {"feats.1.lk.conv.weight": torch.rand(4, 4, 6, 6)}, "kernel of side 6"),
        ("", {"feats.2.lk.conv.weight": torch.rand(4, 4, 5, 7)}, "5 is needed where it has 7"),
        ("", {"feats.2.lk.conv.weight": torch.rand(4, 9, 5, 5)}, "takes 9 channels, but .* are 8"),
        ("", {"feats.2.attn.f.0.weight": torch.rand(8, 7, 3, 3)}, "8 is needed where it has 7"),
        ("", {"feats.2.lk.conv.weight": None}, "'feats.2.lk.conv.weight' is missing"),
        ("norm", {"feats.2.norm.weight": None}, "'feats.2.norm.weight' is missing"),
        ("norm", {"feats.1.layer_norm.weight": torch.rand(8)}, "is missing"),
        ("norm", {"feats.0.weight": torch.rand(6, 3, 3, 3)}, "in 4 groups cannot divide"),
        ("", {"feats.3.weight": torch.rand(10, 8, 3, 3)}, "10 output channels"),
    ],
)
def test_other_files_are_refused(norm: str, change: dict[str, Tensor | None], message: str) -> None:
    tensors = {k: v for k, v in (published(norm) | change).items() if v is not None}
    with pytest.raises(UserError, match=message):
        run(tensors)


def test_channels_on_both_sides_of_the_split_can_be_removed() -> None:
    network = create("plksr", n_blocks=1, n_feats=8, n_partial=4, side=5)
    groups = {(g.status, len(g.atoms), *g.layers) for g in find_groups(network).groups}
    assert ("free", 4, "feats.1.channe_mixer.2") in groups
    assert ("coupled", 4, "feats.1.channe_mixer.2", "feats.1.attn.f.0") in groups
    assert ("coupled", 4, "feats.1.lk.conv", "feats.1.attn.f.0") in groups
