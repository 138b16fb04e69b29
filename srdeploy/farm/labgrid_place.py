"""labgrid's places as an additional lock, for labs where people reserve boards with labgrid.

Through its command line, which is its stable interface. labgrid keeps a place for a client that was
killed; such a place of our own user and host is taken over by the next job, the device's own lock
being held already.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from srdeploy.errors import SrdeployError, UserError

CLIENT = "labgrid-client"
SECONDS = 30.0


class Busy(SrdeployError):
    """Somebody else uses the device; nothing is wrong with it."""


def require_labgrid() -> None:
    """Raise UserError where labgrid's client is missing."""
    if shutil.which(CLIENT) is None:
        raise UserError(f"{CLIENT} is not on PATH: pip install 'srdeploy[labgrid]'.")


@contextmanager
def hold_place(place: str, coordinator: str) -> Iterator[None]:
    """Hold a place while a job runs.

    Args:
        place: Its name.
        coordinator: ``HOST:PORT``.

    Raises:
        Busy: somebody else holds it.
        SrdeployError: the coordinator or the place cannot be used.
    """
    require_labgrid()
    done = _client(coordinator, place, "acquire")
    if done.returncode and not _is_ours(coordinator, place):
        said = _last_line(done.stderr or done.stdout)
        if "acquired" in said:
            raise Busy(f"The labgrid place '{place}' is taken ({said}).")
        raise SrdeployError(f"The labgrid place '{place}' cannot be acquired ({said}).")
    try:
        yield
    finally:
        _client(coordinator, place, "release")


def _is_ours(coordinator: str, place: str) -> bool:
    shown = _client(coordinator, place, "show").stdout
    return f"acquired: {socket.gethostname()}/{getpass.getuser()}" in shown


def _client(coordinator: str, place: str, action: str) -> subprocess.CompletedProcess[str]:
    command = [CLIENT, "--coordinator", coordinator, "--place", place, action]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise SrdeployError(
            f"The labgrid coordinator '{coordinator}' does not answer within {SECONDS:g} s."
        ) from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
