"""Devices made of arithmetic: to try farms, scripts and this package's tests without boards.

``fake://NAME?ms=5&fail=lost&after=3``: options say how fast it is and how it fails. Outputs are the
nearest neighbours of the inputs, so that shapes and a PSNR come out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.artifact import card_of
from srdeploy.devices.errors import (
    DeviceError,
    DeviceFull,
    DeviceLost,
    DeviceRefused,
    DeviceUnfit,
)
from srdeploy.devices.fake_arithmetic import count_operators, padded_macs
from srdeploy.devices.protocol import Completed, Job, Loaded, Turn
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError, unknown_name
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.util.files import atomic_path, sha256

FAILURES: dict[str, tuple[type[DeviceError], str]] = {
    "refused": (DeviceRefused, "The fake device refuses; it was asked to."),
    "unfit": (DeviceUnfit, "The fake device lacks what runs networks; it was asked to."),
    "full": (DeviceFull, "No space is left on the fake device; it was asked to run out."),
    "lost": (DeviceLost, "The fake device went away; it was asked to."),
}
"""What ``fail=`` takes: ``refused`` when entered, ``unfit`` when loading, ``full`` when a file is
pushed or an artifact loaded, ``lost`` after so many turns as ``after=`` says."""

_OPTIONS = (
    *("ms", "jitter", "pace", "watts", "model", "seed", "fail", "after", "lock"),
    *("mmacs", "block", "op", "op_ms"),
)


class FakeDevice:
    """A device that only looks like one.

    Options of the URI:
        ms: Milliseconds of a run (5).
        mmacs: Millions of multiply-accumulates in a millisecond: an ONNX file then takes ``ms``
            and what its convolutions need (:mod:`srdeploy.devices.fake_arithmetic`).
        block: Channels that it computes at a time (1).
        op: Names of operators of ONNX, of which each takes ``op_ms`` more (none).
        op_ms: Milliseconds (0).
        jitter: Their relative spread (0.02).
        pace: Real seconds that pass per second of a turn (0: none).
        watts: Its power (7.5).
        model: What it says it is.
        seed: Of the samples' noise.
        fail: See :data:`FAILURES`.
        after: Turns before it is lost (0).
        lock: A folder. While a device is entered its file there is locked, and entering it a
            second time at the same time is an error: farms prove exclusive use with it. The file
            says so, too: a line ``in``, ``out`` or ``refused`` for each time, and when (seconds).
    """

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart.

        Raises:
            UserError: an unknown option or failure, or an option that is no number.
        """
        uri.check_options(_OPTIONS)
        self.uri = uri.text
        self._options = uri.options
        self._fail = uri.options.get("fail")
        if self._fail is not None and self._fail not in FAILURES:
            raise unknown_name("failure of fake devices", self._fail, FAILURES)
        self._name = uri.host or "fake"
        self._ms, self._jitter = self._number("ms", 5.0), self._number("jitter", 0.02)
        self._pace, self._watts = self._number("pace", 0.0), self._number("watts", 7.5)
        self._turns_left = int(self._number("after", 0))
        self._mmacs, self._block = self._number("mmacs", 0.0), int(self._number("block", 1)) or 1
        self._op_ms = self._number("op_ms", 0.0)
        self._slow = {name for name in uri.options.get("op", "").split(",") if name}
        self._random = random.Random(uri.options.get("seed", self._name))
        self._lock: Any = None
        self.commands = FakeCommands()
        self.files = FakeFiles(self)
        self.sensors = FakeSensors(self._watts, self._random)

    @property
    def facts(self) -> DeviceFacts:
        """What it pretends to be."""
        return DeviceFacts(
            kind="fake",
            model=self._options.get("model", "fake board"),
            arch="fake",
            os="none",
            cpus=1,
            memory_gb=1.0,
            versions={"fake": "1"},
        )

    def load(self, job: Job) -> FakeModel:
        """Read the artifact's card; nothing is computed with it.

        Raises:
            UserError: there is no such artifact.
            DeviceError: it was asked to fail.
        """
        card = card_of(job)
        self.fail_if("unfit", "full")
        loaded = Loaded(
            card=card,
            runtime="fake",
            runtime_version="1",
            precision="fp32",
            threads=job.threads or 1,
            load_ms=10 * self._ms,
            notes=("made up by a fake device",),
        )
        return FakeModel(self, loaded, job.artifact)

    def run_ms(self, artifact: str, x: NDArray[np.float32]) -> float:
        """How long a run of an artifact takes, without noise."""
        if not self._mmacs or not artifact.endswith(".onnx"):
            return self._ms
        ms = self._ms + padded_macs(artifact, x.shape, self._block) / 1e6 / self._mmacs
        return ms + self._op_ms * count_operators(artifact, self._slow)

    def take_turn(self, seconds: float, ms: float | None = None) -> list[float]:
        """Samples of about ``ms`` until they cover ``seconds``; at least one."""
        ms = self._ms if ms is None else ms
        if self._fail == "lost":
            self._turns_left -= 1
            if self._turns_left < 0:
                self.fail_if("lost")
        if self._pace:
            time.sleep(seconds * self._pace)
        samples: list[float] = []
        while not samples or sum(samples) < seconds * 1e3:
            samples.append(ms * max(0.1, self._random.gauss(1, self._jitter)))
        return samples

    def fail_if(self, *kinds: str) -> None:
        """Raise what was asked for, if it is one of these."""
        if self._fail in kinds:
            kind, sentence = FAILURES[self._fail]
            raise kind(sentence)

    def __enter__(self) -> FakeDevice:
        self.fail_if("refused")
        if folder := self._options.get("lock"):
            import fcntl  # not on Windows

            self._lock = open(Path(folder) / f"{self._name}.lock", "a")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._log("refused")
                self._lock.close()
                raise DeviceError(f"'{self.uri}' is in use already.") from None
            self._log("in")
        return self

    def __exit__(self, *details: object) -> None:
        if self._lock is not None:
            self._log("out")
            self._lock.close()

    def _log(self, what: str) -> None:
        self._lock.write(f"{what} {time.time():.3f}\n")
        self._lock.flush()

    def _number(self, name: str, default: float) -> float:
        text = self._options.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = -1.0
        if value < 0:
            raise UserError(f"'{self.uri}': {name} must be a number of 0 or more, not '{text}'.")
        return value


class FakeModel:
    """An artifact on a fake device; see :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(self, device: FakeDevice, loaded: Loaded, artifact: str) -> None:
        self.loaded = loaded
        self._device, self._artifact = device, artifact
        self._ms: float | None = None

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Nothing is kept of the tensor but how long it takes."""
        self._ms = self._device.run_ms(self._artifact, x)
        return 3 * self._device.take_turn(0, self._ms)[0]

    def turn(self, seconds: float) -> Turn:
        """Made-up samples; the accelerator's part is nine tenths."""
        samples = self._device.take_turn(seconds, self._ms)
        return Turn(samples, [0.9 * sample for sample in samples])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Nearest neighbours."""
        factor = self.loaded.card.network_scale
        return x.repeat(factor, axis=2).repeat(factor, axis=3)

    def peak_mb(self) -> float | None:
        """Made up."""
        return 64.0

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> FakeModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class FakeCommands:
    """A shell of four programs: ``echo``, ``cat``, ``true`` and ``false``."""

    def run(
        self, command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None
    ) -> Completed:
        """See :class:`srdeploy.devices.protocol.Commands`."""
        name, *arguments = command
        if name == "echo":
            return Completed(0, " ".join(arguments) + "\n", "")
        if name == "cat" and not arguments:
            return Completed(0, stdin.decode(errors="replace"), "")
        if name in ("true", "false"):
            return Completed(int(name == "false"), "", "")
        return Completed(127, "", f"{name}: not found")


class FakeFiles:
    """Files in memory, by content."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self._contents: dict[str, bytes] = {}

    def push(self, source: Path) -> str:
        """See :class:`srdeploy.devices.protocol.Files`."""
        if not source.is_file():
            raise UserError(f"There is no file '{source}'.")
        self._device.fail_if("full")
        path = f"/fake/{sha256(source)}{source.suffix}"
        self._contents[path] = source.read_bytes()
        return path

    def pull(self, path: str, target: Path) -> None:
        """See :class:`srdeploy.devices.protocol.Files`."""
        if path not in self._contents:
            raise DeviceError(f"There is no file '{path}' on the fake device.")
        with atomic_path(target) as temporary:
            temporary.write_bytes(self._contents[path])

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._contents.pop(path, None)


class FakeSensors:
    """Made-up power and temperature."""

    total_rails = ("total",)

    def __init__(self, watts: float, noise: random.Random) -> None:
        self._watts = watts
        self._random = noise

    def conditions(self) -> Conditions:
        """See :class:`srdeploy.devices.protocol.Sensors`."""
        return Conditions(
            power_mode="full", clocks_mhz={"cpu": 1000.0}, temperatures_c={"cpu": 40.0}
        )

    @contextmanager
    def watch(self, seconds: float) -> Iterator[FakeWatch]:
        """Readings that are made when they are asked for."""
        yield FakeWatch(self._watts, self._random, seconds)


class FakeWatch:
    """As many readings as would have been taken by now."""

    def __init__(self, watts: float, noise: random.Random, seconds: float) -> None:
        self._watts, self._random, self._seconds = watts, noise, seconds
        self._start = time.monotonic()

    @property
    def readings(self) -> list[Reading]:
        """At least one."""
        count = 1 + int((time.monotonic() - self._start) / self._seconds)
        return [
            Reading(
                seconds=n * self._seconds,
                power_w={"total": self._watts * self._random.gauss(1, 0.01)},
                temperatures_c={"cpu": 40.0 + 0.01 * n},
            )
            for n in range(count)
        ]
