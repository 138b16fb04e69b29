"""Whole residual blocks go exactly: proofs, files, exports, and pruning further."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import srdeploy as sr
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.card import RemovedPart
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph, run
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.open import open_session


class Cell(nn.Module):
    """A residual block of nobody's architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor, gain: float) -> Tensor:
        """[N, 8, H, W] to the same."""
        return self.b(torch.tanh(self.a(x))) * gain + x


class Cells(nn.Module):
    """A network of nobody's architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.cells = nn.ModuleDict({name: Cell() for name in ("red", "green", "blue")})

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, 2H, 2W]."""
        x = self.enter(x)
        for cell in self.cells.values():
            x = cell(x, gain=0.5)
        return nn.functional.pixel_shuffle(self.leave(x), 2)


class Rows(nn.Module):
    """A network whose own code adds what its rows make."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.rows = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(6, 8, 1))
            for _ in range(2)
        )
        self.up, self.down = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, 2H, 2W]."""
        x = self.enter(x)
        for row in self.rows:
            x = row(x).mul(0.5) + x
        x = x + self.down(torch.relu(self.up(x)))
        return nn.functional.pixel_shuffle(self.leave(x), 2)


def _network(arch: str) -> Network:
    torch.manual_seed(1)
    if arch in OWN:
        return wrap(OWN[arch]())
    layers = {"edsr": {"n_blocks": 4}, "rirsr": {"n_groups": 2, "n_blocks": 2}}[arch]
    return create(arch, scale=2, n_feats=8, **layers)


OWN = {"own": Cells, "rows": Rows}


def _without(network: Network, *names: str, **asked: object) -> Network:
    return sr.prune(network, remove_blocks=names, method="l1", **asked)  # type: ignore[arg-type]


GONE = [
    ("edsr", ("body.1", "body.3"), ("body.1.body.2", "body.3.body.2")),
    ("rirsr", ("body.0.body.1",), ("body.0.body.1.body.2",)),
    ("rirsr", ("body.1",), ("body.1.body.2",)),
    ("own", ("cells.green",), ("cells.green.b",)),
    ("rows", ("rows.1", "up+down"), ("rows.1.2", "down")),
]


@pytest.mark.parametrize(("arch", "names", "last"), GONE)
def test_it_is_the_dense_network_with_the_last_convolutions_zero(
    arch: str, names: tuple[str, ...], last: tuple[str, ...]
) -> None:
    dense = _network(arch)
    small = _without(dense, *names)
    masked = dense.copy().module.double()
    for name in last:
        for tensor in masked.get_submodule(name).parameters():
            tensor.detach().zero_()
    x = torch.from_numpy(photograph(dense.card, (20, 24))).double()
    wanted, found = run(masked, x), run(small.module.double(), x)
    assert float((wanted - found).abs().max()) <= 1e-9 * float(wanted.abs().max())
    assert not torch.allclose(found, run(dense.module.double(), x), rtol=1e-6)
    count = sum(one.numel() for one in small.module.parameters())
    parts = [part for name in names for part in name.split("+")]
    gone = sum(one.numel() for n in parts for one in dense.module.get_submodule(n).parameters())
    assert count == sum(one.numel() for one in dense.module.parameters()) - gone
    assert small.card.history[-1]["remove_blocks"] == list(names)
    assert small.card.proof is not None
    assert small.card.proof["dtype"] == "float64"


@pytest.mark.parametrize(("arch", "names", "last"), GONE[:3])
def test_a_file_opens_again_is_exported_and_pruned_further(
    arch: str, names: tuple[str, ...], last: tuple[str, ...], tmp_path: Path
) -> None:
    small = _without(_network(arch), *names, ratio=0.25)
    save_network(small, tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors")
    assert again.card == small.card
    x = photograph(small.card, (20, 24))
    wanted = run(small.module, torch.from_numpy(x))
    assert torch.equal(run(again.module, torch.from_numpy(x)), wanted)
    export_onnx(again, tmp_path / "small.onnx")
    with open_session(tmp_path / "small.onnx") as session:
        assert np.allclose(session.run(x), wanted, atol=1e-2)
    further = _without(again, "body.0", ratio=0.5)
    assert sum(further.card.widths.values()) < sum(again.card.widths.values())
    # An architecture that counts its blocks has fewer: its tensors alone say what they are.
    alone = {"edsr": {"n_blocks": 2}, "rirsr": {"n_groups": 1}}[arch]
    if small.card.removed:
        assert list(small.card.removed) == list(names)
        return
    assert alone.items() <= small.card.config.items()
    save_file(load_file(tmp_path / "small.safetensors"), tmp_path / "bare.safetensors")
    bare = load_network(tmp_path / "bare.safetensors", scale=2)
    assert torch.equal(run(bare.module, torch.from_numpy(x)), wanted)


def test_what_code_added_is_exported_and_pruned_further(tmp_path: Path) -> None:
    small = _without(_network("rows"), "rows.1", "up+down", ratio=0.25)
    assert {name: one.adds_nothing for name, one in small.card.removed.items()} == {
        "rows.1": True, "up": True, "down": True,
    }  # fmt: skip
    export_onnx(small, tmp_path / "small.onnx")
    nodes = [node.op_type for node in onnx.load(str(tmp_path / "small.onnx")).graph.node]
    assert (nodes.count("Conv"), nodes.count("Add")) == (4, 1)
    save_network(small, tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors", arch=Rows)
    fewest = _without(again, "rows.0", ratio=0.5)
    assert set(fewest.card.widths) == {"enter", "leave"}


def test_a_network_of_ones_own_opens_by_its_card(tmp_path: Path) -> None:
    small = _without(_network("own"), "cells.green")
    (part,) = small.card.removed.values()
    assert part.layers == ["cells.green.a", "cells.green.b"]
    save_network(small, tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors", arch=Cells)
    x = torch.from_numpy(photograph(small.card, (20, 24)))
    assert torch.equal(run(again.module, x), run(small.module, x))
    fewest = _without(again, "cells.red", ratio=0.5)
    assert set(fewest.card.removed) == {"cells.green", "cells.red"}


def test_reconstruction_makes_up_for_what_is_gone(small_images: Path) -> None:
    dense = _network("edsr")
    x = torch.from_numpy(photograph(dense.card, (40, 40)))
    wanted = run(dense.module, x)
    refitted = sr.prune(
        dense, 0.0, remove_blocks="body.[12]", calibration=small_images, network_wise=0
    )
    errors = [
        float((run(one.module, x) - wanted).square().mean())
        for one in (_without(dense, "body.[12]"), refitted)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert refitted.card.config["n_blocks"] == 2


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"the blocks are: body\.0, body\.1"):
        _without(_network("edsr"), "body.7")
    with pytest.raises(UserError, match="No residual block of this network can go"):
        _without(create("vdsr", n_layers=4, n_feats=8), "residual_layer")
    with pytest.raises(UserError, match="whole blocks go without training"):
        sr.prune(_network("edsr"), remove_blocks="body.1", method="srp", run_dir="none")


def test_a_card_that_claims_other_parts_is_refused(tmp_path: Path) -> None:
    small = _without(_network("rirsr"), "body.0.body.1")
    card = small.card.model_copy(update={"removed": {"body.9": RemovedPart(layers=["body.9.a"])}})
    save_network(Network(small.module, card), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"'body\.9' was removed"):
        load_network(tmp_path / "other.safetensors")
