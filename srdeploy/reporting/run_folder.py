"""The folder of ``srdeploy run``: what its stages and files are called, and what a report reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError

RECIPE = "line.yaml"
"""The recipe with all names resolved: it runs again as it is."""

CARD = "card.json"
"""In each complete stage's folder: how it was made."""

NETWORKS = {"dense": "10_model", "pruned": "20_pruned", "tuned": "40_tuned"}
"""Stage that makes each version of the network."""

PLAN = "plan.json"
"""Beside a pruned network: the channels that were kept."""

BENCH = "70_bench"
"""Stage that measures, with four files:"""
STORE = "results.sqlite"
ROWS = "rows.json"
QUALITY = "quality.json"
TABLE = "table.txt"

REPORT = "80_report"
"""Stage that makes the page:"""
PAGE = "report.html"


@dataclass(frozen=True)
class RunFolder:
    """What a folder of ``srdeploy run`` holds.

    Attributes:
        root: The folder.
        cards: Each complete stage's card, in the order of the stages.
        quality: Figures of the networks in PyTorch, by version.
    """

    root: Path
    cards: list[dict[str, Any]]
    quality: dict[str, dict[str, Any]]

    def network(self, version: str) -> Path | None:
        """The file of a version, if it is still there."""
        path = self.root / NETWORKS[version] / file_name(version)
        return path if path.is_file() else None

    def card(self, stage: str) -> dict[str, Any]:
        """The card of a stage; empty where it is not complete."""
        return next((card for card in self.cards if card["stage"] == stage), {})


def file_name(version: str) -> str:
    """What the file of a version of the network is called, in the folder of its stage."""
    return f"{version}.safetensors"


def stage_cards(root: Path) -> list[Path]:
    """The cards of the complete stages, in their order."""
    return sorted(root.glob(f"[0-9][0-9]_*/{CARD}"))


def read_run_folder(root: Path) -> RunFolder:
    """Read what a report shows of a run.

    Raises:
        UserError: no stage in the folder is complete, or a card is damaged.
    """
    cards = []
    for path in stage_cards(root):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"'{path}' is damaged; run the stage again.") from error
        if isinstance(card, dict) and "stage" in card and card["stage"] != REPORT:
            cards.append(card)
    if not cards:
        raise UserError(
            f"'{root}' is no folder of `srdeploy run`: no stage in it is complete; name the "
            "folder of a run, or a file of results."
        )
    quality: dict[str, dict[str, Any]] = {}
    try:
        document = json.loads((root / BENCH / QUALITY).read_text(encoding="utf-8"))
        quality = {name: document[name] for name in NETWORKS if name in document}
    except (OSError, ValueError, TypeError):
        pass  # quality was not asked for, or the stage is not complete
    return RunFolder(root, cards, quality)
