"""Open a device by its URI."""

from __future__ import annotations

from srdeploy.devices.protocol import Device
from srdeploy.devices.table import KINDS
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.util.plugins import code_of


def open_device(uri: str) -> Device:
    """The device that a URI names; nothing is connected before its context is entered.

    A class of the table is called with the URI taken apart.

    Args:
        uri: ``local``, ``ssh://user@host``, ``fake://name?ms=5``... (:data:`KINDS`).

    Raises:
        UserError: no such kind, a URI or option that does not fit it, or a program that it needs
            is missing here.
    """
    parsed = DeviceUri.parse(uri)
    if parsed.kind not in KINDS:
        raise unknown_name("kind of device", parsed.kind, KINDS)
    kind = KINDS[parsed.kind]
    if not (found := kind.availability()):
        raise UserError(f"'{uri}' cannot be used from here: {found.reason}.")
    return code_of(kind.opens)(parsed)
