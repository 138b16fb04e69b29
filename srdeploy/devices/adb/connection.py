"""One Android device through the user's own ``adb``: choose it, and run shell text on it.

The client on PATH does the work, with the server, keys and environment variables that the user
already has (``ADB_SERVER_SOCKET``, ``ANDROID_SERIAL``...).

``adb shell`` ends with 0 when the device dies in the middle of a command, and devices before
Android 7 tell no exit codes at all. So every piece of shell text prints an end marker with its exit
code, and what ends without one was lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from dataclasses import dataclass

from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceRefused
from srdeploy.devices.shell.capture import MOST_TEXT, Ended, TooMuch, capture
from srdeploy.devices.shell.link import ShellLink

_END = b"\nsrdeploy-end "
_SECONDS = 20.0
"""How long the client may take for what is no command of ours: listing, connecting."""

_BACK_SECONDS = 5.0
"""How long a network device that adb calls offline is given to come back by itself."""

_STATES = {
    "unauthorized": "it does not trust this computer yet; unlock its screen and accept 'Allow USB "
    "debugging', then run again",
    "authorizing": "it is asking whether to trust this computer; unlock its screen and accept",
    "offline": "it is offline; reconnect its cable, or run `adb reconnect offline`",
    "no permissions": "this user may not open its USB port; install adb's udev rules (Debian: "
    "android-sdk-platform-tools-common) and reconnect it",
    "bootloader": "it is in its bootloader; start Android",
    "recovery": "it is in recovery mode; start Android",
    "sideload": "it is in sideload mode; start Android",
}
"""What ``adb devices`` says of devices that cannot be used, and what to do."""


@dataclass(frozen=True)
class Attached:
    """A line of ``adb devices``."""

    serial: str
    state: str


def parse_devices(text: str) -> list[Attached]:
    """The devices that ``adb devices`` lists."""
    found = []
    for line in text.replace("\r", "").partition("List of devices attached\n")[2].splitlines():
        serial, _, state = line.partition("\t")
        if serial and state:
            # Some states go on with a sentence: "no permissions (missing udev rules?...)".
            known = next((name for name in _STATES if state.startswith(name)), state)
            found.append(Attached(serial, known.strip()))
    return found


def choose(attached: list[Attached], serial: str | None) -> str:
    """The device to use.

    Args:
        attached: What is there.
        serial: Which one is asked for; None for the only one.

    Raises:
        DeviceRefused: there is none, several and none was named, or it cannot be used.
    """
    listed = ", ".join(f"'{one.serial}'" for one in attached)
    if serial is None:
        usable = [one for one in attached if one.state == "device"]
        if len(usable) > 1 or (not usable and len(attached) > 1):
            raise DeviceRefused(f"Several Android devices are attached ({listed}); name one: "
                                f"adb://{(usable or attached)[0].serial}.")  # fmt: skip
        if not attached:
            raise DeviceRefused(
                "No Android device is attached; switch on 'USB debugging' in its developer "
                "options and plug it in (`adb devices` must list it)."
            )
        one = (usable or attached)[0]
    else:
        same = [one for one in attached if one.serial == serial]
        if not same:
            raise DeviceRefused(
                f"No Android device '{serial}' is attached; "
                + (f"there is {listed}." if attached else "`adb devices` lists none.")
            )
        one = same[0]
    if one.state != "device":
        reason = _STATES.get(one.state, f"adb calls it '{one.state}'")
        raise DeviceRefused(f"Android device '{one.serial}' cannot be used: {reason}.")
    return one.serial


class AdbConnection(ShellLink):
    """A device that adb has; a context manager.

    Args:
        serial: Its serial, or ``address:port`` of one on the network, which is connected if it is
            not yet; None for ``ANDROID_SERIAL``, or the only one.
    """

    def __init__(self, serial: str | None) -> None:
        self._asked = serial or os.environ.get("ANDROID_SERIAL") or None
        self.serial = self._asked or ""
        self._lost = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """Its serial."""
        return self.serial or "adb"

    def __enter__(self) -> AdbConnection:
        """Find the device.

        Raises:
            DeviceRefused: it is not there or cannot be used.
        """
        attached = self._attached()
        if self._asked and re.fullmatch(r".+:\d+", self._asked):
            attached = self._connected(self._asked, attached)
        self.serial = choose(attached, self._asked)
        self._lost = False
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing is held: the server is the user's."""

    @property
    def alive(self) -> bool:
        """Whether it was there the last time."""
        return not self._lost

    def client(self, *words: str, timeout: float = _SECONDS) -> Ended:
        """Run the client itself.

        Raises:
            DeviceRefused: it does not answer in time.
        """
        try:
            return capture(["adb", *words], timeout=timeout, most=MOST_TEXT)
        except subprocess.TimeoutExpired:
            raise DeviceRefused(
                f"`adb {words[0]}` does not answer; try `adb kill-server`, then run again."
            ) from None
        except TooMuch:
            raise DeviceRefused(f"`adb {words[0]}` answers without end; is that adb?") from None

    def transfer(self, *words: str, what: str, megabytes: float) -> Ended:
        """Run ``push`` or ``pull`` on the device.

        Raises:
            DeviceLost: it went away meanwhile, or moves less than half a megabyte a second.
        """
        ended = None
        with contextlib.suppress(DeviceRefused):
            ended = self.client("-s", self.serial, *words, timeout=60 + 2 * megabytes)
        if ended is None or (ended.returncode and not self._answers()):
            raise self.lost(what)
        return ended

    def remote(self, text: str) -> list[str]:
        """The local command that runs shell text there."""
        # A subshell: its own `exit` must not skip the marker.
        marker = _END.decode().replace("\n", "\\n")
        whole = f"( {text}\n); printf '{marker}%d\\n' $?"
        return ["adb", "-s", self.serial, "shell", "-T", whole]

    def lost(self, what: str) -> DeviceLost:
        """The error for a device that went away during ``what``."""
        self._lost = True
        return DeviceLost(
            f"Android device '{self.name}' went away during '{what}': it was unplugged, switched "
            "off or lost its network; reconnect it, then run again."
        )

    def _told(self, ended: Ended, what: str) -> Ended:
        output, found, code = ended.stdout.replace(b"\r\n", b"\n").rpartition(_END)
        if not found or not re.fullmatch(rb"\s*\d{1,3}\s*", code):
            raise self.lost(what)
        return subprocess.CompletedProcess(ended.args, int(code), output, ended.stderr)

    def _answers(self) -> bool:
        try:
            return self.client("-s", self.serial, "get-state").stdout.strip() == b"device"
        except DeviceError:
            return False

    def _connected(self, address: str, attached: list[Attached]) -> list[Attached]:
        """What is attached once a device on the network has been connected, if it can be.

        One that dropped out a moment ago is ``offline`` until adb's server, by itself, has made its
        connection anew; if that takes long, it is told to.
        """
        deadline = time.monotonic() + _BACK_SECONDS
        while Attached(address, "offline") in attached and time.monotonic() < deadline:
            time.sleep(0.2)
            attached = self._attached()
        if Attached(address, "device") not in attached:
            self.client("disconnect", address)
            self.client("connect", address)
            attached = self._attached()
        return attached

    def _attached(self) -> list[Attached]:
        ended = self.client("devices")
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise DeviceRefused(
                f"adb's server does not start ({said[-1] if said else 'it gave no reason'}); "
                "try `adb kill-server`, then `adb devices`."
            )
        return parse_devices(ended.stdout.decode(errors="replace"))
