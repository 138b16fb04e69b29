"""Files on disk: written whole or not at all, named by their content, cached in one place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srdeploy.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place if the body succeeds.

    Works for files and for folders (a folder replaces an older one of the same name). Whatever the
    body left behind is removed if it raises, so a reader never meets a half-written artifact.

    Raises:
        UserError: the parent folder cannot be made or written to.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_writable(target)
        yield temporary
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(temporary, target)
    except PermissionError as error:
        raise UserError(
            f"Cannot write '{target}': permission denied; choose another output path."
        ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _check_writable(target: Path) -> None:
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(target.parent)


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file, or of a folder's files in the order of their relative names."""
    root = Path(path)
    digest = hashlib.sha256()
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    for file in files:
        if root.is_dir():
            digest.update(str(file.relative_to(root)).encode())
        with open(file, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Folder for what can be made again: ``$SRDEPLOY_CACHE``, else ``$XDG_CACHE_HOME/srdeploy``."""
    if root := os.environ.get("SRDEPLOY_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srdeploy"
