"""Why OpenSSH did not let us in, in one sentence each.

The patterns are OpenSSH's own messages (ssh.c, sshconnect.c, sshconnect2.c; unchanged for years).
"""

from __future__ import annotations

import re

from srdeploy.devices.errors import DeviceRefused

_REASONS = (
    (
        r"Could not resolve hostname",
        "there is no host of that name; check the spelling, or add it to ~/.ssh/config",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is another than last time: if it was installed anew, remove the old key with "
        "`ssh-keygen -R {host}` and connect once by hand; if not, somebody may be in between",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "its host key is not known yet; connect once by hand (`ssh {name}`), compare the "
        "fingerprint and accept it",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        "it refuses our key; check user and key with `ssh {name}`, and install the key there with "
        "`ssh-copy-id {name}`",
    ),
    (r"Connection refused", "nothing listens for ssh there; is sshd running, and the port right?"),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "it does not answer; is it switched on and on this network?",
    ),
    (r"Bad owner or permissions on|Can't open user config file|Bad configuration option",
     "ssh cannot use its configuration file ({last})"),
    (r"Connection (closed|reset)|kex_exchange_identification", "it closed the connection at once"),
)  # fmt: skip


def explain(said: str, name: str) -> DeviceRefused:
    """The error for what the ssh client said.

    Args:
        said: Its stderr.
        name: Whom it was to connect to, ``user@host`` or a host.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1].rstrip(".") if lines else "it gave no reason"
    for pattern, reason in _REASONS:
        if re.search(pattern, said):
            told = reason.format(host=name.rpartition("@")[2], name=name, last=last)
            break
    else:
        told = f"ssh says: {last}"
    return DeviceRefused(f"Cannot connect to '{name}': {told.rstrip('.')}.")
