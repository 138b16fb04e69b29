"""A TFLite file on an Android device, run by LiteRT's own ``benchmark_model``.

srdeploy does not bring that program: its user gives it by path, built for the device's processor
(https://ai.google.dev/edge/litert/models/measurement). It tells means and extremes, not the time of
every run, so a turn has one sample: the mean of its runs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.answers import Implausible
from srdeploy.devices.errors import DeviceError, DeviceUnfit
from srdeploy.devices.protocol import Job, Loaded, Turn
from srdeploy.devices.shell.files import ShellFiles
from srdeploy.devices.shell.link import ShellLink, as_text
from srdeploy.devices.shell.model import ShellModel
from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.models.card import Card
from srdeploy.runtime.litert_file import End, read_card, read_ends
from srdeploy.runtime.table import LITERT as PACKAGE

LITERT = "litert"
"""The runtime's name."""

SUFFIX = ".tflite"

DELEGATES = {"cpu": "--use_xnnpack=true", "gpu": "--use_gpu=true", "nnapi": "--use_nnapi=true"}
"""What may compute, and what the program is told."""

_TIMINGS = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), "
    r"Warmup \(avg\): ([\d.e+]+), Inference \(avg\): ([\d.e+]+)"
)
_PEAK = re.compile(r"[Pp]eak memory footprint \(MB\)[^:\n]*: ?([\d.]+)")
_APPLIED = re.compile(r"applied (\w+) delegate, and the model graph will be ([^.\n]+)")
_REFUSED = re.compile(r"(?:ERROR|E tflite *): (.+)")


@dataclass(frozen=True)
class Timings:
    """What the program told of a run.

    Attributes:
        init_ms: Opening the file, delegates included.
        first_ms: The first run.
        mean_ms: The mean of the timed runs.
        peak_mb: Peak memory, where it tells.
        applied: What it says of the delegate; empty: nothing.
    """

    init_ms: float
    first_ms: float
    mean_ms: float
    peak_mb: float | None = None
    applied: str = ""


def read_timings(text: str, device: str) -> Timings:
    """Read what the program printed.

    Raises:
        SrdeployError: it failed; the sentence holds its own reason.
        DeviceError: its figures are none.
    """
    found = _TIMINGS.search(text)
    if found is None:
        reasons = _REFUSED.findall(text)
        said = reasons[0] if reasons else (text.strip().splitlines() or ["nothing"])[-1]
        raise SrdeployError(
            f"benchmark_model on {device} failed: {' '.join(said.split())[:300].rstrip('.')}."
        )
    peak, applied = _PEAK.search(text), _APPLIED.search(text)
    try:
        init, first, _, mean = (float(one) / 1e3 for one in found.groups())
        peak_mb = float(peak[1]) if peak else None
    except ValueError as error:
        raise Implausible(f"The figures by benchmark_model of {device} are none.") from error
    if not (all(map(math.isfinite, (init, first, mean, peak_mb or 0.0))) and mean > 0):
        raise Implausible(f"The times by benchmark_model of {device} are none ({mean:g} ms).")
    return Timings(
        init, first, mean, peak_mb,
        f"{applied[1]} delegate: the graph is {applied[2]}" if applied else "",
    )  # fmt: skip


def load_tflite(
    job: Job,
    link: ShellLink,
    files: ShellFiles,
    *,
    program: str | None,
    delegate: str,
    threads: int,
) -> TfliteModel:
    """Bring the program and a file to a device.

    Args:
        job: What is to be run.
        link: To the device.
        files: There.
        program: ``benchmark_model`` on this machine.
        delegate: A name of :data:`DELEGATES`.
        threads: CPU threads, unless the job says.

    Raises:
        UserError: no such file or program, or no TFLite file of ours.
    """
    path = Path(job.artifact)
    if delegate not in DELEGATES:
        raise unknown_name("delegate of LiteRT", delegate, DELEGATES)
    if path.suffix.lower() != SUFFIX:
        raise UserError(
            f"The runtime litert runs {SUFFIX} files, not '{path}'; export the network with "
            "`srdeploy export --target litert`."
        )
    if program is None:
        raise UserError(
            f"'{path}' is run on a phone by LiteRT's own program; give it by path, "
            "adb://SERIAL?benchmark_model=FILE."
        )
    if not Path(program).is_file():
        raise UserError(f"There is no program '{program}' (benchmark_model).")
    if not (found := PACKAGE.availability()):
        raise UserError(f"Reading '{path}' needs LiteRT: {found.reason}.")
    return TfliteModel(
        link, files, program=Path(program), path=path, card=read_card(path), delegate=delegate,
        threads=job.threads or threads, timeout=job.timeout_seconds,
    )  # fmt: skip


class TfliteModel(ShellModel):
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(
        self,
        link: ShellLink,
        files: ShellFiles,
        *,
        program: Path,
        path: Path,
        card: Card,
        delegate: str,
        threads: int,
        timeout: float,
    ) -> None:
        self._input, self._output = read_ends(path)
        super().__init__(link, files, program=program, card=card, threads=threads, timeout=timeout)
        self._graph, self._delegate = files.push(path), delegate
        self._tensor: str | None = None
        self._notes = (
            "timed by LiteRT's benchmark_model: a turn is a process, and its sample the mean of "
            "the turn's runs",
        )
        self._loaded = Loaded(
            card=card, runtime=LITERT, provider=delegate, threads=threads, notes=self._notes
        )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Copy the tensor there, run it, warm up."""
        self._tensor = self._write(x, "timed.bin")
        told = self._run(self._tensor, warmup=(max(runs, 1), seconds), timed=(1, 0.0))
        notes = (*self._notes, *([told.applied] if told.applied else []))
        self._loaded = replace(self._loaded, load_ms=told.init_ms, notes=notes)
        return told.first_ms

    def turn(self, seconds: float) -> Turn:
        """One run of the program."""
        assert self._tensor is not None, "prepare() comes before turn()"
        return Turn([self._run(self._tensor, timed=(1, seconds)).mean_ms])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One run, and its output."""
        return np.concatenate([self._one(x[n : n + 1]) for n in range(len(x))])

    def _one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        result = f"{self._folder}/y.bin"
        self._run(self._write(x, "x.bin"), output=result)
        most = math.prod(self._output.shape) * self._output.dtype.itemsize
        try:
            content = self._files.read(result, most=most)
        except DeviceError as error:
            raise DeviceUnfit(
                f"benchmark_model on {self._link.name} wrote no output; take one that knows "
                "--output_filepath (of 2024 or later)."
            ) from error
        self._files.remove(result)
        if len(content) != most:
            raise Implausible(
                f"benchmark_model on {self._link.name} wrote {len(content)} bytes, not {most}."
            )
        return self._output.to_image(np.frombuffer(content, self._output.dtype))

    def _run(
        self,
        tensor: str,
        *,
        warmup: tuple[int, float] = (1, 0.0),
        timed: tuple[int, float] = (1, 0.0),
        output: str | None = None,
    ) -> Timings:
        given = self._input
        arguments = [
            f"--graph={self._graph}",
            f"--input_layer={given.name}",
            f"--input_layer_shape={','.join(map(str, given.shape))}",
            f"--input_layer_value_files={given.name}:{tensor}",
            f"--num_threads={self._threads}",
            f"--warmup_runs={warmup[0]}",
            f"--warmup_min_secs={warmup[1]:g}",
            f"--num_runs={timed[0]}",
            f"--min_secs={timed[1]:g}",
            "--report_peak_memory_footprint=true",
            DELEGATES[self._delegate],
        ]
        if output is not None:
            arguments.append(f"--output_filepath={output}")
        limit = self._timeout + warmup[1] + timed[1]
        ended = as_text(self._link.run([self._program, *arguments], timeout=limit))
        told = read_timings(f"{ended.stdout}\n{ended.stderr}", f"'{self._link.name}'")
        self._saw(told.peak_mb)
        return told

    def _write(self, x: NDArray[np.float32], name: str) -> str:
        wanted: End = self._input
        if x.shape[1:] != wanted.image_shape[1:]:
            raise UserError(
                f"The file takes {'x'.join(map(str, wanted.image_shape))} only, not "
                f"{'x'.join(map(str, x.shape))}; export it with another --input."
            )
        path = f"{self._folder}/{name}"
        self._files.write(path, wanted.from_image(x[:1]).tobytes())
        return path
