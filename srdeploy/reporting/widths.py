"""The widths of pruned networks, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srdeploy.errors import SrdeployError
from srdeploy.exporting.provenance import changed_widths
from srdeploy.reporting.sources import Evidence
from srdeploy.runtime.card_of import read_card_of


@dataclass(frozen=True)
class Widths:
    """Output channels of the layers of a pruned network, before and after."""

    name: str
    layers: dict[str, tuple[int, int]]
    unchanged: int


def find_widths(evidence: Evidence) -> list[Widths]:
    """Of every pruned network that is still there: networks of runs, artifacts beside results."""
    files: list[Path] = []
    for run in evidence.runs:
        path = run.network("pruned") or run.network("tuned")
        files += [path] if path is not None else []
    roots = {run.root for run in evidence.runs}
    for entry in evidence.finished:
        if entry.folder not in roots:
            files.append(entry.folder / entry.row.artifact)
    found: list[Widths] = []
    for path in dict.fromkeys(files):
        try:
            card = read_card_of(path)
            layers = changed_widths(card)
        except (SrdeployError, OSError):
            continue  # not there any more, or without a card
        if layers and all(one.layers != layers for one in found):
            unchanged = len(card.widths) - len(layers)
            found.append(Widths(_named(path, roots), layers, unchanged))
    return found


def _named(path: Path, roots: set[Path]) -> str:
    root = next((root for root in roots if path.is_relative_to(root)), None)
    return path.name if root is None else f"{root.name}/{path.name}"
