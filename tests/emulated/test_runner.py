"""The built runner itself: on this machine's processor, and for aarch64 under emulation."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from srdeploy.devices.native import (
    PROGRAM,
    VERSION,
    Report,
    read_report,
    runner_arguments,
)
from srdeploy.devices.native_build import native_model
from srdeploy.devices.protocol import Completed, Shape
from srdeploy.errors import SrdeployError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.card import Card
from srdeploy.models.load import load_network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.open import open_session
from tests.emulated.packages import require
from tests.emulated.runner import require_runner

pytestmark = pytest.mark.emulated


@dataclass
class Runner:
    """The program and where its files go."""

    command: list[str]
    folder: Path

    def ended(self, *arguments: str) -> Completed:
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, timeout=300
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def __call__(
        self, onnx: Path, x: NDArray[np.float32], eight_bits: Card | None = None, **more: object
    ) -> tuple[Report, NDArray[np.float32]]:
        param, weights = native_model(onnx, eight_bits)
        x.astype("<f4").tofile(self.folder / "x")
        n, c, h, w = x.shape
        arguments = runner_arguments(
            {"param": str(param), "bin": str(weights)},
            tensor=str(self.folder / "x"),
            shape=(n, c, h, w),
            output=str(self.folder / "y"),
            **{"threads": 1, **more},  # type: ignore[arg-type]
        )
        report = read_report(self.ended(*arguments), "here")
        assert report.output is not None
        return report, np.fromfile(self.folder / "y", "<f4").reshape(report.output)


@pytest.fixture(scope="module", params=[platform.machine(), "aarch64 emulated", "armv7l emulated"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    arch, _, emulated = request.param.partition(" ")
    qemu = f"qemu-{'arm' if arch == 'armv7l' else arch}-static"
    if emulated:
        require(qemu)
    prefix = [qemu] if emulated else []
    return Runner([*prefix, str(require_runner(arch))], tmp_path_factory.mktemp("runner"))


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(load_network("edsr-s-x2"), path, check=False)
    return path


def reference(onnx: Path, shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """An input, onnxruntime's output for it, and the value range."""
    with open_session(onnx, threads=1) as session:
        span = session.card.value_range
        x = np.random.default_rng(0).random(shape, np.float32) * np.float32(span)
        return x, session.run(x), span


def psnr(a: NDArray[np.float32], b: NDArray[np.float32], span: float) -> float:
    return float(10 * np.log10(span**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize("shape", [(1, 3, 24, 32), (1, 3, 17, 31), (1, 3, 1, 1), (2, 3, 9, 50)])
def test_fp32_is_onnxruntimes(runner: Runner, onnx: Path, shape: Shape) -> None:
    x, expected, span = reference(onnx, shape)
    report, y = runner(onnx, x)
    assert y.shape == expected.shape
    assert report.precision == "fp32"
    assert psnr(y, expected, span) > 80


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precisions_are_told_as_they_ran(runner: Runner, onnx: Path, precision: str) -> None:
    x, expected, span = reference(onnx, (1, 3, 24, 32))
    report, y = runner(onnx, x, precision=precision)
    exact = psnr(y, expected, span)
    if report.precision == "fp32":
        assert exact > 80
    else:
        assert precision in report.precision
        assert 30 < exact < 80


def test_8_bits_are_ncnns(runner: Runner, onnx: Path) -> None:
    """As the library computes them: products of bytes are exact on every processor."""
    card = read_card_of(onnx)
    x = photograph(card, (24, 32))
    report, y = runner(onnx, x, card)
    assert report.precision == "int8"
    with open_session(onnx, threads=1) as session:
        assert 35 < psnr(y, session.run(x), card.value_range) < 70
    with open_session(native_model(onnx, card)[0], threads=1) as session:
        assert psnr(y, session.run(x), card.value_range) > 50


def test_networks_of_other_kinds(runner: Runner, tmp_path: Path) -> None:
    for name, channels, options in (
        ("vdsr", 1, {"n_layers": 4, "n_feats": 8}),
        ("ledsr", 3, {"n_blocks": 1, "n_feats": 8, "scale": 3}),
        ("smsr", 3, {"n_modules": 1, "n_feats": 8, "mask_feats": 4, "reduction": 4}),
    ):
        path = tmp_path / f"{name}.onnx"
        export_onnx(create(name, **options), path, check=False)
        x, expected, span = reference(path, (1, channels, 20, 22))
        _, y = runner(path, x)
        assert psnr(y, expected, span) > 70


def test_turns_and_threads(runner: Runner, onnx: Path) -> None:
    x, expected, span = reference(onnx, (1, 3, 24, 32))
    report, y = runner(onnx, x, threads=2, warmup=(2, 0.0), minimum=(3, 0.2))
    assert len(report.samples_ms) >= 3
    assert min(report.samples_ms) > 0
    assert sum(report.samples_ms) >= 190 or len(report.samples_ms) == 3
    assert (report.runtime, report.threads) == ("ncnn", 2)
    assert report.load_ms > 0
    assert report.peak_mb is not None
    assert 1 < report.peak_mb < 500
    assert psnr(y, expected, span) > 80


def test_its_version_is_ours(runner: Runner) -> None:
    told = runner.ended("--version").stdout.split()
    assert told[:3] == [PROGRAM, str(VERSION), "ncnn"]
    assert len(told[3]) == 8


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("cut weights", "does not hold the weights"),
        ("no weights", "does not hold the weights"),
        ("text", "is no network that this runner knows"),
        ("layer", "is no network that this runner knows"),
        ("short input", "is shorter than its shape says"),
        ("long input", "is longer than its shape says"),
        ("channels", "cannot run on 4x8x6: its first convolution takes 3 channels"),
        ("output", "Cannot write .*: No such file or directory"),
    ],
)
def test_what_fails_says_so(
    runner: Runner, onnx: Path, tmp_path: Path, damage: str, sentence: str
) -> None:
    param, weights = native_model(onnx)
    text, content = param.read_text(), weights.read_bytes()
    if damage == "text":
        text = "this is no network\n"
    if damage == "layer":
        text = text.replace("PixelShuffle ", "NoSuchLayer  ")
    if damage == "cut weights":
        content = content[: len(content) // 2]
    if damage == "no weights":
        content = b""
    (tmp_path / "net.param").write_text(text)
    (tmp_path / "net.bin").write_bytes(content)
    values = {"short input": 100, "long input": 3 * 8 * 8 + 1}.get(damage, 3 * 8 * 8)
    np.zeros(values, "<f4").tofile(tmp_path / "x")
    arguments = runner_arguments(
        {"param": str(tmp_path / "net.param"), "bin": str(tmp_path / "net.bin")},
        tensor=str(tmp_path / "x"),
        shape=(1, 3, 8, 8) if damage != "channels" else (1, 4, 8, 6),
        threads=1,
        output=str(tmp_path / ("no/where" if damage == "output" else "y")),
    )
    with pytest.raises(SrdeployError, match=sentence):
        read_report(runner.ended(*arguments), "here")


@pytest.mark.parametrize("words", [["--param"], ["--nonsense", "1"], ["--shape", "1,2"], []])
def test_bad_command_lines(runner: Runner, words: list[str]) -> None:
    ended = runner.ended(*words)
    assert ended.code == 2
    with pytest.raises(SrdeployError):
        read_report(ended, "here")
