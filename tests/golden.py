"""Texts that a test compares with a file beside it, word for word.

After a change that is meant, ``SRDEPLOY_GOLDEN=write python -m pytest tests/...`` writes the files
anew; their difference is then read like that of any source.
"""

from __future__ import annotations

import os
from pathlib import Path


def same_as(path: Path, text: str) -> None:
    """Fail unless the file holds this text."""
    if os.environ.get("SRDEPLOY_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def by_tags(page: str) -> str:
    """HTML or SVG with a line for each tag, so that a difference can be read."""
    return page.replace("<", "\n<").lstrip("\n") + "\n"
