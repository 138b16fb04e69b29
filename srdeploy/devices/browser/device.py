"""A browser as a device: ``browser``, ``browser://localhost``, ``browser://ADDRESS:PORT?...``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, ClassVar
from urllib.parse import quote

from srdeploy.devices.browser.address import is_loopback, qr_code
from srdeploy.devices.browser.agent import device_facts
from srdeploy.devices.browser.cable import Cable
from srdeploy.devices.browser.hub import ServerAddress, join, leave
from srdeploy.devices.browser.model import BrowserModel
from srdeploy.devices.browser.phone import Phone
from srdeploy.devices.browser.server import Server
from srdeploy.devices.errors import DeviceError, DeviceRefused
from srdeploy.devices.protocol import Figures, Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.util.terminal import plain


def verdict(figures: Sequence[Figures]) -> dict[str, Any]:
    """The page's last words.

    Args:
        figures: Of the artifacts that took turns; the first is what the others are compared with.

    Returns:
        ``headline``: the largest difference in speed that is certain, or that there is none;
        ``detail``: the PSNR of each; ``rows``: a ``title`` and a ``text`` for each artifact.
    """
    first = figures[0].artifact
    compared = [one for one in figures[1:] if one.faster is not None]
    certain = [one for one in compared if _certain(one)]
    if certain:
        best = max(certain, key=lambda one: one.faster or 0.0)
        headline = f"{best.artifact} is {_times(best)}"
    elif compared:
        headline = "No certain difference in speed"
    elif figures[0].p50_ms is not None:
        headline = f"{first} takes {figures[0].p50_ms:.3g} ms"
    else:
        headline = "Measured"
    qualities = [f"{one.artifact} {one.psnr:.2f} dB" for one in figures if one.psnr is not None]
    sentences = [f"Compared with {first}."] if compared else []
    if qualities:
        sentences.append(f"PSNR: {', '.join(qualities)}.")
    rows = [{"title": one.artifact, "text": _row(one)} for one in figures]
    return {"headline": headline, "detail": " ".join(sentences), "rows": rows}


def _certain(one: Figures) -> bool:
    """Whether one lies outside of the interval; too few rounds for an interval count as that."""
    return one.interval is None or not one.interval[0] <= 1.0 <= one.interval[1]


def _times(one: Figures) -> str:
    assert one.faster is not None
    if one.faster >= 1.0:
        return f"{one.faster:.1f} times as fast"
    return f"slower: it takes {1 / one.faster:.1f} times as long"


def _row(one: Figures) -> str:
    parts = []
    if one.faster is not None:
        parts.append(_times(one) if _certain(one) else "about as fast")
    if one.psnr is not None:
        parts.append(f"PSNR {one.psnr:.2f} dB")
    return ", ".join(parts)


BACKENDS = ("wasm", "webgpu")
OPTIONS = ("backend", "name", "wait", "patience", "cert", "key", "ort", "adb", "token")


def to_stderr(sentence: str) -> None:
    """Tell the person at the terminal."""
    print(plain(sentence), file=sys.stderr, flush=True)


class BrowserDevice:
    """One browser on any device; the first free page that asks is taken.

    Options of the URI:
        backend: ``wasm`` or ``webgpu``; default: WebGPU where the browser offers a real graphics
            adapter, else WASM.
        name: Which phone; its own address is shown.
        wait: Seconds for a page to be opened (600).
        patience: Seconds for a closed page to return (120).
        cert: PEM file of one's own certificate, with
        key: its key.
        ort: Folder of onnxruntime-web.
        adb: Serial of a phone on a cable; empty for the only one attached.
        token: The secret part of the address, to keep it the same (with a port): the page then
            stays open and waits for the next command, as a farm's phones do.
    """

    known_options: ClassVar[tuple[str, ...]] = OPTIONS

    def __init__(self, uri: DeviceUri, tell: Callable[[str], None] = to_stderr) -> None:
        """Take a URI apart; nothing listens yet.

        Raises:
            UserError: an unknown or unsuitable option.
        """
        uri.check_options(self.known_options)
        options = uri.options
        self.uri = uri.text
        self.commands = None
        self.files = None
        self._tell = tell
        self._backend = options.get("backend", "auto")
        if self._backend not in (*BACKENDS, "auto"):
            raise unknown_name("backend of browsers", self._backend, (*BACKENDS, "auto"))
        if uri.user:
            raise UserError(f"'{uri.text}' names a user; a browser has none.")
        if ("cert" in options) != ("key" in options):
            raise UserError(f"'{uri.text}': cert and key go together; give both, or neither.")
        self._cable = Cable(options["adb"]) if "adb" in options else None
        if self._cable and not is_loopback(uri.host):
            raise UserError(
                f"'{uri.text}': adb forwards the page on localhost; write browser://localhost?adb="
            )
        if "token" in options and not re.fullmatch(r"[\w-]{12,}", options["token"]):
            raise UserError(
                f"'{uri.text}': a token is at least 12 letters, digits, dashes or underscores, not "
                "to be guessed."
            )
        self._wait = _seconds(uri, "wait", 600)
        self._patience = _seconds(uri, "patience", 120)
        self._name = options.get("name", "")
        self._place = ServerAddress(
            uri.host,
            uri.port or 0,
            options.get("cert", ""),
            options.get("key", ""),
            options.get("ort"),
            options.get("token", ""),
        )
        self._leaving = ExitStack()
        self._server: Server | None = None
        self._phone: Phone | None = None
        self._facts: DeviceFacts | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What the page told of its browser."""
        if self._facts is None:
            self._facts = device_facts(self._connected()[1].told)
        return self._facts

    @property
    def sensors(self) -> BrowserSensors | None:
        """The battery's charge; None where the browser does not tell it."""
        phone = self._phone
        return BrowserSensors(phone) if phone and "battery" in phone.state else None

    @property
    def url(self) -> str:
        """The address of this device's page; it holds the session's secret token."""
        name = f"#{quote(self._name)}" if self._name else ""
        return self._connected_server().url + name

    def load(self, job: Job) -> BrowserModel:
        """Send an artifact to the page, as ONNX."""
        server, phone = self._connected()
        return BrowserModel(server, phone, job, self._choose(job), self._patience, self._tell)

    def show(self, figures: Sequence[Figures]) -> None:
        """Show on the page what came of the measurement."""
        phone = self._connected()[1]
        with suppress(DeviceError):  # a page that is closed by now has shown enough
            phone.ask("show", timeout=10.0, patience=0.0, tell=lambda _: None, **verdict(figures))

    def __enter__(self) -> BrowserDevice:
        with ExitStack() as stack:
            self._server = join(self._place, self._tell)
            stack.callback(leave, self._place)
            self._invite(stack)
            self._phone = self._server.claim(self._name, self._wait)
            if self._phone is None:
                raise DeviceRefused(
                    f"No page was opened within {self._wait:g} s; open {self.url} in the phone's "
                    "browser (same network, no guest Wi-Fi), or allow more time by wait=SECONDS."
                )
            stack.callback(setattr, self._phone, "claimed", False)
            self._tell(f"{self._phone.name}: {self.facts.model}, {self.facts.versions['browser']}")
            self._leaving = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._leaving.close()
        self._server = self._phone = None

    def _invite(self, stack: ExitStack) -> None:
        server = self._connected_server()
        if self._cable:
            stack.callback(self._cable.close)
            self._cable.open(self.url, server.port)
            self._tell(f"The page opens on the phone: {self.url}")
            return
        lines = [f"Open this page on the device{f' {self._name}' if self._name else ''}:"]
        if is_loopback(server.host):
            lines.append(f"  {self.url}")
            lines.append(f"  (a phone on a cable: adb reverse tcp:{server.port} tcp:{server.port})")
        else:
            lines = [lines[0], qr_code(self.url), f"  {self.url}"]
        if server.certificate and server.certificate.own:
            lines.append(
                "  Its browser will warn once: the certificate is ours. Choose Advanced, Proceed."
            )
            lines.append(f"  SHA-256 {server.certificate.fingerprint}")
        self._tell("\n".join(lines))

    def _choose(self, job: Job) -> str:
        asked = job.runtime.removeprefix("browser (").rstrip(")") if job.runtime else self._backend
        if asked not in (*BACKENDS, "auto"):
            raise unknown_name("runtime of browsers", asked, BACKENDS)
        if asked != "auto":
            return asked
        gpu = self._connected()[1].told.get("gpu") or {}
        return "webgpu" if gpu and not gpu.get("software") else "wasm"

    def _connected_server(self) -> Server:
        if self._server is None:
            raise ValueError("a device is used inside its context")
        return self._server

    def _connected(self) -> tuple[Server, Phone]:
        if self._phone is None:
            raise ValueError("a device is used inside its context")
        return self._connected_server(), self._phone


class BrowserSensors:
    """What a browser tells of its device's state: the battery."""

    total_rails: tuple[str, ...] = ()

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def conditions(self) -> Conditions:
        """Charge, and whether a charger is attached (which lets many phones run faster)."""
        state = self._phone.state
        charging = state.get("charging")
        mode = None if charging is None else "charging" if charging else "on battery"
        return Conditions(power_mode=mode, battery_percent=state.get("battery"))

    @contextmanager
    def watch(self, seconds: float) -> Iterator[NoReadings]:
        """Nothing is read alongside: a browser has no power or temperature."""
        yield NoReadings()


class NoReadings:
    """Of a device without sensors that change within a measurement."""

    readings: list[Reading] = []


def _seconds(uri: DeviceUri, name: str, default: float) -> float:
    text = uri.options.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise UserError(f"'{uri.text}': {name} is a time in seconds, not '{text}'.")
    return seconds
