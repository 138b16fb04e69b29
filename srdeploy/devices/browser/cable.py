"""Android phones on a cable: the page on their own localhost, through ``adb reverse``."""

from __future__ import annotations

import shutil
import subprocess

from srdeploy.devices.errors import DeviceRefused
from srdeploy.errors import UserError

_SECONDS = 20


class Cable:
    """Forwards a port of the phone to the page's and opens the page there.

    Args:
        serial: The phone's serial; empty when only one is attached.
    """

    def __init__(self, serial: str) -> None:
        adb = shutil.which("adb")
        if adb is None:
            raise UserError(
                "adb is not on PATH; install Android's platform tools, or leave the option adb out "
                "and scan the code."
            )
        self._adb = [adb, *(["-s", serial] if serial else [])]
        self._name = serial or "the attached phone"
        self._port: int | None = None

    def open(self, url: str, port: int) -> None:
        """Forward the port and show the page.

        Raises:
            DeviceRefused: no such phone, several, or it is not authorised.
        """
        self._run("reverse", f"tcp:{port}", f"tcp:{port}")
        self._port = port
        self._run("shell", "am", "start", "-a", "android.intent.action.VIEW", "-d", url)

    def close(self) -> None:
        """Take the forwarding back; a phone that is gone has none."""
        if self._port is not None:
            self._ask("reverse", "--remove", f"tcp:{self._port}")

    def _run(self, *arguments: str) -> None:
        code, said = self._ask(*arguments)
        if code == 0:
            return
        remedy = "see `adb devices`"
        if "unauthorized" in said:
            remedy = "unlock it and allow USB debugging"
        elif "more than one" in said:
            remedy = "name one: browser://localhost?adb=SERIAL"
        elif "not found" in said or "no devices" in said:
            remedy = "attach it and switch USB debugging on"
        raise DeviceRefused(f"adb cannot use {self._name} ({said or f'code {code}'}); {remedy}.")

    def _ask(self, *arguments: str) -> tuple[int, str]:
        try:
            ended = subprocess.run(
                [*self._adb, *arguments],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, f"no answer within {_SECONDS} s"
        words = " ".join((ended.stderr or ended.stdout).split())
        return ended.returncode, words.removeprefix("error: ").removeprefix("adb: ").rstrip(".")
