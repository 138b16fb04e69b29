"""An iPhone or iPad attached to a Mac, or the Mac itself, with Core ML."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import Any

from srdeploy.devices.answers import reading
from srdeploy.devices.apple.line import AGENT, AgentLine
from srdeploy.devices.apple.model import AppleModel
from srdeploy.devices.protocol import Job
from srdeploy.devices.shell.link import ShellCommands
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.measurement import DeviceFacts

UNITS = ("all", "cpu_only", "cpu_and_gpu", "cpu_and_ne")
"""Core ML's compute units, in coremltools' words."""

PRECISIONS = ("fp32", "fp16")

_OPTIONS = (
    *("device", "units", "precision", "python", "dir", "config"),
    *("team", "profile", "bundle"),
)
_BUILD_SECONDS = 1800.0
"""How long Xcode may take to build the app the first time."""


class AppleDevice:
    """See :class:`srdeploy.devices.protocol.Device`; ``apple://user@mac``.

    Options of the URI:
        device: Name, identifier or UDID of the phone or tablet (default: the Mac itself).
        units: One of :data:`UNITS` (default: all).
        precision: Of packages converted here, ``fp32`` or ``fp16`` (default: fp32).
        python: The Python there that has coremltools (default: ``python3``).
        dir: Our folder there (default: ``~/.cache/srdeploy``).
        config: An OpenSSH configuration file in place of the user's.
        team, profile, bundle: Signing of coremltools' app: the development team, or a provisioning
            profile with its bundle identifier.
    """

    sensors = None

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart; nothing is connected.

        Raises:
            UserError: no Mac, an unknown option, units or precision.
        """
        uri.check_options(_OPTIONS)
        if not uri.host or uri.host.startswith("-"):
            raise UserError(
                f"'{uri.text}' names no Mac; write 'apple://user@mac?device=NAME' (on the Mac "
                "itself, with Remote Login on, apple://localhost)."
            )
        self._options = uri.options
        for name, known, default in (
            ("units", UNITS, "all"),
            ("precision", PRECISIONS, "fp32"),
        ):
            if uri.options.get(name, default) not in known:
                raise unknown_name(f"{name} of Core ML", uri.options[name], known)
        self.uri = uri.text
        self._connection = SshConnection(
            uri.host, user=uri.user, port=uri.port, config=uri.options.get("config")
        )
        self._stack = ExitStack()
        self._line: AgentLine | None = None
        self._mac: dict[str, Any] = {}
        self._phone: dict[str, Any] = {}

    @property
    def facts(self) -> DeviceFacts:
        """What the Mac tells of the device, or of itself."""
        with reading(self._connection.name):
            return self._facts()

    def _facts(self) -> DeviceFacts:
        mac, phone = self._mac, self._phone
        extra = {"mac": f"{mac.get('model')}, {mac.get('os')}"} if phone else {}
        memory = str(mac.get("memory", ""))
        return DeviceFacts(
            kind="apple",
            model=phone.get("name") or mac.get("model") or "Mac",
            arch="arm64" if phone else mac.get("arch", "unknown"),
            os=f"{phone['type']} {phone['os']}" if phone else mac.get("os", "unknown"),
            cpu=None if phone else mac.get("cpu") or None,
            cpus=None if phone else mac.get("cpus"),
            memory_gb=round(int(memory) / 1e9, 1) if memory.isdecimal() and not phone else None,
            versions={"coremltools": mac["coremltools"]} if mac else {},
            extra=extra,
        )

    @property
    def commands(self) -> ShellCommands:
        """Programs on the Mac."""
        return ShellCommands(self._connection)

    @property
    def files(self) -> SshFiles:
        """Files on the Mac."""
        return SshFiles(self._connection, self._folder)

    def load(self, job: Job) -> AppleModel:
        """Bring a Core ML package there, converted here where the job names a network.

        Raises:
            UserError: there is no such artifact, or it does not become a package.
            DeviceError: Core ML cannot load it there.
        """
        if job.runtime not in (None, "coreml"):
            raise unknown_name("runtime of apple devices", str(job.runtime), ("coreml",))
        assert self._line is not None, "the device is entered before it is used"
        return AppleModel(
            self._line,
            self.files,
            job,
            units=self._options.get("units", "all"),
            precision=self._options.get("precision", "fp32"),
            version=self.facts.versions["coremltools"],
        )

    def __enter__(self) -> AppleDevice:
        """Connect to the Mac, start the agent, and by it the app on the device.

        Raises:
            DeviceError: no such Mac or device, or it lacks Python, coremltools or Xcode.
        """
        with ExitStack() as stack:
            stack.enter_context(self._connection)
            ended = self._connection.script('echo "${XDG_CACHE_HOME:-$HOME/.cache}"', timeout=60)
            cache = ended.stdout.decode(errors="replace").strip()
            self._folder = (self._options.get("dir") or f"{cache}/srdeploy").rstrip("/")
            python = self._options.get("python", "python3")
            line = AgentLine(self._connection, self.files.push(AGENT), python)
            stack.callback(line.close)
            self._mac = line.ask("hello", timeout=120)
            self._phone = line.ask(
                "connect",
                timeout=_BUILD_SECONDS,
                folder=f"{self._folder}/modelrunner",
                **{name: self._options.get(name) for name in ("device", "team", "profile")},
                bundle=self._options.get("bundle"),
            )
            self._line, self._stack = line, stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        with contextlib.suppress(OSError):
            self._stack.close()
