"""IMDN, RFDN and RLFN: published names, and their formulas written with other words of torch."""

from __future__ import annotations

from collections.abc import Callable
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
SMALL: dict[str, dict[str, Any]] = {
    "imdn": {"n_blocks": 2, "n_feats": 8, "n_distilled": 3, "reduction": 4},
    "rfdn": {"n_blocks": 3, "n_feats": 8, "n_distilled": 5, "esa_feats": 2},
    "rlfn": {"n_blocks": 3, "n_feats": 6, "mid_feats": 8, "esa_feats": 3},
}


def small(arch: str, scale: int = 2) -> Network:
    torch.manual_seed(0)
    return create(arch, scale=scale, **SMALL[arch])


class Formulas:
    """The papers' networks in float64, of the published names alone."""

    def __init__(self, tensors: Tensors, residual: bool = True, dilated: bool = False) -> None:
        self.t = {name: tensor.double() for name, tensor in tensors.items()}
        self.residual, self.reaches = residual, (1, 2, 5) if dilated else (1, 1, 1)

    def conv(self, name: str, x: Tensor, **how: int) -> Tensor:
        weight = self.t[f"{name}.weight"]
        how.setdefault("padding", weight.shape[-1] // 2)
        return functional.conv2d(x, weight, self.t[f"{name}.bias"], **how)

    def leaky(self, name: str, x: Tensor, plus: Tensor | float = 0.0, **how: int) -> Tensor:
        y = self.conv(name, x, **how) + plus
        return torch.maximum(y, y / 20)

    def esa(self, name: str, x: Tensor) -> Tensor:
        narrow = self.conv(f"{name}.conv1", x)
        y = self.conv(f"{name}.conv2", narrow, stride=2, padding=0)
        y = torch.stack([y[:, :, i : i + 7].amax(2) for i in range(0, y.shape[2] - 6, 3)], 2)
        y = torch.stack([y[..., i : i + 7].amax(3) for i in range(0, y.shape[3] - 6, 3)], 3)
        if f"{name}.conv_max.weight" in self.t:
            y = self.conv(f"{name}.conv3", self.conv(f"{name}.conv_max", y).relu()).relu()
            y = self.conv(f"{name}.conv3_", y)
        else:
            y = self.conv(f"{name}.conv3", y)
        y = functional.interpolate(y, x.shape[2:], mode="bilinear")
        return x * self.conv(f"{name}.conv4", y + self.conv(f"{name}.conv_f", narrow)).sigmoid()

    def imdb(self, number: int, x: Tensor) -> Tensor:
        name, kept, rest = f"IMDB{number}", [], x
        for i in (1, 2, 3):
            y = self.leaky(f"{name}.c{i}", rest)
            keep = y.shape[1] - self.t[f"{name}.c{i + 1}.weight"].shape[1]
            kept, rest = [*kept, y[:, :keep]], y[:, keep:]
        y = torch.cat([*kept, self.conv(f"{name}.c4", rest)], 1)
        flat = y.flatten(2)
        squeezed = (flat.var(2, correction=0).sqrt() + flat.mean(2))[:, :, None, None]
        gate = self.conv(f"{name}.cca.conv_du.0", squeezed).relu()
        gate = self.conv(f"{name}.cca.conv_du.2", gate).sigmoid()
        return x + self.conv(f"{name}.c5", y * gate)

    def rfdb(self, number: int, x: Tensor) -> Tensor:
        name, kept = f"B{number}", []
        for i, reach in enumerate(self.reaches, 1):
            kept.append(self.leaky(f"{name}.c{i}_d", x))
            plus = x if self.residual else 0.0
            x = self.leaky(f"{name}.c{i}_r", x, plus, padding=reach, dilation=reach)
        y = torch.cat([*kept, self.leaky(f"{name}.c4", x)], 1)
        return self.esa(f"{name}.esa", self.conv(f"{name}.c5", y))

    def rlfb(self, number: int, x: Tensor) -> Tensor:
        name = f"B{number}"
        y = self.leaky(f"{name}.c3_r", self.leaky(f"{name}.c2_r", self.leaky(f"{name}.c1_r", x)))
        return self.esa(f"{name}.esa", self.conv(f"{name}.c5", x + y))

    def network(self, arch: str, x: Tensor) -> Tensor:
        block: Callable[[int, Tensor], Tensor] = {
            "imdn": self.imdb, "rfdn": self.rfdb, "rlfn": self.rlfb
        }[arch]  # fmt: skip
        y = first = self.conv("fea_conv", x.double())
        outs = [y := block(number, y) for number in range(1, SMALL[arch]["n_blocks"] + 1)]
        if "c.0.weight" in self.t:
            y = self.leaky("c.0", torch.cat(outs, 1))
        y = self.conv("upsampler.0", self.conv("LR_conv", y) + first)
        return functional.pixel_shuffle(y, int((y.shape[1] / 3) ** 0.5))


def load(tensors: Tensors, folder: Path) -> Network:
    torch.save(tensors, folder / "a.pth")
    return load_network(folder / "a.pth")


def must_compute(network: Network, tensors: Tensors, **how: bool) -> None:
    x = torch.rand(2, 3, 17, 22) * network.card.value_range
    with torch.no_grad():
        found = network.copy().module.double()(x.double())
    torch.testing.assert_close(found, Formulas(tensors, **how).network(network.card.arch, x))


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("arch", SMALL)
def test_published_names_and_numbers(arch: str, scale: int, tmp_path: Path) -> None:
    original = small(arch, scale)
    tensors = dict(original.module.state_dict())
    read = load({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path)
    assert {**dict(read.card), "history": []} == dict(original.card)
    must_compute(read, tensors)


def test_rlfn_as_its_authors_name_it(tmp_path: Path) -> None:
    original = small("rlfn")
    given: Tensors = {}
    for name, tensor in original.module.state_dict().items():
        name = name.replace("fea_conv", "conv_1").replace("LR_conv", "conv_2")
        given[f"block_{name[1:]}" if name.startswith("B") else name] = tensor
    assert {"conv_1.weight", "block_3.esa.conv_f.bias", "conv_2.bias"} <= given.keys()
    read = load(given, tmp_path)
    assert {**dict(read.card), "history": []} == dict(original.card)


THIN = {
    "imdn": [("IMDB1.c1", 0, "IMDB1.c5", "IMDB1.cca.conv_du.0"), ("IMDB2.c2", -1, "IMDB2.c3")],
    "rfdn": [("B2.c1_d", 0, "B2.c5"), ("B1.esa.conv2", 0, "B1.esa.conv_max")],
    "rlfn": [("B2.c2_r", 0, "B2.c3_r"), ("B3.esa.conv2", 0, "B3.esa.conv3")],
}


@pytest.mark.parametrize("arch", SMALL)
def test_pruned_by_others(arch: str, tmp_path: Path) -> None:
    """One layer thinner than its siblings; in IMDN also where it is split."""
    tensors = dict(small(arch).module.state_dict())
    for thin, end, *readers in THIN[arch]:
        part = slice(1, None) if end == 0 else slice(0, -1)
        for kind in ("weight", "bias"):
            tensors[f"{thin}.{kind}"] = tensors[f"{thin}.{kind}"][part]
        for reader in readers:
            tensors[f"{reader}.weight"] = tensors[f"{reader}.weight"][:, part]
    if arch == "imdn":
        tensors["IMDB1.cca.conv_du.2.weight"] = tensors["IMDB1.cca.conv_du.2.weight"][1:]
        tensors["IMDB1.cca.conv_du.2.bias"] = tensors["IMDB1.cca.conv_du.2.bias"][1:]
    read = load(tensors, tmp_path)
    assert read.card.pruned
    assert read.card.widths[THIN[arch][0][0]] == tensors[f"{THIN[arch][0][0]}.bias"].numel()
    must_compute(read, tensors)


@pytest.mark.parametrize("how", [{"residual": False}, {"dilated": True}])
def test_rfdn_of_the_challenge(how: dict[str, bool]) -> None:
    """Networks with the same tensors, which add no input or are dilated."""
    network = create("rfdn", **SMALL["rfdn"], **how)
    must_compute(network, dict(network.module.state_dict()), **how)


def test_layers_that_cannot_add_their_input_do_not(tmp_path: Path) -> None:
    tensors = dict(small("rfdn").module.state_dict())
    for kind in ("weight", "bias"):
        tensors[f"B1.c2_r.{kind}"] = tensors[f"B1.c2_r.{kind}"][2:]
    for reader in ("B1.c3_d.weight", "B1.c3_r.weight"):
        tensors[reader] = tensors[reader][:, 2:]
    read = load(tensors, tmp_path)
    assert read.card.config["residual"] is False
    must_compute(read, tensors, residual=False)


@pytest.mark.parametrize(
    ("arch", "name", "shape", "message"),
    [
        ("imdn", "IMDB2.c2.weight", (8, 8, 3, 3), "reads 8 channels, but 'IMDB2.c1' makes 8"),
        ("imdn", "IMDB2.c3.weight", None, r"'IMDB2\.c3\.weight' is missing"),
        ("imdn", "IMDB1.c5.weight", (8, 11, 1, 1), "12 is needed where it has 11"),
        ("imdn", "fea_conv.2.weight", (8, 8, 3, 3), "is IMDN_AS, which first makes"),
        ("imdn", "c.0.weight", (8, 8, 1, 1), "16 is needed where it has 8"),
        ("rfdn", "B3.c5.weight", (8, 19, 1, 1), "20 is needed where it has 19"),
        ("rfdn", "B2.c3_r.weight", (7, 8, 3, 3), "7 is needed where it has 8"),
        ("rfdn", "B2.esa.conv_max.bias", None, r"'B2\.esa\.conv_max\.bias' is missing"),
        ("rlfn", "B2.esa.conv3_.weight", (3, 3, 3, 3), "is not part of rlfn"),
        ("rlfn", "B1.c1_r.weight", (8, 6, 5, 5), "3 is needed where it has 5"),
        ("rlfn", "upsampler.0.weight", (13, 6, 3, 3), "has 13 output channels"),
    ],
)
def test_wrong_tensors(
    arch: str, name: str, shape: tuple[int, ...] | None, message: str, tmp_path: Path
) -> None:
    tensors = dict(small(arch).module.state_dict())
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.rand(shape)
    with pytest.raises(UserError, match=message):
        load(tensors, tmp_path)


@pytest.mark.parametrize("arch", ["rfdn", "rlfn"])
def test_the_smallest_image(arch: str) -> None:
    network = small(arch)
    side = network.card.smallest
    assert network.module(torch.rand(1, 3, side, side)).shape[2:] == (2 * side, 2 * side)
    with pytest.raises(RuntimeError):
        network.module(torch.rand(1, 3, side, side - 1))


def test_more_kept_than_there_is() -> None:
    with pytest.raises(UserError, match="keep 8 of 8 channels"):
        create("imdn", n_feats=8, n_distilled=8)


def test_a_constant_channel_has_a_gradient() -> None:
    """Masked channels are constant, and IMDN's attention reads their standard deviation."""
    module = small("imdn").module
    with torch.no_grad():
        module.get_parameter("IMDB1.c1.weight")[0] = 0
        module.get_parameter("IMDB1.c1.bias")[0] = 0
    module(torch.rand(1, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
