"""What every device looks like: facts, which are data, and actions, which are small protocols.

A device is a context manager: entering connects, leaving frees what was held there. Its facts say
what it is; ``commands``, ``files`` and ``sensors`` are what it can do beside running networks, each
None where its kind cannot (a browser runs no commands). ``load`` puts one artifact on it.

Time and pixels meet in :class:`LoadedModel`: it measures itself in turns, so that several artifacts
can be interleaved on any device, and it turns tensors over, so that quality is computed here from
what the device itself put out (:class:`srdeploy.devices.session.DeviceSession`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.models.card import Card

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Completed:
    """A command that ended on a device.

    Attributes:
        code: Its exit code.
        stdout: What it printed, as text.
        stderr: What it complained of.
    """

    code: int
    stdout: str
    stderr: str


class Commands(Protocol):
    """Runs commands on a device."""

    def run(
        self, command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None
    ) -> Completed:
        """Run a program there and wait for it.

        Args:
            command: The program and its arguments, passed on as they are: no shell reads them.
            stdin: What it is given to read.
            timeout: Seconds to wait.

        Returns:
            What it printed; a failing program is an answer too, not an error.

        Raises:
            DeviceLost: the device went away before the program ended.
            DeviceError: the program is still running after ``timeout`` seconds; it was ended.
        """


class Files(Protocol):
    """Moves files to and from a device."""

    def push(self, source: Path) -> str:
        """Bring a file there, named by its content: what is there already does not travel again.

        Returns:
            Its path on the device.

        Raises:
            UserError: there is no such file here.
            DeviceFull: no space is left; nothing half-written stays.
            DeviceLost: the device went away.
        """

    def pull(self, path: str, target: Path) -> None:
        """Bring a file here, whole or not at all.

        Raises:
            DeviceError: there is no such file on the device.
            DeviceLost: the device went away.
        """

    def remove(self, path: str) -> None:
        """Delete a file there; one that does not exist is no error."""


class Watch(Protocol):
    """Sensors being read alongside a measurement; leaving the context ends it."""

    @property
    def readings(self) -> list[Reading]:
        """What was read so far."""


class Sensors(Protocol):
    """Reads what changes on a device."""

    def conditions(self) -> Conditions:
        """Power mode, clocks and temperatures now."""

    def watch(self, seconds: float) -> AbstractContextManager[Watch]:
        """Read sensors every ``seconds`` until the context is left."""

    @property
    def total_rails(self) -> tuple[str, ...]:
        """The power rails whose sum is the device's whole power; empty where none is known."""


@dataclass(frozen=True)
class Job:
    """One artifact to be run.

    Attributes:
        artifact: A file here, or a shipped network's name.
        shapes: Input tensors that will come, [N, C, H, W], the one to be tuned for and timed
            first. A kind that builds for fixed shapes builds for these. Empty: unknown.
        runtime: Which of the device's runtimes must run it; None for the one that fits.
        threads: CPU threads; None for all.
        options: More of what opens it: ``arch``, ``scale``, ``value_range``, ``provider``.
        timeout_seconds: Longest single step (a build, a turn, a run).
        picture: Height and width, in LR pixels from the upper left, of the part of the timed image
            that is a picture: beyond it, it goes on in the mirror. None: all of it. A device that
            shows the image shows this part.
    """

    artifact: str
    shapes: tuple[Shape, ...] = ()
    runtime: str | None = None
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float = 3600.0
    picture: tuple[int, int] | None = None


@dataclass(frozen=True)
class Loaded:
    """What came of loading an artifact; the fields are those of the measurement.

    Attributes:
        card: What the network is and eats.
        runtime: What runs it.
        runtime_version: Its version.
        provider: Where in the runtime.
        precision: What it really computes in; None where unknown.
        threads: CPU threads it uses.
        build_ms: Building an engine; 0 where one was cached, None where nothing is built.
        load_ms: Opening it, the runtime's start included; None where it cannot be told.
        timed: Its speed is the artifact's own; an interpreter's is not.
        notes: Sentences on what the figures rest on.
    """

    card: Card
    runtime: str
    runtime_version: str | None = None
    provider: str | None = None
    precision: str | None = None
    threads: int | None = None
    build_ms: float | None = None
    load_ms: float | None = None
    timed: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """The samples of one turn, in milliseconds and in the order taken.

    Attributes:
        samples_ms: End to end: tensor in, tensor out.
        compute_ms: The accelerator alone, of the same runs; empty where it is not told apart.
    """

    samples_ms: list[float]
    compute_ms: list[float] = field(default_factory=list)


class LoadedModel(Protocol):
    """An artifact ready to run on a device; a context manager that frees it."""

    @property
    def loaded(self) -> Loaded:
        """What is known of it."""

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Hand over the tensor to be timed, run once, and warm up.

        Args:
            x: ``float32 [N, C, H, W]`` in 0..``card.value_range``.
            runs: Warm-up runs after the first, and
            seconds: for at least so long.

        Returns:
            Milliseconds of the first run; None where the device cannot tell it from the others.
        """

    def turn(self, seconds: float) -> Turn:
        """Time the prepared tensor for ``seconds``; at least one sample.

        Raises:
            DeviceLost: the device went away.
            SrdeployError: it cannot go on.
        """

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for a tensor, untimed: ``float32 [N, C, H * s, W * s]``, not clipped."""

    def peak_mb(self) -> float | None:
        """Peak memory of what runs it, MB (10^6 bytes); None where it is not told."""

    def close(self) -> None:
        """Free it."""

    def __enter__(self) -> LoadedModel: ...

    def __exit__(self, *details: object) -> None: ...


@runtime_checkable
class Films(Protocol):
    """What a model has besides where videos are decoded and encoded beside it."""

    def film(self, path: Path, seconds: float) -> Turn:
        """Upscale a video for a while, then run the prepared tensor as often.

        Args:
            path: The video, on this machine.
            seconds: For both.

        Returns:
            Times from one finished frame to the next, and of the network alone.
        """


@dataclass(frozen=True)
class Figures:
    """What was measured of one artifact, as somebody who looks at the device is told.

    Attributes:
        artifact: Its file's name.
        p50_ms: Median time of one run; None where it was not timed.
        faster: Times as fast as the first artifact of the same run; None for the first itself.
        interval: The 95 % interval of ``faster``; None where rounds were too few to tell.
        psnr: In dB; None where quality was not measured.
    """

    artifact: str
    p50_ms: float | None = None
    faster: float | None = None
    interval: tuple[float, float] | None = None
    psnr: float | None = None


@runtime_checkable
class Shows(Protocol):
    """What a device whose screen somebody looks at has besides; the others do without."""

    def show(self, figures: Sequence[Figures]) -> None:
        """Show what came of a measurement; a screen that is gone by then is no error.

        Args:
            figures: Of the artifacts that were measured together, in their order.
        """


class Device(Protocol):
    """Something that runs networks; a context manager that connects and lets go.

    Attributes:
        uri: How it was asked for, e.g. ``ssh://user@host``.
    """

    uri: str

    @property
    def facts(self) -> DeviceFacts:
        """What it is; asked once."""

    @property
    def commands(self) -> Commands | None:
        """Runs commands, where its kind can."""

    @property
    def files(self) -> Files | None:
        """Moves files, where its kind can."""

    @property
    def sensors(self) -> Sensors | None:
        """Reads sensors, where its kind can."""

    def load(self, job: Job) -> LoadedModel:
        """Open an artifact there; close it, or use it as a context manager.

        Raises:
            UserError: there is no such artifact, or nothing there runs it.
            DeviceError: the device cannot, for reasons of its own.
        """

    def __enter__(self) -> Device: ...

    def __exit__(self, *details: object) -> None: ...
