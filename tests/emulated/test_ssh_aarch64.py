"""The whole ssh path against an emulated aarch64 host: another processor, busybox for a userland.

The shell, its programs and the files are the emulated host's; sshd is this machine's, which enters
it with every command. trtexec and tegrastats replay a board's own lines.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import write_png
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device, Job
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from tests.devices.ssh.loopback import REPLAY, Loopback, require_openssh
from tests.emulated.aarch64 import enter, fetch_busybox, make_root, require_tools
from tests.emulated.runner import require_runner
from tests.emulated.smsr import check_smsr

pytestmark = pytest.mark.emulated

HERE = Path(__file__).parent
SHAPE = (1, 3, 12, 16)
LOG = (
    "[05/27/2024-16:38:42] [I] Throughput: 32.7261 qps\n"
    "[05/27/2024-16:38:42] [I] GPU Compute Time: min = 29.8193 ms, max = 30.4572 ms\n"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    require_tools()
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("srdeploy-emulated")
    root = make_root(tmp_path_factory.mktemp("aarch64"), fetch_busybox(folder))
    for source, target in (
        (HERE / "trtexec", root / "usr/src/tensorrt/bin/trtexec"),
        (REPLAY / "tegrastats", root / "bin/tegrastats"),
        (REPLAY / "nvpmodel", root / "bin/nvpmodel"),
    ):
        target.write_text(source.read_text())
        target.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def board(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    require_openssh()
    board = Loopback(
        tmp_path_factory.mktemp("sshd"),
        programs=(),
        version="100300",
        environment={"PATH": "/bin:/usr/bin", "XDG_CACHE_HOME": "/cache", "HOME": "/"},
        server=f'ForceCommand {shlex.join(enter(root))} /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n',
    )
    yield board
    board.stop()


@pytest.fixture(scope="module")
def device(board: Loopback) -> Iterator[Device]:
    with open_device(board.uri) as device:
        yield device


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(load_network("edsr-s-x2"), path, check=False)
    return path


def test_its_facts(device: Device) -> None:
    facts = device.facts
    assert facts.arch == "aarch64"
    assert facts.os == "Busybox on aarch64"
    assert facts.extra == {"l4t": "36.4.3"}
    assert facts.versions == {"tensorrt": "10.3.0"}


def test_files_and_commands_with_busybox_alone(device: Device, tmp_path: Path) -> None:
    assert device.files is not None
    assert device.commands is not None
    (tmp_path / "f.bin").write_bytes(bytes(range(256)) * 100)
    there = device.files.push(tmp_path / "f.bin")
    device.files.pull(there, tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == (tmp_path / "f.bin").read_bytes()
    assert device.commands.run(["uname", "-m"], timeout=20).stdout == "aarch64\n"
    assert device.commands.run(["no-such-program"]).code == 127


def test_a_network_is_built_timed_and_compared(device: Device, root: Path, onnx: Path) -> None:
    x = np.random.default_rng(0).random(SHAPE, np.float32)
    with open_session(onnx, threads=1) as session:
        x *= session.card.value_range
        expected = session.run(x)
        tolerance = 1e-4 * session.card.value_range
    record(root / "replay", x, expected)
    with device.load(Job(str(onnx), shapes=(SHAPE,))) as model:
        assert model.loaded.build_ms == 41200.0
        model.prepare(x, runs=0, seconds=0)
        turn = model.turn(0.1)
        assert np.abs(model.run(x) - expected).max() < tolerance
        assert model.loaded.load_ms == 50.0
    assert turn.samples_ms == pytest.approx([30.6, 30.4])
    assert turn.compute_ms == [30.3, 30.1]
    with device.load(Job(str(onnx), shapes=(SHAPE,))) as model:
        assert model.loaded.build_ms == 0


def test_the_native_runner_end_to_end(board: Loopback, onnx: Path) -> None:
    """Built for this processor, copied there by content, run under its emulation."""
    require_runner("aarch64")
    x = np.random.default_rng(0).random(SHAPE, np.float32)
    with open_session(onnx, threads=1) as session:
        x *= session.card.value_range
        expected = session.run(x)
        tolerance = 1e-3 * session.card.value_range
    job = Job(str(onnx), shapes=(SHAPE,), runtime="ncnn", threads=1)
    with open_device(board.uri) as device, device.load(job) as model:
        first = model.prepare(x, runs=0, seconds=0)
        turn = model.turn(0.1)
        assert np.abs(model.run(x) - expected).max() < tolerance
        told = model.loaded
    assert first is not None
    assert min(first, *turn.samples_ms) > 0
    assert (told.runtime, told.precision, told.threads) == ("ncnn", "fp32", 1)


def test_bench_by_the_native_runner(
    board: Loopback, onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_runner("aarch64")
    write_png(tmp_path / "a.png", open_benchmark("builtin", 2)[0].hr()[40:72, 40:88])
    command = ["bench", str(onnx), "--runtime", "ncnn", "--threads", "1", "--input", "24x16"]
    command += ["--data", str(tmp_path), "--scale", "2", "--seconds", "0.2", "--json"]
    assert run([*command, "--device", board.uri]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["runtime"] == "ncnn"
    assert row["p50_ms"] > 0
    here = evaluate(load_network("edsr-s-x2"), tmp_path, 2, progress=False)
    assert row["psnr_y"] == pytest.approx(here.psnr_y, abs=0.01)


def test_bench_of_smsr_inside_its_masks(
    board: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_runner("aarch64")
    check_smsr(board.uri, tmp_path, capsys, "neon")


def test_sensors(device: Device) -> None:
    assert device.sensors is not None
    assert device.sensors.conditions().power_mode == "nvpmodel MAXN"


def record(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """What the board's trtexec is to answer for this input, and nothing for any other."""
    x.tofile(folder / "input.bin")
    tensor = {"Name": "x", "Format/Datatype": "Float"}
    layers = [{"Name": "head", "Inputs": [tensor], "Outputs": [tensor]}]
    (folder / "layers.json").write_text(json.dumps({"Layers": layers}))
    rows = [
        {"h2dMs": 0.2, "computeMs": compute, "d2hMs": 0.1, "latencyMs": compute + 0.3}
        for compute in (30.3, 30.1)
    ]
    (folder / "times.json").write_text(json.dumps(rows))
    values = [float(f"{value:.6g}") for value in y.ravel()]
    shape = "x".join(map(str, y.shape))
    (folder / "output.json").write_text(
        json.dumps([{"name": "sr", "dimensions": shape, "values": values}])
    )
    (folder / "log.txt").write_text(LOG)
