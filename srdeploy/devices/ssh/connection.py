"""One connection through the user's own OpenSSH: commands and bytes over a shared master.

The client on PATH does the work, so that the user's configuration, keys, agents and jump hosts
count, and host keys are checked as always. One master process (``ssh -M``) is started per device;
every command rides on it, which takes milliseconds in place of a handshake.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
import time
import weakref
from pathlib import Path

from srdeploy.devices.errors import DeviceLost, DeviceRefused
from srdeploy.devices.shell.capture import MOST_TEXT, Ended, TooMuch, capture
from srdeploy.devices.shell.link import ShellLink

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


_CONNECT_SECONDS = 15
_ALIVE_SECONDS, _ALIVE_COUNT = 5, 3
_SSH_FAILED = 255
_MOST_SAID = 1 << 16


class SshConnection(ShellLink):
    """A master connection; a context manager that ends it.

    Args:
        host: Name or address, or an alias of the user's configuration.
        user: None for what the configuration says.
        port: None likewise.
        config: A configuration file in place of ``~/.ssh/config``.
    """

    def __init__(
        self,
        host: str,
        *,
        user: str | None = None,
        port: int | None = None,
        config: str | None = None,
    ) -> None:
        self.name = f"{user}@{host}" if user else host
        self._host = host
        self._where = [
            *(("-F", config) if config else ()),
            *(("-p", str(port)) if port else ()),
            *(("-l", user) if user else ()),
        ]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., SshConnection] | None = None

    def __enter__(self) -> SshConnection:
        """Connect.

        Raises:
            DeviceRefused: there is no such host, it refuses us, or its key changed.
        """
        try:
            self._connect()
        except BaseException:  # an interrupt, too, must leave no master behind
            self.close()
            raise
        return self

    def _connect(self) -> None:
        # A short path: sockets have room for about a hundred characters.
        self._folder = tempfile.TemporaryDirectory(prefix="sr-", dir=_short_folder())
        said = Path(self._folder.name) / "said"
        with open(said, "wb") as stderr:
            self._master = subprocess.Popen(
                self._command("-M", "-N", "-o", "ControlPersist=no"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # an interrupt is ours to handle, not the master's
            )
        # It ends with this object, at the latest with this process, whoever forgot to close.
        self._finalizer = weakref.finalize(self, _end, self._master)
        deadline = time.monotonic() + _CONNECT_SECONDS + 5
        while not self._socket.exists():
            if self._master.poll() is not None or time.monotonic() > deadline:
                with open(said, encoding="utf-8", errors="replace") as stream:
                    raise explain(stream.read(_MOST_SAID), self.name)
            time.sleep(0.01)

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """End the master, and with it whatever still runs over it."""
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = self._master = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def alive(self) -> bool:
        """Whether the master still has its connection."""
        return self._master is not None and self._master.poll() is None

    def remote(self, text: str) -> list[str]:
        """The local command that runs shell text there over the master.

        The text ends with its own ``exit``, so that a program killed by a signal is told from a
        broken connection.
        """
        whole = f"PATH=$PATH:/usr/sbin:/sbin; {{ {text}\n}}; exit $?"
        # Over the master or not at all: a client that finds none would connect anew.
        over = ("-o", "ControlMaster=no", "-o", "ProxyCommand=false")
        return [*self._command(*over), f"sh -c {shlex.quote(whole)}"]

    def lost(self, what: str) -> DeviceLost:
        """The error for a connection that broke during ``what``."""
        return DeviceLost(
            f"'{self.name}' went away during '{what}': the ssh connection broke; check its power "
            "and network, then run again."
        )

    def _told(self, ended: Ended, what: str) -> Ended:
        if ended.returncode == _SSH_FAILED and not self._answers():
            raise self.lost(what)
        return ended

    def _answers(self) -> bool:
        """Whether a fresh command still gets through the master."""
        if not self.alive:
            return False
        try:
            probe = capture(self.remote("true"), timeout=_CONNECT_SECONDS, most=MOST_TEXT)
        except (subprocess.TimeoutExpired, TooMuch):
            return False
        return probe.returncode == 0

    def _command(self, *options: str) -> list[str]:
        return [
            "ssh",
            *self._where,
            *("-o", "BatchMode=yes"),  # never ask: nobody may be there to answer
            *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
            *("-o", f"ServerAliveInterval={_ALIVE_SECONDS}"),
            *("-o", f"ServerAliveCountMax={_ALIVE_COUNT}"),
            *("-o", f"ControlPath={self._socket}"),
            *("-o", "LogLevel=ERROR"),
            *("-o", "RemoteCommand=none"),
            *("-o", "RequestTTY=no"),
            *options,
            "--",
            self._host,
        ]

    @property
    def _socket(self) -> Path:
        assert self._folder is not None, "the device is entered before it is used"
        return Path(self._folder.name) / "s"


def _end(master: subprocess.Popen[bytes]) -> None:
    master.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        master.wait(5)
    if master.poll() is None:
        master.kill()
        master.wait()


def _short_folder() -> str | None:
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return folder if 0 < len(folder) < 40 and os.access(folder, os.W_OK) else "/tmp"
