"""Facts about an artifact that need no run: its content, its size, its arithmetic."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from srdeploy import __version__
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.card_file import find_file
from srdeploy.runtime.table import split_runtime
from srdeploy.util.files import atomic_path, cache_dir, locked, sha256


def content_hash(artifact: str) -> str | None:
    """SHA-256 of a file, package or shipped network; None for anything else."""
    artifact, _ = split_runtime(artifact)
    try:
        return sha256(find_file(artifact))
    except UserError:
        return None


def counts(card: Card) -> dict[str, Any]:
    """``params`` and ``macs_720p`` from the card alone; empty where it is not enough.

    Counting takes PyTorch, and importing that takes longer than many measurements: what was counted
    is kept, and of several processes that ask at once (a farm's jobs) one counts.
    """
    what = card.model_dump_json(exclude={"history", "quality", "proof", "quantised"})
    name = hashlib.sha256(f"{__version__} {what}".encode()).hexdigest()
    kept = cache_dir() / "counts" / f"{name}.json"
    with suppress(OSError, ValueError):
        return json.loads(kept.read_text("utf-8"))
    with locked(kept.with_name("lock")):
        with suppress(OSError, ValueError):  # somebody else was faster
            return json.loads(kept.read_text("utf-8"))
        found = _count(card)
        with suppress(UserError, OSError), atomic_path(kept) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return found


def _count(card: Card) -> dict[str, Any]:
    from srdeploy.models.count import count
    from srdeploy.models.network import Network
    from srdeploy.models.store import empty_module

    try:
        found = count(Network(empty_module(card), card))
    except UserError:
        return {}  # the user's own code, or a graph nobody labelled
    return {"params": found.params, "macs_720p": found.macs_720p}
