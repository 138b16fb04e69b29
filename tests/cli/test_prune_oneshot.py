"""``srdeploy prune`` without training: every option reaches the choice of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.methods.table import CRITERIA, METHODS
from srdeploy.pruning.options import PruneOptions
from srdeploy.reconstruct.run import prune_at_once

TAIL = ("tail.*",)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    torch.manual_seed(0)
    save_network(create("ledsr", n_blocks=1, n_feats=16), tmp_path / "net.safetensors")
    return read_network(tmp_path / "net.safetensors")


def pruned(network: Network, **options: Any) -> dict[str, torch.Tensor]:
    asked = PruneOptions(**{"ratio": 0.5, "exclude": TAIL, **options})
    return prune_oneshot(network, asked)[0].module.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and torch.equal(a[name], b[name]) for name in a
    )


CASES: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--ratio", "0.25"], {"ratio": 0.25}),
    *((["--criterion", criterion], {"criterion": criterion}) for criterion in CRITERIA),
    (["--criterion", "random", "--seed", "5"], {"criterion": "random", "seed": 5}),
    (["--layer-ratio", "body.0.body.0=0.25"], {"layer_ratios": {"body.0.body.0": 0.25}}),
    (["--exclude", "body.0.body.0"], {"exclude": (*TAIL, "body.0.body.0")}),
    (["--ratio", "0.4", "--round-to", "5"], {"ratio": 0.4, "round_to": 5}),
    (["--no-default-exclude", "--exclude", "head.*"], {"exclude": ("head.*",)}),
]


@pytest.mark.parametrize(("typed", "meant"), CASES, ids=lambda v: " ".join(map(str, v)) or "none")
def test_options_reach_the_choice(
    command: Any, network: Network, tmp_path: Path, typed: list[str], meant: dict[str, Any]
) -> None:
    output = tmp_path / "small.safetensors"
    method = () if "--criterion" in typed else ("--method", "l1")
    asked = ("prune", tmp_path / "net.safetensors", *method, *typed)
    result = command(*asked, "--no-quality", "-o", output)
    assert same(read_network(output).module.state_dict(), pruned(network, **meant))
    options = PruneOptions(**{"ratio": 0.5, "exclude": TAIL, **meant}).model_dump(mode="json")
    assert result["options"] == {**options, "exclude": list(options["exclude"])}
    assert result["quality"] == {}


def test_the_cases_differ(network: Network) -> None:
    outcomes = [pruned(network, **meant) for _, meant in CASES if meant.get("criterion") != "l1"]
    for index, one in enumerate(outcomes[1:], 1):
        assert not any(same(one, other) for other in outcomes[:index])


def test_without_a_method_it_is_reconstructed(
    command: Any, network: Network, tmp_path: Path
) -> None:
    output = tmp_path / "small.safetensors"
    result = command("prune", tmp_path / "net.safetensors", "--no-quality", "-o", output)
    wanted, _ = prune_at_once(
        network, METHODS["reconstruct"], PruneOptions(ratio=0.5, exclude=TAIL)
    )
    small = read_network(output)
    assert same(small.module.state_dict(), wanted.module.state_dict())
    assert not same(small.module.state_dict(), pruned(network))
    assert [step["step"] for step in small.card.history] == [
        *("rotate", "prune", "refit", "network-wise")
    ]
    assert "criterion" not in result["options"]
