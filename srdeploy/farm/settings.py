"""The farm's file: where the scheduler is, whose certificate to show, which devices are here."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.util.strict import Strict, parse, read_yaml

DEFAULT_PORT = 8786


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(f"'{text}' is no name; use letters, digits, dots, dashes and underscores")
    return text


Word = Annotated[str, AfterValidator(_word)]


class DeviceEntry(Strict):
    """One device of a host.

    Attributes:
        uri: As `srdeploy bench --device` takes it, seen from that host.
        name: What results call it; unique in the farm. Default: the URI's host, or the kind with
            the host's own name.
        tags: What jobs ask for, for instance ``jetson-orin``. Its name and its kind count too.
        labgrid: The labgrid place to hold while a job runs; None for no such lock.
    """

    uri: str
    name: Word | None = None
    tags: tuple[Word, ...] = ()
    labgrid: str | None = None

    @property
    def kind(self) -> str:
        """``ssh``, ``adb``..."""
        return DeviceUri.parse(self.uri).kind

    @property
    def called(self) -> str:
        """The name, chosen if none is given."""
        if self.name is not None:
            return self.name
        host = re.sub(r"[^A-Za-z0-9._-]", "-", DeviceUri.parse(self.uri).host).strip("-.")
        return host or f"{self.kind}-{socket.gethostname().split('.')[0]}"


class FarmFile(Strict):
    """A farm as one of its hosts sees it; paths are relative to the file.

    Attributes:
        scheduler: ``HOST`` or ``HOST:PORT`` (8786).
        ca: Certificate of the farm's own authority.
        certificate: This host's certificate, and
        key: its private key.
        devices: What is attached to this host.
        quarantine_after: A device is set aside after so many failures in a row.
        patience_seconds: How long a run waits for a lost scheduler, or for a kind of device that
            has gone altogether.
        labgrid: ``HOST:PORT`` of a labgrid coordinator, for devices with a ``labgrid`` place.
    """

    scheduler: str
    ca: Path = Path("ca.pem")
    certificate: Path = Path("host.pem")
    key: Path = Path("host.key")
    devices: tuple[DeviceEntry, ...] = ()
    quarantine_after: Annotated[int, Field(ge=1)] = 3
    patience_seconds: Annotated[float, Field(ge=0)] = 60.0
    labgrid: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the scheduler."""
        return split_address(self.scheduler)


def read_farm(path: str | Path) -> FarmFile:
    """Read a farm's file.

    Raises:
        UserError: it is missing, or holds a key or value that does not fit.
    """
    path = Path(path)
    if path.is_dir():
        path /= "farm.yaml"
    farm = read_yaml(FarmFile, path)
    farm.address  # noqa: B018  (a wrong one is told now)
    check_devices(farm.devices)
    beside = {name: path.parent / getattr(farm, name) for name in ("ca", "certificate", "key")}
    return farm.model_copy(update=beside)


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT`` or ``[ADDRESS]:PORT``.

    Raises:
        UserError: it is none of these.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.-]+))(?::(\d{1,5}))?", text)
    port = int(match[3] or DEFAULT_PORT) if match else 0
    if not match or port > 65535:
        raise UserError(f"'{text}' is no address of a scheduler; write HOST or HOST:PORT.")
    return match[1] or match[2], port


def device_entry(**values: Any) -> DeviceEntry:
    """A device named on the command line.

    Raises:
        UserError: a name or tag that is none, or no URI.
    """
    entry = parse(DeviceEntry, values, where="This device")
    check_devices([entry])
    return entry


def check_devices(entries: Sequence[DeviceEntry]) -> None:
    """See that URIs can be read and that names are different.

    Raises:
        UserError: they are not.
    """
    names = [entry.called for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two devices of this host are called '{name}'; give them names.")
