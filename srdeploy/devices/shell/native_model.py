"""A network on any Linux or Android device, run by the native runner on its CPU or its GPU."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.answers import tensor_of
from srdeploy.devices.errors import DeviceUnfit
from srdeploy.devices.native import (
    PRECISIONS,
    VULKAN,
    NativeNetwork,
    Report,
    read_report,
    runner_arguments,
)
from srdeploy.devices.protocol import Loaded, Shape, Turn
from srdeploy.devices.shell.files import ShellFiles
from srdeploy.devices.shell.link import ShellLink, as_text
from srdeploy.devices.shell.model import ShellModel
from srdeploy.errors import unknown_name
from srdeploy.models.card import Card
from srdeploy.sparse.told import masks_told

ARCHITECTURES = {
    "x86_64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
    "armv8l": "armv7l",
}
"""What ``uname -m`` says, and the runner for it."""


def runner_for(arch: str, device: str, *, vulkan: bool = False) -> Path:
    """The runner for a processor.

    Args:
        arch: What the device says.
        device: What to call it in a sentence.
        vulkan: The one that runs networks on a GPU.

    Raises:
        DeviceUnfit: there is none for this architecture.
        UserError: it is not built yet; the sentence says how.
    """
    from srdeploy.devices.native_build import WITH_VULKAN, runner_binary

    known = WITH_VULKAN if vulkan else sorted(set(ARCHITECTURES.values()))
    if ARCHITECTURES.get(arch) not in known:
        raise DeviceUnfit(
            f"'{device}' is {arch}; the native runner{' with Vulkan' if vulkan else ''} exists for "
            f"{', '.join(known)}{'; take the CPU with --runtime ncnn' if vulkan else ''}."
        )
    return runner_binary(ARCHITECTURES[arch], vulkan=vulkan)


class NativeModel(ShellModel):
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(
        self,
        link: ShellLink,
        files: ShellFiles,
        *,
        runner: Path,
        network: NativeNetwork,
        card: Card,
        threads: int,
        precision: str,
        timeout: float,
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision of the native runner", precision, PRECISIONS)
        super().__init__(link, files, program=runner, card=card, threads=threads, timeout=timeout)
        self._network = {name: files.push(path) for name, path in network.files.items()}
        self._precision = precision
        self._prepared: tuple[str, Shape] | None = None
        self._notes = (
            "timed by the native runner; every turn is a process that loads the network and runs "
            "it once before",
        )
        self._loaded = Loaded(
            card=card,
            runtime=network.runtime,
            provider="vulkan" if network.runtime == VULKAN else "cpu",
            threads=threads,
            notes=self._notes,
        )

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Copy the tensor there, run it, warm up."""
        n, c, h, w = x.shape
        self._prepared = (self._write(x, "timed.bin"), (n, c, h, w))
        report = self._run(*self._prepared, warmup=(runs, seconds))
        self._loaded = replace(
            self._loaded,
            runtime=report.runtime,
            runtime_version=report.version,
            precision=report.precision,
            threads=report.threads,
            load_ms=report.load_ms,
            notes=(*self._notes, *_told(report)),
        )
        return report.first_ms

    def turn(self, seconds: float) -> Turn:
        """One run of the program."""
        assert self._prepared is not None, "prepare() comes before turn()"
        return Turn(self._run(*self._prepared, minimum=(1, seconds)).samples_ms)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """One run, and its output."""
        n, c, h, w = x.shape
        output = f"{self._folder}/y.bin"
        report = self._run(self._write(x, "x.bin"), (n, c, h, w), output=output)
        s = self._card.network_scale
        shape = (n, c, h * s, w * s)
        content = self._files.read(output, most=4 * math.prod(shape))
        self._files.remove(output)
        return tensor_of(content, report.output or shape, self._link.name)

    def _run(
        self,
        tensor: str,
        shape: Shape,
        *,
        warmup: tuple[int, float] = (0, 0.0),
        minimum: tuple[int, float] = (0, 0.0),
        output: str | None = None,
    ) -> Report:
        arguments = runner_arguments(
            self._network,
            tensor=tensor,
            shape=shape,
            threads=self._threads,
            precision=self._precision,
            warmup=warmup,
            minimum=minimum,
            output=output,
        )
        limit = self._timeout + warmup[1] + minimum[1]
        ended = self._link.run([self._program, *arguments], timeout=limit)
        report = read_report(as_text(ended), f"'{self._link.name}'")
        self._saw(report.peak_mb)
        return report

    def _write(self, x: NDArray[np.float32], name: str) -> str:
        path = f"{self._folder}/{name}"
        self._files.write(path, x.astype("<f4").tobytes())
        return path


def _told(report: Report) -> tuple[str, ...]:
    """What the program tells of a run: its GPU, or what SMSR's own code did."""
    if report.gpu is not None:
        return (f"Vulkan device: {report.gpu}",)
    if not report.modules:
        return ()
    masks = masks_told([(module.density, module.form) for module in report.modules])
    return (f"sparse form in C, kernel {report.kernel}", masks)
