"""This machine: every artifact in a fresh process of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.errors import DeviceError
from srdeploy.devices.protocol import Completed, Job, Loaded, Turn
from srdeploy.devices.sysfs import SysfsReader, read_conditions
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.measure.machine import machine_facts
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.measure.precision import precision_of
from srdeploy.measure.process import WorkerProcess
from srdeploy.models.card import Card
from srdeploy.runtime.onnx.providers import provider_list
from srdeploy.runtime.session import default_threads
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.files import atomic_path, cache_dir, sha256

KIND = "local"


class LocalDevice:
    """This machine; ``local?provider=cuda`` for one of onnxruntime's providers.

    Options of the URI: ``provider`` (:data:`srdeploy.runtime.onnx.providers.PROVIDERS`), and
    ``precision`` (what the runtime ``sparse`` computes networks in).
    """

    def __init__(self, uri: DeviceUri) -> None:
        """Take a URI apart; nothing is started.

        Raises:
            UserError: an unknown option, or a provider that is not here.
        """
        uri.check_options(("provider", "precision"))
        if uri.host or uri.user or uri.port:
            raise UserError(f"'{uri.text}' names a host; this machine is plain 'local'.")
        self.uri = uri.text
        self.commands = LocalCommands()
        self.files = LocalFiles()
        self.sensors = LocalSensors()
        self._opening = {**uri.options}
        provider_list(uri.options.get("provider"))
        self._facts: DeviceFacts | None = None

    @property
    def facts(self) -> DeviceFacts:
        """See :class:`srdeploy.measure.measurement.DeviceFacts`."""
        if self._facts is None:
            told = machine_facts()
            runtimes = {
                row.name: version
                for row in RUNTIMES.values()
                if row.availability() and (version := row.module.version())
            }
            self._facts = DeviceFacts(
                kind=KIND,
                model=told["cpu"],
                arch=told["arch"],
                os=told["os"],
                cpu=told["cpu"],
                cpus=told["usable_cpus"],
                cpu_features=tuple(told["cpu_features"]),
                memory_gb=told["memory_gb"],
                gpu=_nvidia_gpu(),
                versions={**told["versions"], **runtimes},
                extra={"python": told["python"]},
            )
        return self._facts

    def load(self, job: Job) -> LocalModel:
        """Start a process that opens the artifact.

        Raises:
            SrdeployError: it cannot be opened; the sentence is the runtime's.
        """
        return LocalModel(job, self._opening)

    def __enter__(self) -> LocalDevice:
        return self

    def __exit__(self, *details: object) -> None:
        return None


class LocalModel:
    """One artifact in one process; see :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(self, job: Job, opening: Mapping[str, str] | None = None) -> None:
        threads = job.threads or default_threads()
        options = {**(opening or {}), **job.options}
        self._process = WorkerProcess(threads, job.timeout_seconds)
        self._folder = tempfile.TemporaryDirectory()
        try:
            answer = self._process.ask(
                "open",
                artifact=job.artifact,
                runtime=job.runtime,
                threads=threads,
                options=options,
            )
        except BaseException:
            self.close()
            raise
        self._answer: dict[str, Any] = answer
        self._card = Card.from_json(answer["card"])
        row = RUNTIMES.get(answer["runtime"])
        self._timed = row is None or row.timed
        self._precision = answer["precision"] or precision_of(
            job.artifact, answer["runtime"], answer["provider"]
        )

    @property
    def loaded(self) -> Loaded:
        """What the process answered, and the precision that another one read back."""
        told = self._answer
        name = told["runtime"]
        notes = tuple(told["notes"])
        if not self._timed:
            notes += (f"{name}: quality only, its speed would mean nothing",)
        return Loaded(
            card=self._card,
            runtime=name,
            runtime_version=told["runtime_version"],
            provider=told["provider"],
            precision=self._precision,
            threads=told["threads"],
            load_ms=told["load_ms"] if self._timed else None,
            timed=self._timed,
            notes=notes,
        )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Feed, run once, warm up."""
        path = Path(self._folder.name) / "input.npy"
        np.save(path, x)
        self._process.ask("feed", path=str(path))
        first: float = self._process.ask("first")["first_ms"]
        self._answer |= self._process.ask("warm", runs=runs, seconds=seconds)
        return first

    def turn(self, seconds: float) -> Turn:
        """Samples of one turn, end to end."""
        return Turn(self._process.ask("turn", seconds=seconds)["samples_ms"])

    def film(self, path: Path, seconds: float) -> Turn:
        """See :class:`srdeploy.devices.protocol.Films`."""
        answer = self._process.ask("film", path=str(path), seconds=seconds)
        return Turn(answer["samples_ms"], answer["compute_ms"])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One untimed run."""
        source, target = (Path(self._folder.name) / name for name in ("x.npy", "y.npy"))
        np.save(source, x)
        self._process.ask("run", path=str(source), to=str(target))
        return np.load(target)

    def peak_mb(self) -> float | None:
        """Peak memory of the process."""
        return self._process.ask("memory")["peak_mb"]

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._folder.cleanup()

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class LocalCommands:
    """Programs on this machine."""

    def run(
        self, command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None
    ) -> Completed:
        """See :class:`srdeploy.devices.protocol.Commands`."""
        try:
            ended = subprocess.run(
                list(command), input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"'{command[0]}' did not end within {timeout:g} s; it was ended."
            ) from None
        except OSError as error:  # as a shell answers
            return Completed(127, "", f"{command[0]}: {error.strerror}")
        return Completed(
            ended.returncode,
            ended.stdout.decode(errors="replace"),
            ended.stderr.decode(errors="replace"),
        )


class LocalFiles:
    """Files on this machine: what is "pushed" is copied once into the cache, by content."""

    def push(self, source: Path) -> str:
        """See :class:`srdeploy.devices.protocol.Files`."""
        if not source.is_file():
            raise UserError(f"There is no file '{source}'.")
        digest = sha256(source)
        target = cache_dir() / "devices" / f"{digest}{source.suffix}"
        if not target.is_file() or sha256(target) != digest:
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
        return str(target)

    def pull(self, path: str, target: Path) -> None:
        """See :class:`srdeploy.devices.protocol.Files`."""
        if not Path(path).is_file():
            raise DeviceError(f"There is no file '{path}' on this machine.")
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)

    def remove(self, path: str) -> None:
        """Delete a file."""
        Path(path).unlink(missing_ok=True)


class LocalSensors:
    """What Linux tells in ``/sys``: temperatures, clocks, and power where RAPL may be read."""

    def __init__(self) -> None:
        self._reader = SysfsReader()
        self.total_rails = self._reader.total_rails

    def conditions(self) -> Conditions:
        """Governor, clocks, temperatures, load."""
        return read_conditions(self._reader)

    @contextmanager
    def watch(self, seconds: float) -> Iterator[LocalWatch]:
        """Read in a thread, a file or two each time: it takes microseconds from the measurement."""
        watch = LocalWatch(self._reader, seconds)
        try:
            yield watch
        finally:
            watch.stop()


class LocalWatch:
    """A thread that reads ``/sys``."""

    def __init__(self, reader: SysfsReader, seconds: float) -> None:
        self._readings: list[Reading] = []
        self._reader = reader
        self._seconds = seconds
        self._start = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def readings(self) -> list[Reading]:
        """What was read so far."""
        return list(self._readings)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stopped.wait(self._seconds):
            reading = self._reader.read(time.monotonic() - self._start)
            if reading is not None:
                self._readings.append(reading)


def _nvidia_gpu() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    answer = LocalCommands().run([program, "--query-gpu=name", "--format=csv,noheader"], timeout=20)
    names = answer.stdout.strip().splitlines() if answer.code == 0 else []
    return names[0].strip() if names else None
