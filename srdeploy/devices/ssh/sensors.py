"""Sensors over ssh: tegrastats on a Jetson, nvidia-smi on a PC, the kernel's own elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from srdeploy.devices.errors import DeviceError
from srdeploy.devices.shell.conditions import CONDITIONS, read_conditions
from srdeploy.devices.shell.watch import KERNEL, SensorSource, ShellWatch
from srdeploy.devices.ssh import tegrastats
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.probe import Host
from srdeploy.measure.measurement import Conditions, Reading


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


def source_of(host: Host) -> SensorSource:
    """The best source that a host has."""
    if host.tegrastats:
        return SensorSource(
            f"exec {_quoted(host.tegrastats)} --interval {{milliseconds}}", tegrastats.parse_line
        )
    if host.facts.gpu and not host.jetson:
        query = "power.draw,temperature.gpu,clocks.sm,utilization.gpu"
        script = f"exec nvidia-smi --query-gpu={query} --format=csv,noheader,nounits"
        return SensorSource(f"{script} --loop-ms={{milliseconds}}", parse_nvidia_smi, ("gpu",))
    return KERNEL


def _quoted(path: str) -> str:
    """A path as one word of a script whose braces are to be filled in."""
    return shlex.quote(path).replace("{", "{{").replace("}", "}}")


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
    def watch(self, seconds: float) -> Iterator[ShellWatch]:
        """Read alongside; the program there ends when the context does, or when we die."""
        watch = ShellWatch(self._connection, self._source, seconds)
        try:
            yield watch
        finally:
            watch.stop()
            with suppress(DeviceError):  # whoever asks for the readings is told
                if watch.readings and not self._rails:
                    self._rails = tegrastats.total_rails(watch.readings[-1])
