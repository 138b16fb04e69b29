"""The runner with Vulkan on this machine, which a board behind ssh is: on a GPU, or in software."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.devices.native import PROGRAM, VERSION
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.errors import SrdeployError
from srdeploy.models.load import load_network
from srdeploy.models.probes import photograph
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import vulkan_loader
from tests.devices.ssh.loopback import Loopback, require_openssh
from tests.emulated.runner import require_runner

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def runner() -> Path:
    if not (can := vulkan_loader()):
        pytest.skip(can.reason)
    return require_runner(platform.machine(), vulkan=True)


@pytest.fixture(scope="module")
def board(runner: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    require_openssh()
    board = Loopback(tmp_path_factory.mktemp("sshd"), programs=(), version="")
    yield board
    board.stop()


def test_its_version_is_ours(runner: Path) -> None:
    told = subprocess.run([runner, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.split()[:3] == [PROGRAM, str(VERSION), "ncnn"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_computes_what_torch_does(board: Loopback, precision: str) -> None:
    network = load_network("edsr-s-x2")
    x = photograph(network.card, (24, 40), 2)
    with (
        open_session(network) as torch,
        open_device(f"{board.uri}&precision={precision}") as device,
        device.load(Job("edsr-s-x2", runtime="ncnn-vulkan")) as model,
    ):
        assert (model.loaded.runtime, model.loaded.provider) == ("ncnn-vulkan", "vulkan")
        apart = float(np.abs(model.run(x) - torch.run(x)).max()) / network.card.value_range
        first = model.prepare(x[:1], runs=1, seconds=0)
        assert first is not None
        assert first > 0
        assert min(model.turn(0.1).samples_ms) > 0
        assert model.loaded.notes[1].startswith("Vulkan device: ")
        half = "fp16" in (model.loaded.precision or "")
    assert half == (precision == "fp16")
    assert apart < (2e-2 if half else 1e-5)


def test_bench_says_on_which_device(board: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "edsr-s-x2-p70", "--device", board.uri, "--runtime", "ncnn-vulkan"]
    again = ["--input", "48x32", "--runs", "3", "--seconds", "0.2", "--json"]
    assert run([*command, *again]) == 0
    text = capsys.readouterr().out
    assert '"runtime": "ncnn-vulkan"' in text
    assert "Vulkan device: " in text
    json.loads(text)


def test_without_a_driver_there_is_a_sentence(
    board: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runner: Path
) -> None:
    program = tmp_path / "runner"
    program.write_text(
        f'#!/bin/sh\nVK_ICD_FILENAMES=/none VK_DRIVER_FILES=/none exec {runner} "$@"\n'
    )
    monkeypatch.setattr(
        "srdeploy.devices.shell.native_load.runner_for", lambda *given, vulkan: program
    )
    with (
        open_device(board.uri) as device,
        device.load(Job("edsr-s-x2-p70", runtime="ncnn-vulkan")) as model,
        pytest.raises(SrdeployError, match=r"There is no Vulkan device.*--runtime ncnn"),
    ):
        model.prepare(np.zeros((1, 3, 16, 16), np.float32), runs=0, seconds=0)
