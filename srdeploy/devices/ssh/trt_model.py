"""An engine on a board, run by trtexec: no Python of ours is needed there."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.protocol import Loaded, Turn
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.devices.ssh.engines import Engine
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.devices.ssh.trtexec import (
    Trtexec,
    check_passed,
    read_output,
    read_times,
    timing_arguments,
    told_seconds,
)
from srdeploy.errors import UserError
from srdeploy.models.card import Card

_LEAST_WARMUP_MS = 200.0
"""trtexec's own default; every turn is a process of its own and starts cold."""


_BYTES_PER_PIXEL, _MOST_AROUND = 32, 1 << 16
"""Of a tensor that trtexec prints: a figure of six digits with its sign, exponent and blanks."""

_MOST_TIMES = 256 << 20
"""Bytes of a turn's times: some 200 per run."""


@dataclass
class _Prepared:
    """The tensor that is timed, on the board."""

    path: str
    shape: tuple[int, int, int, int]
    warmup_ms: float


class TrtexecModel:
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(
        self,
        connection: SshConnection,
        files: SshFiles,
        program: Trtexec,
        engine: Engine,
        card: Card,
        gpu: str | None,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._files = files
        self._program = program
        self._engine = engine
        self._card = card
        self._gpu = gpu
        self._timeout = timeout
        self._folder = f"{files.folder}/run/{uuid.uuid4().hex}"
        self._prepared: _Prepared | None = None
        self._load_ms: float | None = None

    @property
    def loaded(self) -> Loaded:
        """What is known; the loading time once a run was prepared."""
        return Loaded(
            card=self._card,
            runtime="tensorrt",
            runtime_version=".".join(map(str, self._program.version)),
            provider=self._gpu,
            precision=self._engine.source.precision,
            build_ms=self._engine.build_ms,
            load_ms=self._load_ms,
            notes=(
                f"engine for {self._engine.profile}; {self._engine.verification}",
                "timed by trtexec: end to end counts the copies to and from the GPU, no CUDA "
                "graph; every turn is a process that loads the engine and warms up first",
                "outputs as trtexec prints them, six digits",
            ),
        )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Copy the tensor there and run it once; trtexec does not tell the first run apart."""
        path = self._write(x, "timed.bin")
        n, c, h, w = x.shape
        self._prepared = _Prepared(path, (n, c, h, w), 0.0)
        sample = self._time(0.0, first=True).samples_ms[0]
        self._prepared.warmup_ms = max(_LEAST_WARMUP_MS, seconds * 1e3, runs * sample)
        return None

    def turn(self, seconds: float) -> Turn:
        """One run of trtexec."""
        return self._time(seconds)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One run, and its output from trtexec's JSON."""
        tensor, output = self._write(x, "x.bin"), f"{self._folder}/y.json"
        self._trtexec(tensor, x.shape, 0.0, 0.0, output=output)
        pixels = math.prod(x.shape) * self._card.network_scale**2
        content = self._files.read(output, most=_BYTES_PER_PIXEL * pixels + _MOST_AROUND)
        self._files.remove(output)
        return read_output(content, self._connection.name)

    def peak_mb(self) -> float | None:
        """Not told: GPU and CPU share a board's memory, and trtexec reports neither."""
        return None

    def close(self) -> None:
        """Delete the tensors; the engine stays for the next time."""
        self._connection.discard(self._folder)

    def __enter__(self) -> TrtexecModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _time(self, seconds: float, first: bool = False) -> Turn:
        assert self._prepared is not None, "prepare() comes before turn()"
        times = f"{self._folder}/times.json"
        told = self._trtexec(
            self._prepared.path,
            self._prepared.shape,
            seconds,
            self._prepared.warmup_ms,
            times=times,
        )
        if first and "loaded" in told:
            self._load_ms = told["loaded"] * 1e3
        return read_times(self._files.read(times, most=_MOST_TIMES), self._connection.name)

    def _trtexec(
        self,
        tensor: str,
        shape: tuple[int, ...],
        seconds: float,
        warmup_ms: float,
        times: str | None = None,
        output: str | None = None,
    ) -> dict[str, float]:
        n, c, h, w = shape
        source = self._engine.source
        arguments = timing_arguments(
            self._program,
            engine=self._engine.path,
            input_name=source.input.name,
            tensor=tensor,
            shape=(n, c, h, w) if source.dynamic else None,
            seconds=seconds,
            warmup_ms=warmup_ms,
            times=times,
            output=output,
        )
        limit = self._timeout + seconds
        ended = self._connection.run([self._program.path, *arguments], timeout=limit)
        said = (ended.stdout + ended.stderr).decode(errors="replace")
        name = self._connection.name
        check_passed(said, ended.returncode, name, f"running {source.path.name}")
        return told_seconds(said)

    def _write(self, x: NDArray[np.float32], name: str) -> str:
        if not self._engine.profile.holds(x.shape):
            raise UserError(
                f"The engine of '{self._engine.source.path.name}' takes {self._engine.profile}, "
                f"not {'x'.join(map(str, x.shape))}."
            )
        path = f"{self._folder}/{name}"
        self._files.write(path, x.astype(self._engine.source.input.dtype).tobytes())
        return path
