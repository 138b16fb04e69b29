"""Networks that a fit makes: pruned without training, written as artifacts, kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srdeploy.exporting.run import export
from srdeploy.fitting.choose import Chooser
from srdeploy.fitting.conditions import Way
from srdeploy.fitting.reasons import reasons
from srdeploy.fitting.result import FitOptions
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.store import save_network
from srdeploy.pruning.methods.table import DEFAULT, find_method, steps_of
from srdeploy.reconstruct.budget import Budget
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_at_once
from srdeploy.util.files import atomic_path


@dataclass(frozen=True)
class Made:
    """A network for a budget.

    Attributes:
        network: Pruned, not recovered.
        removed: Atoms that each group has lost; and 1 for each residual block that is gone.
        way: How it is to run.
        predicted_ms: How long it should take.
    """

    network: Network
    removed: Mapping[str, int]
    way: Way
    predicted_ms: float


def make(
    chooser: Chooser, candidates: Sequence[Mapping[str, int]], budget: float, options: FitOptions,
    folder: Path,
) -> Made:  # fmt: skip
    """Prune a network by the candidate that comes nearest to the dense one.

    What was made before of the same candidates is taken from the folder; what was interrupted goes
    on from there.

    Args:
        chooser: What chose them, and for which way of running.
        candidates: How many atoms each group loses; the first is one ratio for all.
        budget: Milliseconds.
        options: What the fit was asked for.
        folder: Where it lies.
    """
    digest = _digest(chooser, candidates, options)
    file, told = folder / f"made-{digest}.safetensors", folder / f"made-{digest}.json"
    dense = chooser.subject.network
    if list(candidates) == [{}]:
        return Made(dense, {}, chooser.way, chooser.predict({}))
    if not (file.is_file() and told.is_file()):
        method = find_method(DEFAULT)
        calibration = Calibration(
            options.calibration,
            network_wise=steps_of(method, options.network_wise),
            steps_asked=options.network_wise is not None,
        )
        ways = tuple(dict(one) for one in candidates)
        small, report = prune_at_once(
            dense,
            method,
            chooser.subject.options,
            calibration,
            budget=Budget(budget, "ms", lambda network, grouping: chooser.predict, ways),
            folder=folder / f"making-{digest}",
        )
        save_network(small, file)
        counts = {name: len(atoms) for name, atoms in report.plan.removed.items()}
        counts |= dict.fromkeys(report.plan.blocks, 1)
        with atomic_path(told) as temporary:
            temporary.write_text(json.dumps(counts), encoding="utf-8")
    removed: dict[str, int] = json.loads(told.read_text("utf-8"))
    return Made(load_network(file), removed, chooser.way, chooser.predict(removed))


def with_reasons(made: Made, chooser: Chooser, budget: float, options: FitOptions) -> Network:
    """The network with the fit on its card: for what it was chosen, and why each width."""
    height, width = options.size
    step: dict[str, Any] = {
        "device": chooser.predict.table.model,
        "runtime": made.way.runtime,
        "precision": made.way.precision,
        "input": f"{width}x{height}",
        "budget_ms": budget,
        "predicted_ms": round(made.predicted_ms, 4),
        "why": reasons(chooser, made.removed),
    }
    card = made.network.card.step(step="fit", **step)
    return replace(made.network, card=card)


def write_artifact(network: Network, way: Way, path: Path) -> None:
    """Write and check the ONNX file of a network; one that is there already stays."""
    if not path.exists():
        export(network, "onnx", path, precision=way.precision, pixel_shuffle=way.pixel_shuffle)


def _digest(chooser: Chooser, candidates: Sequence[Mapping[str, int]], options: FitOptions) -> str:
    asked = {
        "network": chooser.subject.network.card.to_json(),
        "candidates": [dict(one) for one in candidates],
        "calibration": options.calibration,
        "network_wise": options.network_wise,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
