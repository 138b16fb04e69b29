"""What a stage's inputs hold, as hashes; large folders are read once."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from srdeploy.data.builtin import BENCHMARK_IMAGES, BUILTIN, TRAINING_IMAGES
from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path, cache_dir, sha256
from srdeploy.util.strict import expand


def digest_of(values: Any) -> str:
    """Hex SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def benchmark_folder(text: str) -> Path:
    """Where a benchmark set lies, ``builtin`` included."""
    return BENCHMARK_IMAGES if text == BUILTIN else expand(text)


def training_folder(text: str) -> Path:
    """Where training images lie, ``builtin`` included."""
    return TRAINING_IMAGES if text == BUILTIN else expand(text)


def content(path: Path) -> str:
    """Hex SHA-256 of a file's or folder's content.

    A folder's is remembered together with its files' names, sizes and times, so that thousands of
    images are not read again at every start.

    Raises:
        UserError: there is nothing there.
    """
    if not path.exists():
        raise UserError(f"There is no file or folder '{path}'.")
    if path.is_file():
        return sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    stats = [(str(p), (found := p.stat()).st_size, found.st_mtime_ns) for p in files]
    kept = cache_dir() / "digests" / f"{digest_of([str(path.resolve()), stats])}.txt"
    with suppress(OSError):
        return kept.read_text(encoding="ascii")
    found_digest = sha256(path)
    # A cache that cannot be written only costs time.
    with suppress(UserError, OSError), atomic_path(kept) as temporary:
        temporary.write_text(found_digest, encoding="ascii")
    return found_digest
