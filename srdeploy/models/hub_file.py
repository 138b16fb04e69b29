"""Files on the Hugging Face hub: ``hf:org/repo/file``, or ``hf:org/repo@revision/file``.

The revision is a branch, a tag or a commit, where the hub's own addresses have it too. Only the
named file is fetched, by the hub's client into the hub's cache on this machine; it is then read
like any other file of a stranger.
"""

from __future__ import annotations

import logging
import re
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError, shown
from srdeploy.util.progress import drawn
from srdeploy.util.quiet import quiet

log = logging.getLogger(__name__)

_PREFIX = "hf:"
_WORD = r"[\w.-]{1,96}"
_NAME = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(@(?P<revision>{_WORD}))?/(?P<file>[^@\\]{{1,500}})")
_ADDRESS = re.compile(r"https?:/+(?P<rest>.*)")  # a path has one slash there
_PAGE = re.compile(
    rf"huggingface\.co/(?P<repo>{_WORD}/{_WORD})/(resolve|blob)/(?P<revision>{_WORD})"
    r"/(?P<file>[^?#]+)(\?.*)?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        repo: ``org/repo``.
        file: Its path there.
        revision: A branch, a tag or a commit; None for the default branch.
    """

    repo: str
    file: str
    revision: str | None = None

    def __str__(self) -> str:
        """As it is named in a command."""
        at = "" if self.revision is None else f"@{self.revision}"
        return f"{_PREFIX}{self.repo}{at}/{self.file}"


def hub_file(name: str | Path) -> HubFile | None:
    """The file that a name means; None where the name is not about the hub.

    Raises:
        UserError: it is, but names no file of a repository.
    """
    text = name if isinstance(name, str) else name.as_posix()
    if match := _ADDRESS.match(text):
        page = _PAGE.fullmatch(match["rest"])
        known = page and HubFile(page["repo"], page["file"], page["revision"])
        raise UserError(
            f"'{shown(text)}' is an address; "
            + (f"write {known}." if known else "download the file and give its path.")
        )
    if not text.startswith(_PREFIX):
        return None
    match = _NAME.fullmatch(text.removeprefix(_PREFIX).lstrip("/"))
    parts = [] if match is None else match["file"].split("/")
    if match is None or not text.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(
            f"'{shown(text)}' names no file on the Hugging Face hub; write hf:ORG/REPOSITORY/FILE, "
            "or hf:ORG/REPOSITORY@REVISION/FILE."
        )
    return HubFile(match["repo"], match["file"], match["revision"])


@lru_cache(maxsize=64)
def fetch(wanted: HubFile) -> Path:
    """The file on this machine, fetched unless it is in the hub's cache already.

    Raises:
        UserError: the hub's client is not installed, there is no such file, or it needs a login.
        SrdeployError: the hub cannot be reached, or fails.
    """
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError:
        raise UserError(
            f"Fetching '{wanted}' needs huggingface_hub; install it with "
            "`pip install 'srdeploy[hf]'`, or download the file and give its path."
        ) from None
    log.info("fetching %s", wanted)
    try:
        with nullcontext() if drawn() else quiet():
            path = hf_hub_download(
                wanted.repo,
                wanted.file,
                revision=wanted.revision,
                library_name="srdeploy",
                library_version=__version__,
            )
    except errors.LocalEntryNotFoundError as error:
        raise SrdeployError(
            f"'{wanted}' is not on this machine, and the Hugging Face hub cannot be reached or "
            "HF_HUB_OFFLINE is set; connect, or download the file elsewhere and give its path."
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"'{wanted.repo}' gives its files only to those who accepted its terms: do so on its "
            "page on the Hugging Face hub, then log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"The Hugging Face hub has no repository '{wanted.repo}' that is open to you; check "
            "its name, or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"'{wanted.repo}' has no revision '{wanted.revision}'; check it on the repository's "
            "page."
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(
            f"'{wanted.repo}' has no file '{wanted.file}'; check the list of files on the "
            "repository's page."
        ) from error
    except (errors.HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."))
        raise SrdeployError(
            f"'{wanted}' could not be fetched ({reason}); try again later, or download the file "
            "and give its path."
        ) from error
    return Path(path)


def pinned(wanted: HubFile, path: Path) -> str:
    """The name of exactly this content: with the commit in place of a branch or tag.

    Args:
        wanted: The file.
        path: What :func:`fetch` gave for it: in the hub's cache, below the commit's folder.
    """
    depth = wanted.file.count("/")
    commit = path.parents[depth].name if depth < len(path.parents) else ""
    if not _COMMIT.fullmatch(commit):
        return str(wanted)
    return str(HubFile(wanted.repo, wanted.file, commit))
