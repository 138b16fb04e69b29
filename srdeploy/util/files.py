"""Files on disk: written whole or not at all, removed where they may be, named by their content."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from srdeploy.errors import SrdeployError, UserError

log = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place if the body succeeds.

    Works for files and for folders (a folder replaces an older one of the same name). Whatever the
    body left behind is removed if it raises, so a reader never meets a half-written artifact; what
    has its name is on the disk (:func:`settle`), so neither does one after a power cut.

    Raises:
        UserError: the parent folder cannot be made or written to, or ``path`` is a folder where a
            file is to be written.
        SrdeployError: the disk is full.
    """
    target = Path(path)
    _prepare(target)
    temporary = _beside(target)
    try:
        with space_for(target):
            yield temporary
            if temporary.is_file():  # some writers make private files; the user's umask decides
                temporary.chmod(0o666 & ~_umask())
            settle(temporary, target)
    finally:
        with suppress(OSError):  # what went wrong before is what is to be told
            discard(temporary, target.parent)


def _beside(target: Path) -> Path:
    """A name for what is not finished: of this target, process and thread, and short, since the
    target's may be as long as the disk allows; with its ending, by which libraries choose a format.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    ending = target.suffix if len(target.suffix) < 16 else ""
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    return target.with_name(f".{digest}.{writer}.tmp{ending}")


_STAGE = ".made."  # begins the names of folders whose files have not moved out yet


_LAST = (".json", ".dispatch")


@contextmanager
def staged_files(path: str | Path) -> Iterator[Path]:
    """Yield ``path`` in a folder of its own; what the body made there moves out if it succeeds.

    For artifacts of several files, and for what is judged after it was written. A description
    (``.json``, ``.dispatch``) comes last, so that it never speaks of what is not there yet.

    Raises:
        UserError: as :func:`atomic_path`.
    """
    target = Path(path)
    _prepare(target)
    with tempfile.TemporaryDirectory(prefix=_STAGE, dir=target.parent) as folder:
        yield Path(folder) / target.name
        for made in sorted(Path(folder).iterdir(), key=lambda one: one.suffix in _LAST):
            settle(made, target.with_name(made.name))


def settle(made: Path, target: Path) -> None:
    """Give a finished file or folder its name, through any power cut: whole, or not there.

    Its bytes are on the disk before it has the name, and the name is when this returns. A folder of
    that name makes room in one step.

    Raises:
        UserError: ``target`` is a folder and ``made`` is a file.
    """
    _sync(made)
    aside = made.with_suffix(".old")
    replaces = made.is_dir() and target.is_dir()
    if replaces:
        os.rename(target, aside)
    try:
        os.replace(made, target)
    except IsADirectoryError:
        raise _is_folder(target) from None
    except OSError:
        if replaces:
            os.rename(aside, target)
        raise
    _sync(target.parent, deep=False)
    if replaces:
        discard(aside, target.parent)
    if not target.parent.name.startswith(_STAGE):
        log.info("wrote %s", target)


def _sync(path: Path, deep: bool = True) -> None:
    """Have the system write a file, or a folder and (``deep``) all in it, to the disk."""
    if path.is_dir():
        for inner in path.iterdir() if deep else ():
            if not inner.is_symlink():
                _sync(inner)
        if os.name == "nt":  # there, folders cannot be opened
            return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def discard(path: str | Path, root: str | Path) -> None:
    """Remove a file, link or folder that lies below ``root``; nothing happens where there is none.

    Links are removed, never followed. Another process may be removing the same.

    Raises:
        UserError: it lies elsewhere, links on the way to it resolved; it is left alone.
    """
    path = Path(path)
    found = Path(os.path.realpath(path.parent)) / path.name
    if path.name in ("", "..") or Path(os.path.realpath(root)) not in found.parents:
        raise UserError(
            f"'{path}' does not lie in '{root}', so it is not removed; move it there, or remove "
            "it yourself."
        )
    while os.path.lexists(found):
        with suppress(FileNotFoundError):  # somebody was faster with a part of it
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink()


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "disk is full")
_LEAST_FREE = 1 << 14
"""With fewer bytes free on a disk, whatever failed to write to it failed for that."""


@contextmanager
def space_for(path: str | Path, then: str = "run again") -> Iterator[None]:
    """Say in one sentence, whichever library wrote, that the disk is full.

    Args:
        path: What is written.
        then: What to do once there is space.

    Raises:
        SrdeployError: the body failed since the disk of ``path`` is full.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error, Path(path).parent):
            raise
        raise SrdeployError(
            f"There is no space left on the disk of '{path}'; free some and {then}."
        ) from error


def is_full(error: BaseException, folder: str | Path) -> bool:
    """Whether an error, or one behind it, means that the disk of ``folder`` is full.

    Some libraries say so only in words, and some only that writing failed.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno in _FULL:
            return True
        if any(words in str(behind).lower() for words in _FULL_WORDS):
            return True
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, (SrdeployError, MemoryError)):
        return False
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _LEAST_FREE
    return False


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


def require_suffix(path: str | Path, endings: tuple[str, ...], what: str) -> None:
    """See that a file that is to be written is named for what it will be.

    Args:
        path: The file.
        endings: Those that fit, in lower case.
        what: What it will be, as in "a chart".

    Raises:
        UserError: it ends otherwise.
    """
    if Path(path).suffix.lower() not in endings:
        fitting = " or ".join(ending for ending in endings if ending)
        raise UserError(f"'{path}' will be {what}, so it must end in {fitting}.")


def check_output(path: str | Path) -> None:
    """See that a file can be written here, before hours of work end in finding out.

    Raises:
        UserError: ``path`` is a folder, or its parent cannot be made or written to.
    """
    target = Path(path)
    _prepare(target)
    if target.is_dir():
        raise _is_folder(target)


def _prepare(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            target.lstat()  # a name may be too long for the disk
        if not os.access(target.parent, os.W_OK):
            raise _denied(target)
        with tempfile.TemporaryFile(dir=target.parent):  # of some folders only this tells
            pass
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"Cannot write '{target}': a part of that path is a file; choose another output path."
        ) from None
    except PermissionError:
        raise _denied(target) from None
    except OSError as error:
        raise UserError(
            f"Cannot write '{target}' ({error.strerror}); choose another output path."
        ) from error


def _is_folder(target: Path) -> UserError:
    return UserError(f"'{target}' is a folder; choose a file name to write to.")


def _denied(target: Path) -> UserError:
    return UserError(f"Cannot write '{target}': permission denied; choose another output path.")


def require_file(path: str | Path, what: str = "file") -> os.stat_result:
    """See that a file can be read to an end: a pipe waits for ever, a device never ends.

    Args:
        path: The file; links are followed.
        what: What it is called where it is missing.

    Returns:
        What the system knows of it, its size among it.

    Raises:
        UserError: there is nothing, or something else.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise UserError(f"'{path}' is a link to nothing; mend or remove it.") from None
        raise UserError(f"There is no {what} '{path}'.") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); name another.") from error
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"'{path}' cannot be read: it is a folder; name a file.")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"'{path}' cannot be read: it is a pipe or a device; name a file.")
    return found


def require_inside(path: str | Path, root: str | Path) -> int:
    """See that a file that another one names lies where that one may name it.

    Returns:
        Its size in bytes.

    Raises:
        UserError: it lies outside of ``root``, links resolved, or is no regular file.
    """
    if Path(os.path.realpath(root)) not in Path(os.path.realpath(path)).parents:
        raise UserError(f"'{path}' lies outside of '{root}'; copy it there, without links.")
    return require_file(path).st_size


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file, or of a folder's files in the order of their relative names.

    Raises:
        UserError: there is no such file, or it is a pipe or a device.
    """
    root = Path(path)
    digest = hashlib.sha256()
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    for file in files:
        require_file(file)
        if root.is_dir():
            digest.update(str(file.relative_to(root)).encode())
        with open(file, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def require_private(path: str | Path) -> None:
    """See that a private key is its owner's alone; where there are no such modes, nothing is seen.

    Raises:
        UserError: others may read or change it; the sentence says how to mend that.
    """
    with suppress(OSError):  # whoever opens it says what is wrong with it
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise UserError(
                f"Others may use the private key '{path}' (mode {mode:03o}); keep it to yourself "
                f"(`chmod 600 '{path}'`), and replace it if others had access."
            )


def cache_dir() -> Path:
    """Folder for what can be made again: ``$SRDEPLOY_CACHE``, else ``$XDG_CACHE_HOME/srdeploy``."""
    if root := os.environ.get("SRDEPLOY_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srdeploy"
