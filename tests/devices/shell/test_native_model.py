"""What the native runner is told on a board, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.errors import DeviceError, DeviceUnfit
from srdeploy.devices.native import NativeNetwork
from srdeploy.devices.shell.native_model import NativeModel, runner_for
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from tests.devices.shell.local_link import LocalLink

REPORT = """runtime ncnn 20260113
precision fp32
threads 3
load_ms 12.5
first_ms 45
sample_ms 31.25
sample_ms 30.5
{more}
end ok
"""
RUNNER = """#!/bin/sh
echo "$*" >>{folder}/arguments
for word; do
  [ "$before" = --output ] && cp {folder}/output "$word"
  before=$word
done
cat {folder}/report
"""
X = np.arange(210, dtype=np.float64).reshape(2, 3, 5, 7)


class Board:
    """A board whose runner answers as told.

    Attributes:
        link: To it.
        files: There.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = LocalLink()
        self.files = SshFiles(self.link, str(folder / "there"))
        for name in ("net.param", "net.bin"):
            (folder / name).write_text(name)
        (folder / "runner").write_text(RUNNER.format(folder=folder))
        self.report()

    def report(self, more: str = "peak_mb 61.3") -> None:
        """What the runner reports from now on."""
        (self.folder / "report").write_text(REPORT.format(more=more))

    def output(self, values: Any) -> None:
        """What it puts out from now on."""
        (self.folder / "output").write_bytes(np.asarray(values, "<f4").tobytes())

    def arguments(self) -> list[str]:
        """What it was told, one line per run."""
        return (self.folder / "arguments").read_text().splitlines()

    def limits(self) -> list[str]:
        """The time limits of the runs."""
        ran = [text for text in self.link.said if "timeout >/dev/null" in text]
        return [text.partition("then timeout ")[2].split()[0] for text in ran]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture
def load(board: Board) -> Callable[..., NativeModel]:
    ncnn = NativeNetwork(
        "ncnn", {"param": board.folder / "net.param", "bin": board.folder / "net.bin"}
    )

    def load(scale: int = 2, network: NativeNetwork | None = None, **changes: Any) -> NativeModel:
        card = Card(arch="edsr", scale=scale, scales=(scale,), channels=3, value_range=255.0)
        given = {"threads": 4, "precision": "fp16", "timeout": 20.0} | changes
        return NativeModel(
            board.link, board.files, runner=board.folder / "runner",
            network=network or ncnn, card=card, **given,
        )  # fmt: skip

    return load


def test_a_tensor_is_prepared_and_timed(board: Board, load: Callable[..., NativeModel]) -> None:
    model = load()
    before = model.loaded
    assert (before.runtime, before.provider, before.threads, before.load_ms, before.notes) == (
        "ncnn", "cpu", 4, None,
        ("timed by the native runner; every turn is a process that loads the network and runs it "
         "once before",),
    )  # fmt: skip
    assert model.prepare(X, runs=6, seconds=3.5) == 45.0
    loaded = model.loaded
    assert (loaded.runtime, loaded.runtime_version, loaded.precision, loaded.threads) == (
        "ncnn", "20260113", "fp32", 3,
    )  # fmt: skip
    assert (loaded.load_ms, loaded.card, loaded.notes) == (12.5, before.card, before.notes)
    assert model.turn(8.0).samples_ms == [31.25, 30.5]
    digests = [board.files.push(board.folder / name) for name in ("net.param", "net.bin")]
    tensor = f"{model._folder}/timed.bin"
    always = (
        f"--param {digests[0]} --bin {digests[1]} --input {tensor} --shape 2,3,5,7 --threads 4 "
        "--precision fp16"
    )
    assert board.arguments() == [
        f"{always} --warmup-runs 6 --warmup-seconds 3.5 --min-runs 0 --min-seconds 0",
        f"{always} --warmup-runs 0 --warmup-seconds 0 --min-runs 1 --min-seconds 8",
    ]
    assert board.limits() == ["24", "28"]
    assert Path(tensor).read_bytes() == X.astype("<f4").tobytes()


def test_smsr_has_one_file_and_tells_of_its_masks(
    board: Board, load: Callable[..., NativeModel]
) -> None:
    (board.folder / "net.smsr").write_text("net")
    model = load(network=NativeNetwork("sparse", {"net": board.folder / "net.smsr"}))
    assert (model.loaded.runtime, len(model.loaded.notes)) == ("sparse", 1)
    board.report("kernel neon\nmodule 0.4312 rows\nmodule 1.0 rows")
    model.prepare(X, runs=0, seconds=0)
    assert model.loaded.notes[1:] == (
        "sparse form in C, kernel neon",
        "latest image, pixels inside the mask and form of every module: 43% rows, 100% rows",
    )
    model.prepare(X, runs=0, seconds=0)
    assert len(model.loaded.notes) == 3
    there = board.files.push(board.folder / "net.smsr")
    assert all(line.startswith(f"--net {there} --input ") for line in board.arguments())


def test_a_gpu_is_told(board: Board, load: Callable[..., NativeModel]) -> None:
    files = {"param": board.folder / "net.param", "bin": board.folder / "net.bin"}
    model = load(network=NativeNetwork("ncnn-vulkan", files))
    assert (model.loaded.runtime, model.loaded.provider) == ("ncnn-vulkan", "vulkan")
    board.report("gpu software llvmpipe")
    model.prepare(X, runs=0, seconds=0)
    told = "Vulkan device: llvmpipe, in software: its speed is no GPU's"
    assert model.loaded.notes[1:] == (told,)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("told", ["", "output 2,3,{h},{w}"])
def test_an_output_comes_whole(
    board: Board, load: Callable[..., NativeModel], scale: int, told: str
) -> None:
    board.report(told.format(h=5 * scale, w=7 * scale))
    y = np.random.default_rng(0).random((2, 3, 5 * scale, 7 * scale), np.float32)
    board.output(y)
    model = load(scale)
    found = model.run(X)
    assert found.dtype == np.float32
    assert np.array_equal(found, y)
    (told,) = board.arguments()
    assert told.endswith(
        f"--shape 2,3,5,7 --threads 4 --precision fp16 --warmup-runs 0 --warmup-seconds 0 "
        f"--min-runs 0 --min-seconds 0 --output {model._folder}/y.bin"
    )
    assert board.limits() == ["20"]
    assert {path.name for path in Path(model._folder).iterdir()} == {"x.bin"}
    assert (Path(model._folder) / "x.bin").read_bytes() == X.astype("<f4").tobytes()


def test_the_shape_is_the_reports(board: Board, load: Callable[..., NativeModel]) -> None:
    board.report("output 2,3,14,10")
    board.output(np.zeros((2, 3, 10, 14)))
    assert load().run(X).shape == (2, 3, 14, 10)


def test_outputs_of_another_size(board: Board, load: Callable[..., NativeModel]) -> None:
    model = load()
    board.output(np.zeros(841))
    with pytest.raises(DeviceError, match="'cat' printed more on 'board'"):
        model.run(X)
    board.output(np.zeros(839))
    with pytest.raises(Implausible, match="'board' put out 3356 bytes in place of 3360"):
        model.run(X)


def test_the_most_memory_of_all_runs_counts(board: Board, load: Callable[..., NativeModel]) -> None:
    model = load()
    assert model.peak_mb() is None
    for told, peak in (("", None), ("peak_mb 0.5", 0.5), ("peak_mb 61.3", 61.3),
                       ("peak_mb 7", 61.3), ("", 61.3)):  # fmt: skip
        board.report(told)
        model.prepare(X, runs=0, seconds=0)
        assert model.peak_mb() == peak


def test_tensors_go_and_the_network_stays(board: Board, load: Callable[..., NativeModel]) -> None:
    with load() as model:
        model.prepare(X, runs=0, seconds=0)
        assert Path(model._folder).is_dir()
        folder = model._folder
    assert folder.startswith(f"{board.files.folder}/run/")
    assert not Path(folder).exists()
    assert len(list(Path(board.files.folder, "files").iterdir())) == 3
    assert load()._folder != folder


def test_a_turn_comes_after_its_tensor(load: Callable[..., NativeModel]) -> None:
    with pytest.raises(AssertionError, match="prepare"):
        load().turn(1)


def test_precisions(board: Board, load: Callable[..., NativeModel]) -> None:
    with pytest.raises(UserError, match="no precision of the native runner named 'int4'"):
        load(precision="int4")
    assert board.link.said == []


def test_a_processor_has_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    def runner_binary(arch: str, *, vulkan: bool) -> Path:
        return Path(arch, "vulkan") if vulkan else Path(arch)

    monkeypatch.setattr("srdeploy.devices.native_build.runner_binary", runner_binary)
    machines = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64",
                "armv7l": "armv7l", "armv8l": "armv7l"}  # fmt: skip
    for machine, runner in machines.items():
        assert runner_for(machine, "board") == Path(runner)
    sentence = "'board' is riscv64; the native runner exists for aarch64, armv7l, x86_64."
    with pytest.raises(DeviceUnfit) as caught:
        runner_for("riscv64", "board")
    assert str(caught.value) == sentence
    assert runner_for("arm64", "board", vulkan=True) == Path("aarch64", "vulkan")
    with pytest.raises(DeviceUnfit, match=r"with Vulkan exists for aarch64, x86_64; take the CPU"):
        runner_for("armv7l", "board", vulkan=True)
