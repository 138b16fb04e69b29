"""A run's state on disk: written whole, read without executing anything, tied to its recipe."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util.files import atomic_path


@dataclass(frozen=True)
class Origin:
    """What a run was started from; resuming with anything else would give a chimera."""

    recipe: str  # JSON of the decisive settings
    network: str  # digest of the card's shapes and the starting weights
    data: str  # digest of the training data

    @classmethod
    def of(cls, recipe: TrainRecipe, network: Network, data_digest: str) -> Origin:
        """The origin of a run about to start."""
        kind = f"{network.card.arch} {network.card.scale}"
        settings = json.dumps(recipe.decisive(), sort_keys=True)
        return cls(settings, weights_digest(network.module, kind), data_digest)


def weights_digest(module: nn.Module, prefix: str = "") -> str:
    """Hex SHA-256 of every tensor's name, shape and bytes."""
    total = hashlib.sha256(prefix.encode())
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name} {list(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


@dataclass
class TrainingState:
    """Everything a run needs to go on as if it had never stopped."""

    iteration: int
    module: dict[str, Any]
    optimiser: dict[str, Any]
    rng: torch.Tensor
    ema: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    hooks: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0  # time spent training


def save_state(path: Path, state: TrainingState, origin: Origin) -> None:
    """Replace the checkpoint; a kill at any moment leaves either the old or the new one."""
    with atomic_path(path) as temporary:
        torch.save({"format": 1, "origin": asdict(origin), "state": vars(state)}, temporary)


def load_state(path: Path, origin: Origin) -> TrainingState:
    """Read a checkpoint of the same origin.

    Raises:
        UserError: it is damaged, or belongs to another recipe (the changed keys are named),
            another network or other images.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        stored = Origin(**content["origin"])
        content["state"].pop("best", None)  # of srdeploy 0.1
        state = TrainingState(**content["state"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError):
        raise UserError(
            f"The checkpoint '{path}' cannot be read; delete it to start the run again."
        ) from None
    if stored.recipe != origin.recipe:
        changes = _changes(json.loads(stored.recipe), json.loads(origin.recipe))
        raise _mismatch(path, f"with other settings ({changes})")
    if stored.network != origin.network:
        raise _mismatch(path, "from another network")
    if stored.data != origin.data:
        raise _mismatch(path, "on other training images")
    return state


def _mismatch(path: Path, how: str) -> UserError:
    return UserError(
        f"The run in '{path.parent}' was started {how}; undo the change to resume it, choose "
        "another run folder, or start over without resuming."
    )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    return ", ".join(f"{key}: was {old.get(key)}, is {new.get(key)}" for key in keys)
