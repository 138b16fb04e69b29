"""Ratios of layers by pattern, by number, and as in a pruned form of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import srdeploy as sr
from srdeploy.cli.main import run
from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.stage_ratios import read_layer_ratios

TAIL = ("tail.*",)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", n_blocks=2, n_feats=16)


def test_by_number(network: Network) -> None:
    layers = list(network.card.widths)
    inner = [layers.index(f"body.{block}.body.0") for block in (0, 1)]
    text = f"[0-1000:0.25, {inner[1]}:0.5]"
    found = read_layer_ratios([text], network, TAIL)
    assert found["body.0.body.0"] == 0.25
    assert found["body.1.body.0"] == 0.5
    assert found["head.0"] == found["body.0.body.2"] == 0.25
    assert not any(name.startswith(("tail", "sub_mean", "add_mean")) for name in found)
    assert "tail.0" not in read_layer_ratios(["[0-1000:0.5]"], network)  # the network's output
    assert read_layer_ratios([f"[{inner[0]}:.75]"], network) == {"body.0.body.0": 0.75}


def test_a_patterns_last_sign_divides(network: Network) -> None:
    assert read_layer_ratios(["a=b=0.5", "c=1e-1"], network) == {"a=b": 0.5, "c": 0.1}


def test_patterns_and_numbers_together(network: Network) -> None:
    found = read_layer_ratios(["[0-1000:0.25]", "body.0.body.0=0.5", "head.*=0.1"], network, TAIL)
    assert (found["body.0.body.0"], found["head.*"], found["body.1.body.0"]) == (0.5, 0.1, 0.25)


def test_as_in_a_pruned_form(network: Network, tmp_path: Path) -> None:
    ratios = {"body.0.body.0": 0.75, "body.1.body.0": 0.25}
    first = sr.prune(network, 0.5, layer_ratios=ratios, method="l1")
    save_network(first, tmp_path / "first.safetensors")
    again = sr.prune(network, 0.0, layer_ratios=str(tmp_path / "first.safetensors"), method="l1")
    assert again.card.widths == first.card.widths
    save_network(network, tmp_path / "dense.safetensors")
    asked = ["--layer-ratio", str(tmp_path / "first.safetensors"), "--ratio", "0"]
    output = tmp_path / "again.safetensors"
    line = ["prune", str(tmp_path / "dense.safetensors"), *asked, "--no-quality", "-o", str(output)]
    assert run(line) == 0
    assert read_network(output).card.widths == first.card.widths


@pytest.mark.parametrize(
    "text", ["0.5", "a=b", "[0-5:0.5", "[0-5]", "[a-b:0.5]", "[0-5:x]", "[]", "[0:1:2]", "[0:.]"]
)
def test_what_is_neither(network: Network, text: str) -> None:
    with pytest.raises(UserError, match=r"is not PATTERN=RATIO; write for instance"):
        read_layer_ratios([text], network)


def test_networks_of_another_kind(network: Network, tmp_path: Path) -> None:
    for name, other in (
        ("others", create("ledsr", n_blocks=1, n_feats=16)),
        ("wider", create("ledsr", n_blocks=2, n_feats=24)),
    ):
        save_network(other, tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match="has other layers than the network to prune"):
        read_layer_ratios([str(tmp_path / "others.safetensors")], network)
    with pytest.raises(UserError, match=r"more channels than the network to prune \(head.0: 24"):
        read_layer_ratios([str(tmp_path / "wider.safetensors")], network)


def test_ratios_of_one_and_more_are_refused(network: Network) -> None:
    with pytest.raises(UserError, match=r"ratio 1\.5 is impossible"):
        sr.prune(network, layer_ratios="[0-1000:1.5]", method="l1")
