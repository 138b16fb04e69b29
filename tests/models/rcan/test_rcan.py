"""RCAN as EDSR-PyTorch and BasicSR name it, against its formulas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create

Tensors = dict[str, Tensor]


def small(scale: int = 2, **options: Any) -> Network:
    torch.manual_seed(0)
    sizes = {"n_groups": 2, "n_blocks": 3, "n_feats": 8, "reduction": 4}
    return create("rcan", scale=scale, **sizes, **options)


def published(tensors: Tensors, x: Tensor, scale: int) -> Tensor:
    """The paper's network in float64, from EDSR-PyTorch's names alone."""
    t = {name: tensor.double() for name, tensor in tensors.items()}

    def conv(name: str, y: Tensor) -> Tensor:
        weight = t[f"{name}.weight"]
        return functional.conv2d(y, weight, t[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x = conv("sub_mean", x.double())
    if "head.1.weight" in t:
        y = first = conv("head.1", functional.pixel_unshuffle(x, 4 // scale))
        scale = 4
    else:
        y = first = conv("head.0", x)
    for g in range(2):
        group = y
        for b in range(3):
            name = f"body.{g}.body.{b}.body"
            z = conv(f"{name}.2", conv(f"{name}.0", y).clamp(min=0))
            pooled = z.flatten(2).mean(2)[:, :, None, None]
            gate = conv(f"{name}.3.conv_du.2", conv(f"{name}.3.conv_du.0", pooled).clamp(min=0))
            y = y + z / (1 + (-gate).exp())
        y = group + conv(f"body.{g}.body.3", y)
    y = first + conv("body.2", y)
    for stage in (0,) if scale in (2, 3) else (0, 2):
        y = functional.pixel_shuffle(conv(f"tail.0.{stage}", y), 3 if scale == 3 else 2)
    return conv("add_mean", conv("tail.1", y))


def names(original: Network) -> Iterator[tuple[str, Tensor]]:
    """The tensors as BasicSR calls them, which stores no mean."""
    for name, tensor in original.module.state_dict().items():
        layer, _, kind = name.rpartition(".")
        parts = layer.split(".")
        if "mean" in parts[0]:
            continue
        match parts:
            case ["head", _]:
                new = "conv_first"
            case ["body", n]:
                new = "conv_after_body"
            case ["body", n, "body", _]:
                new = f"body.{n}.conv"
            case ["body", n, "body", m, "body", "3", _, i]:
                new = f"body.{n}.residual_group.{m}.rcab.3.attention.{int(i) + 1}"
            case ["body", n, "body", m, "body", i]:
                new = f"body.{n}.residual_group.{m}.rcab.{i}"
            case ["tail", "0", i]:
                new = f"upsample.{i}"
            case _:
                new = "conv_last"
        yield f"{new}.{kind}", tensor


def load(tensors: Tensors, folder: Path) -> Network:
    torch.save(tensors, folder / "a.pth")
    return load_network(folder / "a.pth")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_names_and_numbers(scale: int, tmp_path: Path) -> None:
    original = small(scale)
    tensors = dict(original.module.state_dict())
    read = load({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path)
    from_basicsr = load({"params_ema": dict(names(original))}, tmp_path)
    x = torch.rand(2, 3, 7, 9) * 255
    expected = published(tensors, x, scale)
    for network in (read, from_basicsr):
        assert {**dict(network.card), "history": []} == dict(original.card)
        with torch.no_grad():
            torch.testing.assert_close(network.module.double()(x.double()), expected)
    assert from_basicsr.card.history[0]["recognised_as"] == "BasicSR RCAN"


def test_pruned_by_others(tmp_path: Path) -> None:
    """Blocks and attention of other widths than their siblings have."""
    tensors = dict(small().module.state_dict())
    for thin, reader in (
        ("body.0.body.1.body.0", "body.0.body.1.body.2"),
        ("body.1.body.0.body.3.conv_du.0", "body.1.body.0.body.3.conv_du.2"),
    ):
        tensors[f"{thin}.weight"] = tensors[f"{thin}.weight"][:-1]
        tensors[f"{thin}.bias"] = tensors[f"{thin}.bias"][:-1]
        tensors[f"{reader}.weight"] = tensors[f"{reader}.weight"][:, :-1]
    read = load(tensors, tmp_path)
    assert (read.card.config["n_feats"], read.card.config["reduction"]) == (8, 4)
    assert (read.card.widths[thin], read.card.widths["body.0.body.1.body.0"]) == (1, 7)
    x = torch.rand(1, 3, 7, 9) * 255
    with torch.no_grad():
        torch.testing.assert_close(read.module.double()(x.double()), published(tensors, x, 2))


@pytest.mark.parametrize("scale", [1, 2])
def test_unshuffled(scale: int, tmp_path: Path) -> None:
    """As trainers have it for small factors: fewer pixels inside, and the upsampler of x4."""
    original = small(scale, unshuffle=4 // scale)
    tensors = dict(original.module.state_dict())
    read = load(tensors, tmp_path)
    assert {**dict(read.card), "history": []} == dict(original.card)
    assert read.card.size_multiple == 4 // scale
    x = torch.rand(1, 3, 8, 12) * 255
    with torch.no_grad():
        found = read.module.double()(x.double())
    torch.testing.assert_close(found, published(tensors, x, scale))


def test_without_a_mean_shift_pixels_run_to_one(tmp_path: Path) -> None:
    network = load(dict(small(mean_shift=False).module.state_dict()), tmp_path)
    assert network.card.value_range == 1.0
    assert "pixel values run from 0 to 1, as published" in network.card.history[0]["assumed"]


ATTENTION = "body.1.body.2.body.3.conv_du.2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{ATTENTION}.bias": None}, f"'{ATTENTION}.bias' is missing .* looks like rcan"),
        ({f"{ATTENTION}.weight": torch.rand(7, 2, 1, 1)}, "8 is needed where it has 7"),
        ({f"{ATTENTION}.weight": torch.rand(8, 3, 1, 1)}, "2 is needed where it has 3"),
        ({f"{ATTENTION}.weight": torch.rand(8, 2, 3, 3)}, "1 is needed where it has 3"),
        ({"body.0.body.0.body.3.conv_du.0.weight": None}, "conv_du.0.weight' is missing"),
        ({"body.0.body.0.body.1.weight": torch.rand(8)}, "is not part of rcan"),
        ({"head.0.weight": None}, "'head.0.weight' is missing"),
        ({"head.1.weight": torch.rand(8, 27, 3, 3)}, "reduces its input 3 times and enlarges it 2"),
    ],
)
def test_wrong_tensors(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    tensors = {**small().module.state_dict(), **change}
    with pytest.raises(UserError, match=message):
        load({k: v for k, v in tensors.items() if v is not None}, tmp_path)
