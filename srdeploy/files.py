"""Files on disk: written whole or not at all, named by their content, cached in one place."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from srdeploy.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place if the body succeeds.

    Works for files and for folders (a folder replaces an older one of the same name). Whatever the
    body left behind is removed if it raises, so a reader never meets a half-written artifact.

    Raises:
        UserError: the parent folder cannot be made or written to, or ``path`` is a folder where a
            file is to be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    _prepare(target)
    try:
        yield temporary
        if temporary.is_file():  # some writers make private files; the user's umask decides here
            temporary.chmod(0o666 & ~_umask())
        if temporary.is_dir() and target.is_dir():
            shutil.rmtree(target)
        try:
            os.replace(temporary, target)
        except IsADirectoryError:
            raise _is_folder(target) from None
        log.info("wrote %s", target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a lock file against other processes of this machine, waiting for it.

    It saves work, it guards nothing: where there are no such locks (Windows, some network drives,
    a folder that cannot be written to) none is held.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            Path(path).parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(open(path, "ab"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def check_output(path: str | Path) -> None:
    """See that a file can be written here, before hours of work end in finding out.

    Raises:
        UserError: ``path`` is a folder, or its parent cannot be made or written to.
    """
    target = Path(path)
    if target.is_dir():
        raise _is_folder(target)
    _prepare(target)


def _prepare(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"Cannot write '{target}': a part of that path is a file; choose another output path."
        ) from None
    except PermissionError:
        raise _denied(target) from None
    if not os.access(target.parent, os.W_OK):
        raise _denied(target)


def _is_folder(target: Path) -> UserError:
    return UserError(f"'{target}' is a folder; choose a file name to write to.")


def _denied(target: Path) -> UserError:
    return UserError(f"Cannot write '{target}': permission denied; choose another output path.")


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
