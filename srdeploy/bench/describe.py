"""Facts about an artifact that need no run: its content, its size, its arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.files import sha256
from srdeploy.models.card import Card
from srdeploy.runtime.table import split_runtime


def content_hash(artifact: str) -> str | None:
    """SHA-256 of a file, package or shipped network; None for anything else."""
    artifact, _ = split_runtime(artifact)
    path = Path(artifact)
    if not path.exists():
        from srdeploy.models.load import shipped_networks

        shipped = shipped_networks().get(artifact)
        if shipped is None:
            return None
        path = shipped
    return sha256(path)


def counts(card: Card) -> dict[str, Any]:
    """``params`` and ``macs_720p`` from the card alone; empty where it is not enough."""
    from srdeploy.models.count import count
    from srdeploy.models.network import Network
    from srdeploy.models.store import empty_module

    try:
        found = count(Network(empty_module(card), card))
    except UserError:
        return {}  # the user's own code, or a graph nobody labelled
    return {"params": found.params, "macs_720p": found.macs_720p}
