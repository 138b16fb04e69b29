"""The fine-tuning recipe that nobody wrote, and what is laid over one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srdeploy.data.images import write_png
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.registry import create
from srdeploy.train import defaults
from srdeploy.train.defaults import fast_precision, finetune_defaults, finetune_recipe
from srdeploy.train.recipe import Distillation

RECIPE = """
data: {folders: [images]}
scales: [2]
iterations: 50
optimiser: {kind: adam, lr: 0.25}
network: {arch: ledsr}
validation: {data: mine, every: 9}
"""


@pytest.fixture(scope="module")
def card() -> Card:
    return create("ledsr", scale=3, n_blocks=1, n_feats=4).card


@pytest.fixture(scope="module")
def luma() -> Card:
    return create("vdsr", n_layers=3, n_feats=4).card


def test_of_a_network_that_upscales(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "fast_precision", lambda: "bf16")
    assert finetune_defaults(card) == {
        "data": {"folders": ["builtin"]},
        "scales": [3],
        "patch": 48,
        "batch": 16,
        "iterations": 1000,
        "optimiser": {"kind": "adam", "lr": 5e-4},
        "schedule": {"kind": "cosine", "warmup": 100, "final": 0.01},
        "clip": {"kind": "norm", "limit": 1.0},
        "ema": 0.99,
        "precision": "bf16",
        "log_every": 100,
    }


def test_of_a_network_to_be_rounded(card: Card) -> None:
    settings = finetune_defaults(card, rounded=True)
    assert settings["distill"] == {"output": 1.0}
    assert (settings["iterations"], settings["batch"], settings["patch"]) == (400, 8, 32)
    assert (settings["optimiser"]["lr"], settings["precision"]) == (1e-4, "fp32")
    assert settings["schedule"]["warmup"] == 40


def test_of_a_pruned_network_that_was_fitted_to_its_teacher(card: Card) -> None:
    fitted = card.step(step="prune").step(step="refit")
    alone, usual = finetune_defaults(fitted), finetune_defaults(card)
    taught = finetune_recipe(fitted, None, {"teacher": "dense"})
    assert taught.optimiser.lr == 1e-3
    assert taught.distill == Distillation(teacher="dense", output=0.9)
    assert alone == usual == finetune_defaults(card.step(step="prune"), taught=True)
    given = finetune_recipe(fitted, None, {"teacher": "dense", "lr": 2e-4})
    assert given.optimiser.lr == 2e-4
    rounded = finetune_defaults(fitted, rounded=True, taught=True)
    assert rounded == finetune_defaults(card, rounded=True)


def test_lengths(card: Card, luma: Card) -> None:
    assert finetune_defaults(luma)["patch"] == 41
    assert finetune_defaults(luma, rounded=True)["patch"] == 41
    short = finetune_defaults(card, 50)
    assert (short["schedule"]["warmup"], short["log_every"], short["ema"]) == (5, 5, 0.99)
    shortest = finetune_defaults(card, 3)
    assert (shortest["schedule"]["warmup"], shortest["log_every"]) == (0, 1)
    long = finetune_defaults(card, 5000)
    assert (long["schedule"]["warmup"], long["log_every"], long["ema"]) == (100, 100, 0.999)
    assert finetune_defaults(card, 4999)["ema"] == 0.99


def test_the_masks_of_smsr_go_on() -> None:
    smsr, ledsr = create("smsr", scale=2).card, create("ledsr", n_blocks=1, n_feats=4).card
    assert finetune_defaults(smsr)["sparsity"] == {"start": 0.4, "end": 0.4}
    assert "sparsity" not in finetune_defaults(ledsr)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"iterations": 7}, "iterations", 7),
        ({"batch": 3}, "batch", 3),
        ({"patch": 20}, "patch", 20),
        ({"precision": "fp16"}, "precision", "fp16"),
        ({"seed": 9}, "seed", 9),
        ({"threads": 5}, "threads", 5),
        ({"lr": 0.125}, "optimiser.lr", 0.125),
        ({"teacher": "edsr-s-x2"}, "distill.teacher", "edsr-s-x2"),
        ({"quantise": "int8"}, "quantise.precision", "int8"),
        ({"data": ["a", "b"]}, "data.folders", ("a", "b")),
        ({"data": ["a.H5"]}, "data.hdf5", "a.H5"),
        ({"eval_data": "Set5"}, "validation.data", "Set5"),
        ({"eval_every": 4}, "validation.every", 4),
    ],
)
@pytest.mark.parametrize("base", [True, False])
def test_what_is_asked_for_is_laid_over(
    card: Card, tmp_path: Path, given: dict[str, Any], key: str, value: Any, base: bool
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    start = path if base else None
    nothing = dict.fromkeys(given)
    plain = finetune_recipe(card, start, nothing)
    recipe = finetune_recipe(card, start, given)

    def found(of: Any) -> Any:
        for part in key.split("."):
            of = getattr(of, part) if of is not None else None
        if key == "data.folders":
            return tuple(folder.path for folder in of)
        return of

    assert found(recipe) == value
    assert found(plain) != value


def test_what_is_measured(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)

    def check(base: Path | None, **given: Any) -> tuple[str, int] | None:
        found = finetune_recipe(card, base, given).validation
        return None if found is None else (found.data, found.every)

    assert check(path) == ("mine", 9)
    assert check(path, eval_data="builtin") == ("builtin", 10)
    assert check(path, eval_data="Set5") == ("Set5", 10)
    assert check(path, eval_data="none") is None
    assert check(path, eval_every=3) == ("mine", 3)
    assert check(None) == ("builtin", 200)
    assert check(None, iterations=3) == ("builtin", 1)
    assert check(None, eval_data="none", eval_every=3) is None
    path.write_text(RECIPE.replace("validation: {data: mine, every: 9}\n", ""))
    assert check(path) == ("builtin", 10)


def test_a_recipes_changes_and_network(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe = finetune_recipe(card, path, {}, ["optimiser.lr=0.5"])
    assert (recipe.optimiser.lr, recipe.network) == (0.5, None)
    with pytest.raises(UserError, match="name one with --recipe"):
        finetune_recipe(card, None, {}, ["optimiser.lr=0.5"])
    with pytest.raises(UserError, match="not both"):
        finetune_recipe(card, path, {"data": ["a.h5", "b"]})


@pytest.mark.parametrize(
    ("gpu", "gpu_bf16", "avx", "amx", "precision"),
    [
        (False, False, False, False, "fp32"),
        (False, True, True, False, "bf16"),
        (False, False, False, True, "bf16"),
        (True, True, False, False, "bf16"),
        (True, False, True, True, "fp16"),
    ],
)
def test_the_fast_precision(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, gpu_bf16: bool, avx: bool, amx: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bf16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert fast_precision() == precision


def test_ones_own_images_are_measured_where_there_are_enough(card: Card, tmp_path: Path) -> None:
    for number in range(10):
        write_png(tmp_path / "ten" / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    write_png(tmp_path / "one" / "a.png", np.zeros((8, 8, 3), np.uint8))

    def watched(*folders: str, **given: Any) -> str:
        data = [str(tmp_path / name) if name in ("ten", "one") else name for name in folders]
        found = finetune_recipe(card, None, {"data": data, **given}).validation
        assert found is not None
        assert found.keep == "best"
        return found.data

    assert watched("ten") == "held-out"
    assert watched("one", "ten") == "held-out"
    assert watched("ten", "builtin") == "held-out"
    assert watched("one") == watched("builtin") == watched("one", "builtin") == "builtin"
    assert watched("patches.h5") == "builtin"
    assert watched("absent") == "builtin"  # told when it is opened
    assert watched("ten", eval_data="Set5") == "Set5"
    assert watched("ten", quantise="int8") == "builtin"
