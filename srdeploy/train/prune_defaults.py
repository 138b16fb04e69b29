"""The pruning recipe a user gets without writing one, and what the command line lays over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.models.network import Network
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.pruning.methods.table import find_method
from srdeploy.train.defaults import fast_precision
from srdeploy.train.method import PruneRecipe, read_prune_recipe
from srdeploy.util.bounded_yaml import read_file
from srdeploy.util.shipped import shipped
from srdeploy.util.strict import merged, parse


def prune_recipe(
    network: Network,
    method: str | None,
    base: Path | None,
    changes: Sequence[str] = (),
    prune: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    finetune: dict[str, Any] | None = None,
    refit: bool | None = None,
    calibration: str | None = None,
    published_exclude: bool = True,
) -> PruneRecipe:
    """A recipe for pruning a network.

    Without a base: a minute's schedule on the shipped images, to see the method work. A network
    worth keeping needs real training images and one of the recipes in ``configs/prune``.

    Args:
        network: What will be pruned.
        method: One that trains; None: the base's.
        base: A recipe file, or None.
        changes: Settings of the base to replace (``prune.ratio=0.3``).
        prune: Laid over the recipe's ``prune``; None values change nothing.
        training: The same for ``training``.
        finetune: The same for ``finetune``.
        refit: Whether to refit before the recovery; None: as the recipe says.
        calibration: Images for that; None: the recipe's.
        published_exclude: Also leave alone what this architecture's published runs leave alone.

    Raises:
        UserError: settings that do not fit.
    """
    if base is not None:
        values = read_prune_recipe(base, changes).model_dump(mode="json", exclude_unset=True)
        values = with_method(values, method)
    else:
        values = short_recipe(method or "srp")
    laid = {"prune": prune or {}, "training": training or {}, "finetune": finetune or {}}
    for section, given in laid.items():
        given = {key: value for key, value in given.items() if value is not None}
        values[section] = merged(values.get(section, {}), given)
    own_steps = {"refit": refit, "calibration": calibration}
    values |= {key: value for key, value in own_steps.items() if value is not None}
    if published_exclude:
        own = values["prune"].get("exclude", ())
        values["prune"]["exclude"] = tuple(dict.fromkeys((*default_exclude(network), *own)))
    return parse(PruneRecipe, values, where=f"'{base}'" if base else "These settings")


def with_method(values: dict[str, Any], method: str | None) -> dict[str, Any]:
    """A recipe's values for another method; None: as they are."""
    if method is None:
        return values
    return merged(values, _own(method))


def _own(method: str) -> dict[str, Any]:
    """The settings that make a method, laid over any recipe."""
    recipe = find_method(method).recipe
    if recipe is None:
        return {"prune": {"method": method}}
    values: dict[str, Any] = read_file(shipped("prune")[recipe])
    del values["base"]
    return values


def short_recipe(method: str) -> dict[str, Any]:
    """Values of a minute's schedule on the shipped images.

    What the study found best decides where the papers' schedules do not fit a minute: the penalty
    grows by a factor (``first``), at a constant rate with clipped gradients, and SRP's coupled
    layers agree on their set instead of drawing it. The published forms are in
    ``configs/recipes``; ``common_set: random`` alone brings SRP's drawn set back.
    """
    published: str = _own(method)["prune"]["method"]
    if published != method:
        return with_method(short_recipe(published), method)
    penalty = {"first": 0.05, "growth": 0.1, "every": 10, "limit": 250.0, "hold": 150}
    prune: dict[str, Any] = {"method": method, "ratio": 0.5, "penalty": penalty}
    if method == "srp":
        prune["common_set"] = "joint"
    else:
        # Filter norms are ten times larger than weights and move no faster.
        prune |= {"penalty": penalty | {"hold": 300}, "alignment": {"iterations": 100}}
    if method == "gassl":
        prune["search"] = {"growth": 0.05, "every": 10, "limit": 0.5}
    return {
        "prune": prune,
        "training": {
            "data": {"folders": ["builtin"]},
            "patch": 32,
            "batch": 8,
            "precision": fast_precision(),
            "log_every": 50,
        },
        "regularise": {
            "optimiser": {"kind": "adam", "lr": 1e-3},
            "schedule": {"kind": "constant"},
            "clip": {"kind": "norm", "limit": 1.0},
        },
        "finetune": {
            "iterations": 1000,
            "optimiser": {"kind": "adam", "lr": 1e-3},
            "schedule": {"kind": "cosine", "warmup": 50, "final": 0.01},
            "clip": {"kind": "norm", "limit": 1.0},
            "ema": 0.99,
        },
    }
