"""SMSR on a board with a GPU: its CPU in the native runner and its engines, in one command.

The board is this machine behind a real sshd. The runner is the real one; trtexec is the stand-in
that computes with onnxruntime, so that outputs and sentences are checked, and no speed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srdeploy.cli.main import run
from srdeploy.quality.evaluate import evaluate
from tests.devices.ssh.loopback import Loopback, require_openssh
from tests.emulated.runner import require_runner
from tests.emulated.smsr import write_smsr

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    require_openssh()
    host = Loopback(
        tmp_path_factory.mktemp("board"), programs=("trtexec", "tegrastats"), version="100300"
    )
    yield host
    host.stop()


@pytest.mark.parametrize("takes_nonzero", [False, True])  # what was built once stays there
def test_runner_and_engines_in_one_command(
    board: Loopback,
    takes_nonzero: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_runner(platform.machine())
    network = write_smsr(tmp_path)
    files = [str(tmp_path / name) for name in ("net.smsr", "dense.onnx", "sparse.onnx")]
    source = str(tmp_path / "net.safetensors")
    assert run(["export", source, "--dense-masks", "-o", files[1]]) == 0
    assert run(["export", source, "--sparse", "-o", files[2]]) == 0
    here = evaluate(network, tmp_path / "set", 2, progress=False)
    board.trouble("" if takes_nonzero else "nonzero")
    command = ["bench", *files, "--device", board.uri, "--input", "24x17", "--threads", "1"]
    command += ["--eval-data", str(tmp_path / "set"), "--scale", "2", "--seconds", "0.2", "--json"]
    capsys.readouterr()
    code = run(command)
    told = capsys.readouterr()
    rows: list[dict[str, Any]] = json.loads(told.out)
    cpu, dense, *sparse = rows
    assert (cpu["runtime"], dense["runtime"]) == ("sparse", "tensorrt")
    assert "sparse form in C, kernel" in cpu["note"]
    for row in (cpu, dense):
        assert row["p50_ms"] > 0
        assert row["psnr_y"] == pytest.approx(here.psnr_y, abs=0.01)
    if takes_nonzero:
        assert code == 0
        assert sparse[0]["runtime"] == "tensorrt"
        assert sparse[0]["psnr_y"] == pytest.approx(here.psnr_y, abs=0.01)
    else:
        assert code != 0
        assert "No importer registered for op: NonZero" in str(sparse) + told.err
