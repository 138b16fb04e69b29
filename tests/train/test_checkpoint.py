from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.checkpoint import Origin, load_state, save_state, weights_digest
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run

Make = Callable[..., TrainRecipe]


@pytest.fixture
def saved(tiny: Network, recipe: Make, tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint.pt"
    settings = recipe(ema=0.9)
    save_state(path, Run(tiny, settings, ()).state(), Origin.of(settings, tiny, "images"))
    return path


def test_round_trip(saved: Path, tiny: Network, recipe: Make) -> None:
    settings = recipe(ema=0.9)
    state = load_state(saved, Origin.of(settings, tiny, "images"))
    assert state.iteration == 0
    assert state.ema is not None
    Run(tiny, settings, ()).restore(state)


def test_changed_settings_are_named(saved: Path, tiny: Network, recipe: Make) -> None:
    changed = recipe(ema=0.9, batch=8, optimiser={"kind": "adam", "lr": 0.5})
    with pytest.raises(UserError, match=r"batch: was 4, is 8, optimiser.lr: was 0.001, is 0.5"):
        load_state(saved, Origin.of(changed, tiny, "images"))


def test_another_network_or_other_images(saved: Path, tiny: Network, recipe: Make) -> None:
    torch.manual_seed(99)
    other = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="from another network"):
        load_state(saved, Origin.of(recipe(ema=0.9), other, "images"))
    with pytest.raises(UserError, match="on other training images"):
        load_state(saved, Origin.of(recipe(ema=0.9), tiny, "others"))


class Evil:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("executed",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "malicious"])
def test_damaged_file(saved: Path, tiny: Network, recipe: Make, damage: str) -> None:
    if damage == "truncated":
        saved.write_bytes(saved.read_bytes()[:-2000])
    elif damage == "empty":
        saved.write_bytes(b"")
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(1)}, saved)
    else:
        saved.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="cannot be read"):
        load_state(saved, Origin.of(recipe(ema=0.9), tiny, "images"))


def test_what_a_checkpoint_holds(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert content["format"] == 1
    assert set(content) == {"format", "origin", "state"}
    assert set(content["origin"]) == {"recipe", "network", "data"}


def test_a_weight_of_another_value_shape_or_name_is_another_network(tiny: Network) -> None:
    digests = [weights_digest(tiny.module), weights_digest(tiny.module, "ledsr 2")]
    for change in (lambda m: m.head[0].bias.data.add_(1e-6), lambda m: m.add_module("x", m.head)):
        copied = tiny.copy().module
        change(copied)
        digests.append(weights_digest(copied))
    assert len(set(digests)) == 4
    assert weights_digest(tiny.copy().module) == digests[0]


def test_checkpoints_of_srdeploy_0_1_go_on(saved: Path, tiny: Network, recipe: Make) -> None:
    content = torch.load(saved, weights_only=True)
    content["state"]["best"] = 30.0
    torch.save(content, saved)
    assert load_state(saved, Origin.of(recipe(ema=0.9), tiny, "images")).iteration == 0
