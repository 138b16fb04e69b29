"""Recovery of the network that was chosen: minutes of fine-tuning, or a recipe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.train.defaults import finetune_recipe
from srdeploy.train.loop import train

TRIAL = 20
"""Iterations by which the time of the others is told."""

LEAST = 50
"""Iterations, however short the time."""


def check_recovery(asked: str) -> None:
    """See that it is one.

    Raises:
        UserError: it is neither a number of minutes nor the file of a recipe.
    """
    if minutes_of(asked) is None and not Path(asked).is_file():
        raise UserError(
            f"--recover '{asked}' is neither a number of minutes nor the file of a recipe; give 0 "
            "for none."
        )


def minutes_of(asked: str) -> float | None:
    """The minutes that are asked for; None where it is a recipe."""
    try:
        found = float(asked)
    except ValueError:
        return None
    return found if 0 <= found < 1e6 else None


def recover(
    network: Network, teacher: Path, asked: str, precision: str, data: Sequence[str], folder: Path
) -> Network:
    """Fine-tune a network with the dense one as its teacher; the same call resumes.

    Args:
        network: The chosen one.
        teacher: The dense network's file.
        asked: Minutes, or a recipe's file; not 0.
        precision: The artifact's; where it is int8, the network learns under its rounding.
        data: Training images; empty: those of the recipe, or the few that are shipped.
        folder: The run's own.

    Raises:
        UserError: a recipe that does not fit, or no images.
    """
    rounded = "int8" if precision == "int8" else None
    minutes = minutes_of(asked)

    def tuned(iterations: int | None, where: Path) -> Network:
        recipe = finetune_recipe(
            network.card,
            Path(asked) if minutes is None else None,
            {
                "iterations": iterations,
                "teacher": str(teacher),
                "quantise": rounded,
                "data": list(data) or None,
                "eval_data": "none" if where.name == "trial" else None,
            },
        )
        if recipe.quantise is not None:
            from srdeploy.exporting.precision.quantise_finetune import finetune_int8

            return finetune_int8(network, recipe, where)
        return train(network, recipe, where, step="finetune")

    if minutes is None:
        return tuned(None, folder / "run")
    count = folder / "iterations.txt"
    if not count.is_file():  # decided once: a run that is resumed goes on for as long
        begun = time.monotonic()
        tuned(TRIAL, folder / "trial")
        each = (time.monotonic() - begun) / TRIAL
        count.write_text(str(max(LEAST, int(minutes * 60 / each))), encoding="utf-8")
    return tuned(int(count.read_text("utf-8")), folder / "run")
