"""A stage's card: what lies in its folder, how it was made, and out of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from srdeploy.line.digest import digest_of
from srdeploy.reporting.run_folder import CARD
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import atomic_path, sha256
from srdeploy.util.strict import Strict

BEGUN = ".begun"
"""Holds the key of a stage that has begun: while it is the same, work goes on where it stopped."""


class StageCard(Strict):
    """Written when a stage is complete, and only then.

    Attributes:
        format: Version of this description.
        stage: The folder's name.
        what: In one line.
        how: Every setting that decides the result.
        inputs: What came from outside the run: name to content hash.
        parents: Stages it was made from, each with the content hash it had then.
        key: Hash of the four above: what makes a stage current.
        outputs: File or package in the folder to its content hash.
        sha256: Hash of the outputs: what the next stage calls its parent.
        figures: What was found out on the way.
        seconds: Wall-clock time, of the last sitting.
        made: When, UTC.
        tools: Versions of what made it.
    """

    format: Literal[1] = 1
    stage: str
    what: str
    how: dict[str, Any]
    inputs: dict[str, str]
    parents: dict[str, str]
    key: str
    outputs: dict[str, str]
    sha256: str
    figures: dict[str, Any] = {}
    seconds: float
    made: str
    tools: dict[str, str]


def read_stage_card(folder: Path) -> StageCard | None:
    """The card in a stage's folder; None where there is none, or one of another version."""
    try:
        return StageCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError):
        return None


def write_stage_card(folder: Path, card: StageCard) -> None:
    """Write a card, whole or not at all."""
    with atomic_path(folder / CARD) as temporary:
        document = card.model_dump(mode="json")
        temporary.write_text(dumps(document, indent=2) + "\n", encoding="utf-8")


def key_of(stage: str, how: dict[str, Any], inputs: dict[str, str], parents: dict[str, str]) -> str:
    """What decides a stage's result, as one hash."""
    return digest_of({"stage": stage, "how": how, "inputs": inputs, "parents": parents})


def hashes(folder: Path, names: list[str]) -> dict[str, str]:
    """Content hash of each output; what is missing has none."""
    return {name: sha256(folder / name) for name in names if (folder / name).exists()}
