from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.strict import parse
from srdeploy.train.recipe import TrainRecipe, read_recipe

COMMITTED = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))
BASE = {"data": {"folders": ["a"]}, "scales": [2], "iterations": 10}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.schedule.warmup < recipe.iterations


def test_there_are_committed_recipes() -> None:
    assert COMMITTED


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"itterations": 3}, "did you mean 'iterations'"),
        ({"optimiser": {"kind": "adam", "larning_rate": 1}}, "key in 'optimiser.adam'"),
        ({"optimiser": {"kind": "adam", "weight_decai": 1}}, "did you mean 'weight_decay'"),
        ({"data": {"folders": [{"path": "a", "wieght": 2}]}}, "did you mean 'weight'"),
        ({"data": {"folders": ["a"], "hdf5": "b"}}, "either folders or hdf5"),
        ({"data": {}}, "either folders or hdf5"),
        ({"loss": "l3"}, "loss"),
        ({"patch": 0}, "patch"),
        ({"ema": 1.5}, "ema"),
        ({"scales": []}, "scales"),
        ({"clip": {"kind": "norm"}}, "limit"),
        ({"schedule": {"kind": "step"}}, "either every or milestones"),
        ({"schedule": {"kind": "linear"}}, "schedule"),
    ],
)
def test_bad_recipes(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(TrainRecipe, BASE | values, "recipe")


def test_a_bare_path_is_a_folder_of_weight_one() -> None:
    folder = parse(TrainRecipe, BASE, "recipe").data.folders[0]
    assert (folder.path, folder.weight) == ("a", 1.0)


def test_watching_a_run_does_not_decide_it(recipe: Callable[..., TrainRecipe]) -> None:
    watched = recipe(workers=3, threads=2, tensorboard=True, checkpoint={"iterations": 3})
    assert watched.digest() == recipe().digest()
    assert recipe(seed=1).digest() != recipe().digest()
    assert recipe().decisive()["optimiser.lr"] == 1e-3
