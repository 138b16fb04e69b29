"""The fine-tuning recipe a user gets without writing one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.registry import architecture_of
from srdeploy.train.patches import count_images, fitting_patch, held_out_of
from srdeploy.train.recipe import HELD_OUT, Data, TrainRecipe, read_recipe
from srdeploy.util.strict import parse

RECONSTRUCTED_LR = 1e-3
"""Adam's rate from a start that was fitted to the dense network, with that as the teacher. The
optimum is flat: half of it recovers a little less in the same time, twice as much hardly more."""

HDF5_SUFFIXES = (".h5", ".hdf5")


def finetune_recipe(
    card: Card, base: Path | None, overrides: dict[str, Any], changes: Sequence[str] = ()
) -> TrainRecipe:
    """A recipe for fine-tuning a network.

    Without a base: L1 loss, Adam with a short warm-up and a cosine, weights averaged over the last
    stretch, patches of the network's customary size. A pruned network that was fitted to the dense
    one, and has a teacher, learns at twice the rate, and mostly from the teacher. For 8 bits a
    short run at a low rate, in which the network learns from itself as it was in float: nothing
    new, only how to do the same.

    Args:
        card: Of the network to tune.
        base: A recipe file to start from, or None.
        overrides: data, iterations, batch, patch, lr, precision, eval_data, eval_every, seed,
            quantise, teacher, output (the teacher's share of the loss), threads; those that are
            None change nothing. Without ``eval_data`` and a base that validates, the network is
            watched, and the best kept, by one in ten of its training images, or by those shipped
            for measuring where these are few, an HDF5 file, or shipped themselves.
        changes: Settings of the base to replace (``optimiser.lr=1e-3``).

    Raises:
        UserError: settings that do not fit together.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    if base is not None:
        settings = read_recipe(base, changes).model_dump(mode="json", exclude_none=True)
        settings.pop("network", None)
    elif changes:
        raise UserError("--set changes settings of a recipe; name one with --recipe.")
    else:
        settings = finetune_defaults(
            card, given.get("iterations"), "quantise" in given, taught="teacher" in given
        )
    for key in ("iterations", "batch", "patch", "precision", "seed", "threads"):
        if key in given:
            settings[key] = given[key]
    if "lr" in given:
        settings["optimiser"]["lr"] = given["lr"]
    if "quantise" in given:
        settings["quantise"] = settings.get("quantise", {}) | {"precision": given["quantise"]}
    if "teacher" in given:
        settings["distill"] = settings.get("distill", {}) | {"teacher": given["teacher"]}
    if "output" in given:
        settings["distill"]["output"] = given["output"]
    if "data" in given:
        settings["data"] = _data(given["data"])
    _watch(settings, given, base is not None)
    return parse(TrainRecipe, settings, where=f"'{base}'" if base else "These settings")


def finetune_defaults(
    card: Card, iterations: int | None = None, rounded: bool = False, *, taught: bool = False
) -> dict[str, Any]:
    """Settings of fine-tuning that fit a network, on the shipped images, measuring nothing.

    Args:
        card: Of the network.
        iterations: How long; None: 1000 (``rounded``: 400).
        rounded: For 8 bits.
        taught: A teacher will be named.
    """
    iterations = iterations or (400 if rounded else 1000)
    settings = {
        "data": {"folders": ["builtin"]},
        "scales": [card.scale],
        "patch": fitting_patch(card, 41 if card.pre_upscaled else 32 if rounded else 48),
        "batch": 8 if rounded else 16,
        "iterations": iterations,
        "optimiser": {"kind": "adam", "lr": 1e-4 if rounded else 5e-4},
        "schedule": {"kind": "cosine", "warmup": min(100, iterations // 10), "final": 0.01},
        "clip": {"kind": "norm", "limit": 1.0},
        "ema": 0.99 if iterations < 5000 else 0.999,
        "precision": "fp32" if rounded else fast_precision(),
        "log_every": max(1, min(100, iterations // 10)),
        **architecture_of(card).finetune,
    }
    if rounded:
        settings["distill"] = {"output": 1.0}
    elif taught and any(entry.get("step") == "refit" for entry in card.history):
        settings["optimiser"]["lr"] = RECONSTRUCTED_LR
        settings["distill"] = {"output": 0.9}
    return settings


def fast_precision() -> str:
    """bf16 where the machine computes in it (GPUs since Ampere, CPUs with AVX512-BF16 or AMX)."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    cpu = torch.cpu
    return "bf16" if cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported() else "fp32"


def _data(paths: list[str]) -> dict[str, Any]:
    hdf5 = [path for path in paths if path.lower().endswith(HDF5_SUFFIXES)]
    if not hdf5:
        return {"folders": paths}
    if len(paths) > 1:
        raise UserError("Give either image folders or one HDF5 file as --train-data, not both.")
    return {"hdf5": hdf5[0]}


def _watch(settings: dict[str, Any], given: dict[str, Any], has_base: bool) -> None:
    """Validation: the set asked for, else the recipe's own, else one that fits the data."""
    data = given.get("eval_data")
    if data == "none":
        settings.pop("validation", None)
        return
    if data is not None or not (has_base and "validation" in settings):
        every = max(1, settings["iterations"] // 5)
        settings["validation"] = {"data": data or _fitting_set(settings), "every": every}
    if "eval_every" in given:
        settings["validation"]["every"] = given["eval_every"]


def _fitting_set(settings: dict[str, Any]) -> str:
    """Some of the user's own images where there are enough; else those that are shipped to measure.

    Learning the rounding of 8 bits, a network is to stay as it was, whatever it looks at.
    """
    folders = parse(Data, settings["data"], where="data").folders
    own = [folder.path for folder in folders if folder.path != BUILTIN]
    if not own or "quantise" in settings:
        return BUILTIN
    with suppress(UserError):  # who opens the folders says what is wrong with them
        if any(held_out_of([count_images(own)])):
            return HELD_OUT
    return BUILTIN
