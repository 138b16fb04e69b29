"""Sensors over ssh: tegrastats on a Jetson, nvidia-smi on a PC, the kernel's own elsewhere."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from srdeploy.devices.ssh import tegrastats
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.probe import CONDITIONS, Host, read_conditions
from srdeploy.measure.measurement import Conditions, Reading

Parse = Callable[[str, float], Reading | None]

_END = "--"
_SLOWEST = 1.0
"""Seconds between readings where a shell takes them: oftener, it would load the device."""


@dataclass(frozen=True)
class Source:
    """One way to read sensors.

    Attributes:
        script: Shell text (a program with ``exec`` before it) that prints one line, or a block
            ended by ``--``, per reading, for ever; ``{seconds}`` and ``{milliseconds}`` stand for
            the time between two.
        parse: Reads what was printed.
        rails: Rails whose sum is the whole power, where that does not depend on the board.
    """

    script: str
    parse: Parse
    rails: tuple[str, ...] = ()


def parse_nvidia_smi(line: str, seconds: float) -> Reading | None:
    """``power.draw, temperature.gpu, clocks.sm, utilization.gpu`` without units; may hold N/A."""
    found: list[float | None] = []
    for cell in line.split(","):
        try:
            found.append(float(cell))
        except ValueError:
            found.append(None)
    if len(found) != 4:
        return None
    power, celsius, clock, load = ({} if value is None else {"gpu": value} for value in found)
    return Reading(
        seconds=seconds,
        power_w=power,
        temperatures_c=celsius,
        clocks_mhz=clock,
        load_percent=load,
    )


def parse_sysfs(block: str, seconds: float) -> Reading | None:
    """The text of :data:`srdeploy.devices.ssh.probe.CONDITIONS`."""
    found = read_conditions(block)
    if not (found.temperatures_c or found.clocks_mhz):
        return None
    return Reading(
        seconds=seconds, temperatures_c=found.temperatures_c, clocks_mhz=found.clocks_mhz
    )


def source_of(host: Host) -> Source:
    """The best source that a host has."""
    if host.tegrastats:
        return Source(
            f"exec '{host.tegrastats}' --interval {{milliseconds}}", tegrastats.parse_line
        )
    if host.facts.gpu and not host.jetson:
        query = "power.draw,temperature.gpu,clocks.sm,utilization.gpu"
        script = f"exec nvidia-smi --query-gpu={query} --format=csv,noheader,nounits"
        return Source(f"{script} --loop-ms={{milliseconds}}", parse_nvidia_smi, ("gpu",))
    loop = CONDITIONS.replace("{", "{{").replace("}", "}}")
    return Source(f"while :; do {loop}\necho {_END}; sleep {{seconds}}; done", parse_sysfs)


class SshSensors:
    """See :class:`srdeploy.devices.protocol.Sensors`."""

    def __init__(self, connection: SshConnection, host: Host) -> None:
        self._connection = connection
        self._source = source_of(host)
        self._rails = self._source.rails

    @property
    def total_rails(self) -> tuple[str, ...]:
        """Known once tegrastats has printed a line: boards differ."""
        return self._rails

    def conditions(self) -> Conditions:
        """Power mode, clocks, temperatures and load now."""
        ended = self._connection.script(CONDITIONS, timeout=30, what="reading sensors")
        return read_conditions(ended.stdout.decode(errors="replace"))

    @contextmanager
    def watch(self, seconds: float) -> Iterator[SshWatch]:
        """Read alongside; the program there ends when the context does, or when we die."""
        seconds = max(seconds, _SLOWEST) if self._source.parse is parse_sysfs else seconds
        script = self._source.script.format(
            seconds=f"{seconds:g}", milliseconds=max(1, round(seconds * 1e3))
        )
        watch = SshWatch(self._connection, script, self._source.parse)
        try:
            yield watch
        finally:
            watch.stop()
            if watch.readings and not self._rails:
                self._rails = tegrastats.total_rails(watch.readings[-1])


class SshWatch:
    """A program printing sensors on the other side, and a thread that reads it here."""

    def __init__(self, connection: SshConnection, script: str, parse: Parse) -> None:
        self._readings: list[Reading] = []
        self._parse = parse
        # Our end of stdin closes when we stop or die; then cat ends and the program with it.
        self._process = subprocess.Popen(
            connection.remote(f"{{ {script}\n}} & p=$!; cat >/dev/null; kill $p 2>/dev/null; true"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def readings(self) -> list[Reading]:
        """What was read so far."""
        return list(self._readings)

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        block: list[str] = []
        for line in self._process.stdout:
            seconds = round(time.monotonic() - self._start, 3)
            if self._parse is not parse_sysfs:
                reading = self._parse(line, seconds)
            elif line.strip() != _END:
                block.append(line)
                continue
            else:
                reading = self._parse("".join(block), seconds)
                block = []
            if reading is not None:
                self._readings.append(reading)
