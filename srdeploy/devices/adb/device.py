"""An Android phone, tablet or box: the static native runner, pushed and run by adb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srdeploy.devices.adb.connection import AdbConnection
from srdeploy.devices.adb.files import AdbFiles
from srdeploy.devices.adb.probe import FACTS, RAIL, STATE, read_facts, read_state
from srdeploy.devices.answers import reading
from srdeploy.devices.native import PRECISIONS, RUNTIMES, VULKAN
from srdeploy.devices.protocol import Job
from srdeploy.devices.shell.link import ShellCommands
from srdeploy.devices.shell.native_load import load_native
from srdeploy.devices.shell.native_model import NativeModel
from srdeploy.devices.shell.tflite_model import (
    DELEGATES,
    LITERT,
    SUFFIX,
    TfliteModel,
    load_tflite,
)
from srdeploy.devices.shell.watch import ShellWatch, in_blocks
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading

FOLDER = "/data/local/tmp/srdeploy"
"""Where a phone lets adb's user keep and run programs."""

NO_VULKAN = (
    "A phone's Vulkan driver is only loaded by programs that are linked with Android's own C "
    "library, which the Android NDK alone has, so the runner is built without; take its CPU with "
    "--runtime ncnn, its GPU through WebGPU with --device browser, or open the exported .param in "
    "a Vulkan application there."
)
"""Why a phone is not measured by Vulkan."""

_OPTIONS = ("dir", "precision", "benchmark_model", "delegate")
_SLOWEST = 2.0
"""Seconds between readings at least: ``dumpsys`` wakes system services."""


class AdbDevice:
    """See :class:`srdeploy.devices.protocol.Device`.

    Options of the URI:
        dir: Our folder there (default: :data:`FOLDER`).
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8`` (default: fp32).
        benchmark_model: LiteRT's program on this machine, which runs TFLite files there.
        delegate: What it computes by: ``cpu``, ``gpu`` or ``nnapi`` (default: cpu).
    """

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart; nothing is asked of adb.

        Raises:
            UserError: an unknown option or precision.
        """
        uri.check_options(_OPTIONS)
        self._precision = uri.options.get("precision", "fp32")
        if self._precision not in PRECISIONS:
            raise unknown_name("precision of the native runner", self._precision, PRECISIONS)
        self.uri = uri.text
        serial = f"{uri.host}:{uri.port}" if uri.port else uri.host
        self._connection = AdbConnection(serial or None)
        self._benchmark_model = uri.options.get("benchmark_model")
        self._delegate = uri.options.get("delegate", "cpu")
        if self._delegate not in DELEGATES:
            raise unknown_name("delegate of LiteRT", self._delegate, DELEGATES)
        self._folder = uri.options.get("dir", FOLDER).rstrip("/")
        self._facts: DeviceFacts | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What the device tells of itself; asked once."""
        if self._facts is None:
            ended = self._connection.script(FACTS, timeout=30, what="asking what it is")
            with reading(self._connection.name):
                self._facts = read_facts(ended.stdout.decode(errors="replace"))
        return self._facts

    @property
    def commands(self) -> ShellCommands:
        """Programs there."""
        return ShellCommands(self._connection)

    @property
    def files(self) -> AdbFiles:
        """Files there."""
        return AdbFiles(self._connection, self._folder)

    @property
    def sensors(self) -> AdbSensors:
        """Sensors there."""
        return AdbSensors(self._connection)

    def load(self, job: Job) -> NativeModel | TfliteModel:
        """Bring the program that runs it and the network there."""
        if job.runtime not in (None, *RUNTIMES, LITERT):
            raise unknown_name("runtime of adb devices", str(job.runtime), (*RUNTIMES, LITERT))
        if job.runtime == VULKAN:
            raise UserError(NO_VULKAN)
        suffix = Path(job.artifact).suffix.lower()
        if job.runtime == LITERT or (job.runtime is None and suffix == SUFFIX):
            return load_tflite(
                job, self._connection, self.files, program=self._benchmark_model,
                delegate=self._delegate, threads=self.facts.cpus or 1,
            )  # fmt: skip
        return load_native(job, self._connection, self.files, self.facts, self._precision)

    def __enter__(self) -> AdbDevice:
        self._connection.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._connection.__exit__(*details)


class AdbSensors:
    """See :class:`srdeploy.devices.protocol.Sensors`."""

    def __init__(self, connection: AdbConnection) -> None:
        self._connection = connection

    @property
    def total_rails(self) -> tuple[str, ...]:
        """The battery, whose readings are there while nothing charges it."""
        return (RAIL,)

    def conditions(self) -> Conditions:
        """Governor, clocks, temperatures, throttling and battery now."""
        ended = self._connection.script(STATE, timeout=30, what="reading sensors")
        return read_state(ended.stdout.decode(errors="replace"))[0]

    @contextmanager
    def watch(self, seconds: float) -> Iterator[ShellWatch]:
        """Read alongside."""
        watch = ShellWatch(self._connection, in_blocks(STATE, _reading, (RAIL,), _SLOWEST), seconds)
        try:
            yield watch
        finally:
            watch.stop()


def _reading(block: str, seconds: float) -> Reading | None:
    conditions, watts = read_state(block)
    if not (watts or conditions.temperatures_c or conditions.clocks_mhz):
        return None
    return Reading(
        seconds=seconds,
        power_w=watts,
        temperatures_c=conditions.temperatures_c,
        clocks_mhz=conditions.clocks_mhz,
    )
