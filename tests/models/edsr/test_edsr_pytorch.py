"""State dicts for EDSR-PyTorch: its names, its shapes, its arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srdeploy.cli.main import run
from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.models.edsr.edsr_pytorch import (
    edsr_pytorch_options,
    edsr_pytorch_state,
    save_edsr_pytorch,
)
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions


def published_shapes(scale: int, n_blocks: int, n_feats: int) -> list[tuple[str, list[int]]]:
    """Names and shapes in edsr_baseline_x*.pt and edsr_x*.pt as published, in their order."""

    def conv(name: str, n_out: int, n_in: int, kernel: int = 3) -> list[tuple[str, list[int]]]:
        return [(f"{name}.weight", [n_out, n_in, kernel, kernel]), (f"{name}.bias", [n_out])]

    found = conv("sub_mean", 3, 3, 1) + conv("add_mean", 3, 3, 1) + conv("head.0", n_feats, 3)
    for block in range(n_blocks):
        found += conv(f"body.{block}.body.0", n_feats, n_feats)
        found += conv(f"body.{block}.body.2", n_feats, n_feats)
    found += conv(f"body.{n_blocks}", n_feats, n_feats)
    stages, factor = {2: (1, 4), 3: (1, 9), 4: (2, 4)}[scale]
    for stage in range(stages):
        found += conv(f"tail.0.{2 * stage}", n_feats * factor, n_feats)
    return found + conv("tail.1", 3, n_feats)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("preset", ["edsr-baseline", "edsr-full"])
@pytest.mark.parametrize("mean_shift", [True, False])
def test_names_and_shapes_are_the_published_ones(preset: str, scale: int, mean_shift: bool) -> None:
    with torch.device("meta"):
        network = create(preset, scale=scale, mean_shift=mean_shift)
    config = network.card.config
    state = edsr_pytorch_state(network)
    shapes = [(name, list(tensor.shape)) for name, tensor in state.items()]
    assert shapes == published_shapes(scale, config["n_blocks"], config["n_feats"])


def edsr_as_published(
    state: dict[str, torch.Tensor], x: torch.Tensor, scale: int, n_blocks: int, res_scale: float
) -> torch.Tensor:
    """EDSR written out from its paper and the published names, without any module of ours."""

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x = head = conv("head.0", conv("sub_mean", x))
    for block in range(n_blocks):
        inner = conv(f"body.{block}.body.2", F.relu(conv(f"body.{block}.body.0", x)))
        x = x + res_scale * inner
    x = head + conv(f"body.{n_blocks}", x)
    for stage in range(2 if scale == 4 else 1):
        x = F.pixel_shuffle(conv(f"tail.0.{2 * stage}", x), 3 if scale == 3 else 2)
    return conv("add_mean", conv("tail.1", x))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("mean_shift", [True, False])
def test_the_same_numbers_come_out(tmp_path: Path, scale: int, mean_shift: bool) -> None:
    network = create(
        "edsr", scale=scale, n_blocks=2, n_feats=8, res_scale=0.1, mean_shift=mean_shift
    )
    save_edsr_pytorch(network, tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    x = torch.rand(1, 3, 9, 11) * 255
    with torch.no_grad():
        expected = network.module(x)
        found = edsr_as_published(state, x, scale, 2, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    back = load_network(tmp_path / "a.pt", res_scale=0.1)
    with torch.no_grad():
        torch.testing.assert_close(back.module(x), expected, atol=1e-3, rtol=0)


def test_it_loads_strictly_where_it_was_meant_to(tmp_path: Path) -> None:
    """Into a module with the published names; the file is of the format before torch 1.6."""
    network = create("edsr-baseline", scale=2)
    save_edsr_pytorch(network, tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").read_bytes().startswith(b"PK")
    module = nn.Module()
    for name, shape in published_shapes(2, 16, 64):
        *path, leaf = name.split(".")
        owner = module
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, nn.Parameter(torch.empty(shape)))
    module.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True), strict=True)


def test_options_build_the_same_model() -> None:
    assert edsr_pytorch_options(create("edsr-full", scale=3)) == (
        "--model EDSR --scale 3 --n_resblocks 32 --n_feats 256 --res_scale 0.1 --rgb_range 255"
    )


def test_what_edsr_pytorch_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no ledsr"):
        edsr_pytorch_state(create("ledsr", n_blocks=1, n_feats=8))
    pruned, _ = prune_oneshot(create("edsr", n_blocks=1, n_feats=8), PruneOptions(ratio=0.5))
    with pytest.raises(UserError, match="pruned"):
        save_edsr_pytorch(pruned, tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(create("edsr", n_blocks=1, n_feats=8), tmp_path / "a.safetensors")
    arguments = ["import", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "a.pt"), "--to"]
    assert run([*arguments, "edsr-pytorch"]) == 0
    assert "--n_resblocks 1 --n_feats 8" in capsys.readouterr().out
    assert run(["inspect", str(tmp_path / "a.pt")]) == 0
    capsys.readouterr()
    assert run([*arguments, "edsr-pytorh"]) == 2
    assert "did you mean 'edsr-pytorch'" in capsys.readouterr().err
