"""Where the page is: the address that phones reach, and its picture for their cameras."""

from __future__ import annotations

import io
import ipaddress
import socket

from srdeploy.errors import UserError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def lan_address() -> str:
    """The address of this machine that others on its network reach.

    Raises:
        UserError: there is none but loopback.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of datagrams this only asks the routing table
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if ipaddress.ip_address(address).is_loopback:
        raise UserError(
            "This machine has no address that a phone could reach; connect it to the phone's "
            "network, name an address (browser://ADDRESS), or use a cable (browser://localhost "
            "with adb reverse)."
        )
    return address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it, so that plain http is a secure context."""
    return host in LOOPBACK_NAMES


def in_url(host: str) -> str:
    """A host as URLs spell it: version 6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def qr_code(url: str) -> str:
    """The URL as a QR code for a terminal."""
    import segno

    text = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(out=text, compact=True, border=2)
    return text.getvalue().rstrip("\n")
