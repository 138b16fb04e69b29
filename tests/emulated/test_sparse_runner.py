"""SMSR in the built runner: on this machine's processor, and for ARM under emulation."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from srdeploy.devices.native import Report, read_report, runner_arguments
from srdeploy.devices.protocol import Completed
from srdeploy.errors import SrdeployError
from srdeploy.models.smsr.network import SMSR
from srdeploy.sparse.engine import SparseEngine
from srdeploy.sparse.library import LoadedModel, kernels_here, kernels_of
from tests.emulated.packages import require
from tests.emulated.runner import require_runner
from tests.sparse import nets
from tests.sparse.published import published, set5
from tests.sparse.test_library import write

pytestmark = pytest.mark.emulated

LIMIT = 1e-4 * 255


@dataclass
class Runner:
    """The program and where its files go."""

    command: list[str]
    arch: str
    folder: Path

    def __call__(
        self,
        module: SMSR,
        x: NDArray[np.float32],
        kernel: str | None = None,
        threads: int = 1,
        runs: int = 2,
    ) -> tuple[Report, NDArray[np.float32]]:
        net = write(module, self.folder / "net.smsr")
        report = self.report(net, x, kernel, threads, runs)
        assert report.output is not None
        return report, np.fromfile(self.folder / "y", "<f4").reshape(report.output)

    def report(
        self,
        net: Path,
        x: NDArray[np.float32],
        kernel: str | None = None,
        threads: int = 1,
        runs: int = 0,
    ) -> Report:
        x.astype("<f4").tofile(self.folder / "x")
        n, c, h, w = x.shape
        arguments = runner_arguments(
            {"net": str(net)},
            tensor=str(self.folder / "x"),
            shape=(n, c, h, w),
            threads=threads,
            minimum=(runs, 0.0),
            output=str(self.folder / "y"),
        )
        arguments += ["--kernel", kernel] if kernel else []
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, timeout=600
        )
        return read_report(Completed(done.returncode, done.stdout, done.stderr), "here")


@pytest.fixture(scope="module", params=[platform.machine(), "aarch64 emulated", "armv7l emulated"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    arch, _, emulated = request.param.partition(" ")
    qemu = f"qemu-{'arm' if arch == 'armv7l' else arch}-static"
    if emulated:
        require(qemu)
    prefix = [qemu] if emulated else []
    folder = tmp_path_factory.mktemp("runner")
    return Runner([*prefix, str(require_runner(arch))], arch, folder)


def here(module: SMSR, x: torch.Tensor) -> tuple[NDArray[np.float32], list[float]]:
    """The Python engine's output and densities."""
    engine = SparseEngine(module, form="rows")
    y = engine(x).numpy()
    per_module = len(engine.modules[0].layers)
    found = np.array([choice.density for choice in engine.choices[::per_module]])
    return y, list(found.reshape(len(x), -1).mean(0))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sizes_batches_threads_and_kernels(runner: Runner, scale: int) -> None:
    module = nets.network(scale=scale)
    for kernel in kernels_of(runner.arch):
        for size in ((24, 26, 1), (13, 9, 2), (1, 1, 1)):
            x = nets.image(*size)
            expected, densities = here(module, x)
            report, y = runner(module, x.numpy(), kernel, threads=2)
            assert np.abs(y - expected).max() < LIMIT
            assert (report.runtime, report.precision, report.threads) == ("sparse", "fp32", 2)
            assert report.kernel == kernel
            assert len(report.samples_ms) == 2
            told = [one.density for one in report.modules]
            assert told == pytest.approx(densities, abs=6e-5)
    report, _ = runner(module, nets.image(9, 9).numpy())
    assert report.kernel == list(kernels_of(runner.arch))[-1]


def test_widths_of_their_own(runner: Runner) -> None:
    module = nets.uneven()
    x = nets.image(20, 33)
    expected, _ = here(module, x)
    _, y = runner(module, x.numpy())
    assert np.abs(y - expected).max() < LIMIT


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_precisions(runner: Runner, precision: str) -> None:
    """Against the plain kernel of this processor, which the runner's differ from by rounding."""
    x = nets.image(20, 33)
    for module in (nets.network(scale=3), nets.uneven()):
        net = write(module, runner.folder / "narrow.smsr", precision)
        with LoadedModel(net, 1, kernels_here()[0]) as model:
            expected = model.run(x.numpy())
        for kernel in kernels_of(runner.arch):
            report = runner.report(net, x.numpy(), kernel)
            assert (report.precision, report.kernel) == (precision, kernel)
            assert report.output is not None
            y = np.fromfile(runner.folder / "y", "<f4").reshape(report.output)
            assert np.abs(y - expected).mean() < 0.1


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("odd", [False, True])
def test_published_weights_on_set5(
    runner: Runner, scale: int, odd: bool, shared_data: Path
) -> None:
    """A piece of two images where it is emulated, of all the whole on this processor."""
    module = published(shared_data, scale)
    for number, image in enumerate(set5(shared_data, scale)):
        if len(runner.command) > 1:
            if number not in (1, 3):
                continue
            image = image[:, :, 20:48, 12:42]
        x = image[:, :, :-1, :-1] if odd else image
        expected, densities = here(module, x)
        report, y = runner(module, x.numpy(), threads=2, runs=0)
        assert np.abs(y - expected).max() < LIMIT
        told = [one.density for one in report.modules]
        assert told == pytest.approx(densities, abs=6e-5)


@pytest.mark.parametrize("damage", ["cut", "altered", "shape"])
def test_what_fails_says_so(runner: Runner, damage: str) -> None:
    net = write(nets.network(), runner.folder / "bad.smsr")
    content = bytearray(net.read_bytes())
    if damage == "cut":
        content = content[:-7]
    if damage == "altered":
        content[len(content) // 2] ^= 4
    net.write_bytes(content)
    x = nets.image(6, 7).numpy()
    told = "SMSR takes images of 3 channels, not of 4" if damage == "shape" else "altered; copy it"
    if damage == "shape":
        x = np.concatenate([x, x[:, :1]], 1)
    with pytest.raises(SrdeployError, match=told):
        runner.report(net, x)
