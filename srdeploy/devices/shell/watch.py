"""Sensors read alongside a measurement: a program prints them there, a thread reads them here."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from srdeploy.devices.answers import MOST_READINGS, Implausible
from srdeploy.devices.shell.conditions import CONDITIONS, read_conditions
from srdeploy.devices.shell.link import ShellLink
from srdeploy.measure.measurement import Reading
from srdeploy.measure.process import end_process

BLOCK_END = "--"
_GRACE_SECONDS = 5.0
_MOST_BYTES = 1 << 20
"""Of one reading's text."""


@dataclass(frozen=True)
class SensorSource:
    """One way to read sensors.

    Attributes:
        script: Shell text (a program with ``exec`` before it) that prints one line, or a block
            ended by :data:`BLOCK_END`, per reading, for ever; ``{seconds}`` and ``{milliseconds}``
            stand for the time between two.
        parse: Reads what was printed: text, and seconds since the beginning.
        rails: Rails whose sum is the whole power, where that does not depend on the board.
        blocks: It prints blocks.
        slowest: Seconds between readings at least: oftener, a shell would load the device.
    """

    script: str
    parse: Callable[[str, float], Reading | None]
    rails: tuple[str, ...] = ()
    blocks: bool = False
    slowest: float = 0.0

    def text(self, seconds: float) -> str:
        """The script for readings every so many seconds."""
        seconds = max(seconds, self.slowest)
        return self.script.format(seconds=f"{seconds:g}", milliseconds=max(1, round(seconds * 1e3)))


def in_blocks(
    script: str,
    parse: Callable[[str, float], Reading | None],
    rails: tuple[str, ...] = (),
    slowest: float = 1.0,
) -> SensorSource:
    """A source that runs shell text again and again; it may hold braces."""
    once = script.replace("{", "{{").replace("}", "}}")
    loop = f"while :; do {once}\necho {BLOCK_END}; sleep {{seconds}}; done"
    return SensorSource(loop, parse, rails, blocks=True, slowest=slowest)


def parse_kernel(block: str, seconds: float) -> Reading | None:
    """The text of :data:`srdeploy.devices.shell.conditions.CONDITIONS`."""
    found = read_conditions(block)
    if not (found.temperatures_c or found.clocks_mhz):
        return None
    return Reading(
        seconds=seconds, temperatures_c=found.temperatures_c, clocks_mhz=found.clocks_mhz
    )


KERNEL = in_blocks(CONDITIONS, parse_kernel)
"""The kernel's own sensors."""


class ShellWatch:
    """See :class:`srdeploy.devices.protocol.Watch`."""

    def __init__(self, link: ShellLink, source: SensorSource, seconds: float) -> None:
        self._readings: list[Reading] = []
        self._name, self._trouble = link.name, ""
        self._source = source
        script = source.text(seconds)
        # Our end of stdin closes when we stop or die; then cat ends and the program with it.
        self._process = subprocess.Popen(
            link.remote(f"{{ {script}\n}} & p=$!; cat >/dev/null; kill $p 2>/dev/null; true"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def readings(self) -> list[Reading]:
        """What was read so far.

        Raises:
            Implausible: something else than readings came, or more than there can be.
        """
        if self._trouble:
            raise Implausible(f"The sensors of '{self._name}' {self._trouble}.")
        return list(self._readings)

    def stop(self) -> None:
        """End it."""
        end_process(self._process, _GRACE_SECONDS)
        self._thread.join(_GRACE_SECONDS)

    def _read(self) -> None:
        try:
            for text in self._texts():
                reading = self._source.parse(text, round(time.monotonic() - self._start, 3))
                if reading is not None:
                    self._readings.append(reading)
                if len(self._readings) > MOST_READINGS:
                    raise ValueError("no end of readings")
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            self._trouble = f"answered what cannot be read ({error})"
            self._process.kill()

    def _texts(self) -> Iterator[str]:
        """A line or a block each, bounded."""
        assert self._process.stdout is not None
        block = b""
        while line := self._process.stdout.readline(_MOST_BYTES):
            block += line
            if len(block) >= _MOST_BYTES:
                raise ValueError("a reading without end")
            if self._source.blocks and line.strip() != BLOCK_END.encode():
                continue
            if self._source.blocks:
                block = block[: -len(line)]
            yield block.decode(errors="replace")
            block = b""
