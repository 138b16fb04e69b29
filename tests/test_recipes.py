"""The recipes in configs/: complete, true to their headers, and able to run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.data.builtin import TRAINING_IMAGES
from srdeploy.errors import SrdeployError
from srdeploy.models.count import count
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.training import check_fit
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import starting_network, train
from srdeploy.train.method import PruneRecipe, prune_trained, read_prune_recipe
from srdeploy.train.recipe import read_recipe

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = CONFIGS / "recipes"
TRAINING = {"vdsr", "vdsr-hdf5", "vdsr-small", "rirsr-small", "smsr", "smsr-small"}
PRUNING = {path.stem for path in RECIPES.glob("*.yaml")} - TRAINING


def pruning(name: str, *changes: str) -> PruneRecipe:
    return read_prune_recipe(RECIPES / f"{name}.yaml", changes)


def test_every_published_recipe_has_a_small_twin() -> None:
    names = {path.stem for path in RECIPES.glob("*.yaml")}
    full = {name for name in names if not name.endswith("-small")} - {"vdsr-hdf5"}  # VDSR's own
    assert full == {"srpn-lite", "assln", "srpn", "edsr-baseline", "vdsr", "vdsr-pruned", "smsr"}
    assert {f"{name}-small" for name in full} <= names


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda p: p.stem)
def test_training_recipes(path: Path) -> None:
    assert read_recipe(path).iterations > 0


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_training_recipes_with_networks(name: str) -> None:
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    assert count(starting_network(recipe)).params > 0
    assert recipe.validation is not None


@pytest.mark.parametrize("name", sorted(PRUNING))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pruning_recipes_are_complete_at_every_scale(name: str, scale: int) -> None:
    recipe = pruning(name)
    card = create("vdsr" if name.startswith("vdsr") else "ledsr", scale=scale, n_feats=4).card
    regularise, finetune = recipe.regularise_recipe(card), recipe.finetune_recipe(card)
    assert finetune is not None
    assert regularise.batch == finetune.batch
    assert regularise.optimiser.lr > 0
    if not card.pre_upscaled:
        assert regularise.scales == finetune.scales == (scale,)


@pytest.mark.parametrize(
    ("name", "arch", "width", "kept"),
    [
        ("srpn-lite", "ledsr", 256, 45),
        ("assln", "ledsr", 256, 48),
        ("srpn", "rirsr", 96, 63),
        ("vdsr-pruned", "vdsr", 64, 32),
    ],
)
def test_published_widths(name: str, arch: str, width: int, kept: int) -> None:
    few = {"n_layers": 4} if arch == "vdsr" else {"n_blocks": 1}
    few |= {"n_groups": 1} if arch == "rirsr" else {}
    for scale in (2, 3, 4) if arch != "vdsr" else (2,):
        grouping = find_groups(create(arch, scale=scale, n_feats=width, **few))
        removed = check_fit(grouping, pruning(name).prune)
        assert {width - n for n in removed.values()} == {kept}


@pytest.mark.parametrize(
    ("ratio", "kilo_params"), [(0.1, 1101.8), (0.3, 681.1), (0.5, 381.8), (0.7, 154.2), (0.9, 26.9)]
)
def test_edsr_baseline_at_every_ratio(ratio: float, kilo_params: float) -> None:
    recipe = pruning("edsr-baseline", f"prune.ratio={ratio}")
    removed = check_fit(find_groups(create("edsr", scale=2, n_blocks=1)), recipe.prune)
    (kept,) = {64 - n for n in removed.values()}
    # The tail's outputs stay at 256 = 4 x 64: it only loses inputs.
    params = 28 * kept + 33 * (9 * kept**2 + kept) + (9 * kept * 256 + 256) + (9 * 64 * 3 + 3)
    assert params / 1e3 == pytest.approx(kilo_params, abs=0.1)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("srpn-lite", {"arch": "ledsr-256"}),
        ("srpn", {"arch": "rirsr-96"}),
        ("edsr-baseline", {"arch": "edsr-baseline"}),
        ("vdsr", {"arch": "vdsr"}),
        ("vdsr-pruned", {"arch": "vdsr"}),
    ],
)
def test_headers_state_the_right_cost(name: str, network: dict[str, Any]) -> None:
    text = " ".join((RECIPES / f"{name}.yaml").read_text().replace("#", " ").split())
    stated = float(re.search(r"= ([\d.]+) GMAC forward", text)[1])  # type: ignore[index]
    with torch.device("meta"):
        made = create(**network)
    pixels = 1280 * 720 / (1 if made.card.pre_upscaled else made.card.scale**2)
    if name == "vdsr":
        recipe = read_recipe(RECIPES / "vdsr.yaml")
    else:
        recipe = pruning(name).regularise_recipe(made.card)
    macs = count(made).macs_720p / pixels * recipe.patch**2 * recipe.batch
    assert macs / 1e9 == pytest.approx(stated, rel=0.005)


def test_published_schedules() -> None:
    for name in ("srpn-lite", "srpn", "vdsr-pruned", "assln", "edsr-baseline"):
        options = pruning(name).prune
        assert options.penalty.ramp().total == 143150
        assert options.penalty.ramp(options.alignment.iterations).total == 160410
    assert 863 == -(-(800 + 2650) * 4 // 16)  # an epoch: DF2K four times, batch 16
    card = create("ledsr", n_feats=4).card
    finetune = pruning("srpn-lite").finetune_recipe(card)
    assert finetune is not None
    assert finetune.iterations == 1000 * 863
    assert finetune.schedule.every == 200 * 863  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(n for n in PRUNING if n.endswith("-small")))
def test_small_twins_run(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Network
    if name.startswith("vdsr"):
        network = create("vdsr", n_layers=3, n_feats=6)
    else:
        arch = {"arch": "rirsr", "n_groups": 1} if name.startswith("srpn-small") else {}
        network = create(**({"arch": "ledsr", "n_blocks": 1, "n_feats": 6} | arch))
    recipe = pruning(
        name,
        "prune.penalty={growth: 5, hold: 2, every: 1}",
        "prune.alignment.iterations=2",
        f"training.data.folders=['{TRAINING_IMAGES}']",
        "training.validation=null",
        "training.batch=2",
        "training.patch=12",
        "training.threads=1",
        "finetune.iterations=3",
        "finetune.schedule={kind: constant}",
    )
    small, report = prune_trained(network, recipe, tmp_path)
    assert count(small).params < count(network).params
    assert report.proof["max_difference"] < 1e-9
    assert read_metrics(tmp_path / "finetune")[-1]["iteration"] == 3


def test_vdsr_trains_at_its_published_rate(tmp_path: Path) -> None:
    """The full network under SGD at .1 on summed losses: held by the adjustable clip alone."""
    small = ("data.folders=[builtin]", "iterations=20", "batch=2", "patch=21", "log_every=4")
    quiet = ("threads=1", "workers=0", "validation=null")
    recipe = read_recipe(RECIPES / "vdsr.yaml", [*small, *quiet])
    train(starting_network(recipe), recipe, tmp_path / "clipped")
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "clipped")]
    assert losses[-1] < 0.2 * losses[0]
    assert max(losses) == losses[0]
    wild = read_recipe(RECIPES / "vdsr.yaml", [*small, *quiet, "clip={kind: none}"])
    with pytest.raises(SrdeployError, match="diverged"):
        train(starting_network(wild), wild, tmp_path / "wild")
