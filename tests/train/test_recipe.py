from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.train.recipe import TrainRecipe, read_recipe
from srdeploy.util.strict import parse

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
        (
            {"data": {"hdf5": "a.h5"}, "validation": {"data": "held-out", "every": 1}},
            "no images to hold out",
        ),
        ({"validation": {"data": "a", "every": 1, "keep": "first"}}, "keep"),
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


def test_what_is_not_said() -> None:
    assert parse(TrainRecipe, BASE, "recipe").model_dump(exclude_none=True) == {
        "data": {"folders": ({"path": "a", "weight": 1.0},), "augment": True},
        "scales": (2,),
        "patch": 48,
        "batch": 16,
        "iterations": 10,
        "loss": "l1",
        "optimiser": {
            "kind": "adam", "lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0,
        },
        "schedule": {"kind": "constant", "warmup": 0},
        "clip": {"kind": "none"},
        "precision": "fp32",
        "channels_last": True,
        "seed": 0,
        "device": "auto",
        "workers": 1,
        "compile": False,
        "log_every": 100,
        "checkpoint": {"minutes": 5.0},
        "tensorboard": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "given", "filled"),
    [
        ("optimiser", {"kind": "sgd", "lr": 1}, {"momentum": 0.9, "weight_decay": 0.0}),
        ("schedule", {"kind": "step", "every": 3}, {"factor": 0.5, "warmup": 0, "milestones": ()}),
        ("schedule", {"kind": "cosine"}, {"final": 0.0, "warmup": 0}),
        ("distill", {}, {"output": 0.5, "features": 0.0, "layers": ("body.*",)}),
        ("quantise", {}, {"precision": "int8", "method": "mse", "activations": "uint8",
                          "learn": 0.5, "lr": 1e-3}),
        ("sparsity", {}, {"weight": 0.1, "warmup": 0, "start": 1.0, "end": 0.4, "anneal": 0}),
    ],
)  # fmt: skip
def test_what_is_not_said_of_a_section(section: str, given: dict, filled: dict) -> None:
    recipe = parse(TrainRecipe, BASE | {section: given}, "recipe")
    assert getattr(recipe, section).model_dump(exclude_none=True) == given | filled


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({"quantise": {}}, True),
        ({"quantise": {}, "precision": "bf16"}, True),
        ({"quantise": {}, "precision": "fp16"}, False),
        ({"quantise": {}, "compile": True}, False),
        ({"precision": "fp16", "compile": True}, True),
        ({"clip": {"kind": "none", "limit": 1}}, False),
        ({"clip": {"kind": "value", "limit": 0}}, False),
        ({"schedule": {"kind": "step", "every": 2, "milestones": [3]}}, False),
        ({"schedule": {"kind": "step", "milestones": [3]}}, True),
        ({"schedule": {"kind": "constant", "warmup": -1}}, False),
        ({"optimiser": {"lr": 0}}, False),
        ({"optimiser": {"weight_decay": -0.1}}, False),
        ({"optimiser": {"kind": "sgd", "lr": 1, "momentum": 1.1}}, False),
        ({"distill": {"output": 1}}, True),
        ({"distill": {"output": 1.1}}, False),
        ({"distill": {"features": -1}}, False),
        ({"ema": 1}, False),
        ({"ema": 0}, False),
        ({"seed": -1}, False),
        ({"workers": -1}, False),
        ({"iterations": 0}, False),
        ({"sparsity": {"weight": -1}}, False),
        ({"sparsity": {"warmup": -1}}, False),
        ({"sparsity": {"anneal": -1}}, False),
        ({"data": {"folders": [{"path": "a", "weight": 0}]}}, False),
        ({"checkpoint": {"minutes": 0}}, False),
    ],
)
def test_bounds(values: dict, fits: bool) -> None:
    if fits:
        parse(TrainRecipe, BASE | values, "recipe")
    else:
        with pytest.raises(UserError):
            parse(TrainRecipe, BASE | values, "recipe")


def test_every_setting_but_the_machine_and_the_watching_decides() -> None:
    plain = parse(TrainRecipe, BASE, "recipe")
    decisive = {
        "patch": 3, "batch": 3, "iterations": 3, "loss": "l2", "reduction": "sum", "seed": 3,
        "ema": 0.5, "precision": "bf16", "channels_last": False, "scales": [3],
        "optimiser": {"kind": "adam", "lr": 1}, "schedule": {"kind": "cosine"},
        "clip": {"kind": "norm", "limit": 1}, "distill": {}, "sparsity": {}, "quantise": {},
        "data": {"folders": ["b"]}, "network": {"arch": "edsr"},
    }  # fmt: skip
    idle = {
        "device": "cpu", "threads": 3, "workers": 3, "compile": True, "log_every": 3,
        "validation": {"data": "b", "every": 3}, "checkpoint": {"minutes": 3}, "tensorboard": True,
    }  # fmt: skip
    assert {*decisive, *idle} == set(TrainRecipe.model_fields)
    for key, value in decisive.items():
        assert parse(TrainRecipe, BASE | {key: value}, "recipe").digest() != plain.digest(), key
    for key, value in idle.items():
        assert parse(TrainRecipe, BASE | {key: value}, "recipe").digest() == plain.digest(), key
