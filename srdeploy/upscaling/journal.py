"""What results in a folder were made from, so that a rerun knows what is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srdeploy.util.files import atomic_path

JOURNAL = "upscale.json"
"""The file beside the results."""


def fingerprint(facts: Sequence[Any], comparison: str) -> list[str]:
    """What a result depends on: without and with what it is compared with.

    Args:
        facts: Plain data.
        comparison: What tells the comparison from others; empty for none.
    """
    own = hashlib.sha256(json.dumps(list(facts)).encode()).hexdigest()
    sheet = hashlib.sha256(comparison.encode()).hexdigest() if comparison else ""
    return [own, sheet]


class Journal:
    """The results in a folder and what they were made from."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._entries: dict[str, dict[str, Any]] = {}
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            self._entries = {
                str(name): dict(entry) for name, entry in entries.items() if "made_from" in entry
            }
        except (OSError, ValueError, AttributeError, TypeError):
            pass  # none yet, or somebody else's: results are then refused, not replaced

    def knows(self, target: Path, made_from: list[str]) -> bool:
        """Whether this very result, with this side-by-side, is finished."""
        return self._made(target) == made_from or (
            not made_from[1] and self.same_but_sheet(target, made_from)
        )

    def same_but_sheet(self, target: Path, made_from: list[str]) -> bool:
        """Whether this very result is finished, whatever it was compared with."""
        return self._made(target)[:1] == made_from[:1]

    def add(self, target: Path, made_from: list[str], source: str) -> None:
        """Note what a result is made from, before it is there."""
        self._entries[target.name] = {"source": source, "made_from": made_from}
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(self._entries, indent=1) + "\n", encoding="utf-8")

    def _made(self, target: Path) -> list[str]:
        return list(self._entries.get(target.name, {}).get("made_from", []))
