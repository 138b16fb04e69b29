"""The table of device kinds: what a URI may begin with, and whether that works from here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from srdeploy.runtime.table import Availability, Module
from srdeploy.util.plugins import Table

_BROWSER = "pip install 'srdeploy[browser]'"
_HOSTED = "pip install 'srdeploy[hosted]'"
_PAGE = tuple(Module(name, (name,), _BROWSER) for name in ("tornado", "cryptography", "segno"))
_SELENIUM = Module("selenium", ("selenium",), _HOSTED)
_BOTO3 = Module("boto3", ("boto3",), _HOSTED)
_QAI_HUB = Module("qai_hub", ("qai-hub",), "pip install 'srdeploy[ai-hub]'")


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        name: What URIs begin with.
        title: One line for lists.
        example: A URI.
        opens: ``module:class`` of the device.
        program: A program of the user's that it needs, or None.
        install: Where to get that program.
        modules: Python modules that it needs.
    """

    name: str
    title: str
    example: str
    opens: str
    program: str | None = None
    install: str = ""
    modules: tuple[Module, ...] = ()

    def availability(self) -> Availability:
        """Whether such devices can be opened from here. Connects to nothing."""
        for module in self.modules:
            if not (found := module.availability()):
                return found
        if self.program is None:
            return Availability(True, "needs nothing more")
        if shutil.which(self.program) is None:
            missing = f"{self.program} is not on PATH: {self.install}"
            return Availability(False, missing, (self.install,))
        return Availability(True, f"{self.program} found")


KINDS: Table[Kind] = Table(
    "devices",
    (
        Kind(
            "local",
            "this machine",
            "local",
            "srdeploy.devices.local:LocalDevice",
        ),
        Kind(
            "ssh",
            "a Jetson, a Pi, any Linux machine by the user's own OpenSSH",
            "ssh://user@orin",
            "srdeploy.devices.ssh.device:SshDevice",
            program="ssh",
            install="install OpenSSH's client",
        ),
        Kind(
            "adb",
            "an Android phone or tablet by adb, on its CPU",
            "adb",
            "srdeploy.devices.adb.device:AdbDevice",
            program="adb",
            install="install Android's platform-tools (Debian: apt install adb)",
        ),
        Kind(
            "apple",
            "an iPhone or iPad through a Mac, or the Mac, with Core ML",
            "apple://user@mac",
            "srdeploy.devices.apple.device:AppleDevice",
            program="ssh",
            install="install OpenSSH's client",
        ),
        Kind(
            "browser",
            "any phone, tablet or computer by a page that its browser opens",
            "browser",
            "srdeploy.devices.browser.device:BrowserDevice",
            modules=_PAGE,
        ),
        Kind(
            "webdriver",
            "a browser on a hosted or own device, through Remote WebDriver",
            "webdriver?config=phone.yaml",
            "srdeploy.devices.hosted.webdriver:WebdriverDevice",
            modules=(*_PAGE, _SELENIUM),
        ),
        Kind(
            "aws-device-farm",
            "a phone of AWS Device Farm, through its WebDriver endpoint",
            "aws-device-farm?config=phone.yaml",
            "srdeploy.devices.hosted.device_farm:DeviceFarmDevice",
            modules=(*_PAGE, _SELENIUM, _BOTO3),
        ),
        Kind(
            "qai-hub",
            "a phone, board or laptop in Qualcomm AI Hub's lab",
            "qai-hub://Samsung Galaxy S24",
            "srdeploy.devices.hosted.ai_hub:AiHubDevice",
            modules=(_QAI_HUB,),
        ),
        Kind(
            "fake",
            "a device made of arithmetic, to try farms and scripts without boards",
            "fake://desk?ms=5",
            "srdeploy.devices.fake:FakeDevice",
        ),
    ),
    check=lambda row: row.availability(),
)
