from __future__ import annotations

import json
from pathlib import Path

import pytest

from srdeploy.cli.main import run
from srdeploy.devices.ssh.rebuild import rebuild_on
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.runtime.tensorrt.sidecar import (
    ShapeProfile,
    Sidecar,
    Tensor,
    onnx_path,
    read_sidecar,
    require_source,
    require_whole,
    sidecar_path,
)
from srdeploy.util.files import sha256
from tests.devices.ssh.loopback import Loopback


def write_engine(folder: Path, builder: str = "tensorrt") -> Path:
    """An engine built elsewhere, long ago: its bytes are worth nothing here."""
    engine = folder / "net.engine"
    network = load_network("edsr-s-x2-p70")
    export_onnx(network, onnx_path(engine), check=False)
    engine.write_bytes(b"for another GPU")
    facts = Sidecar(
        builder=builder,  # type: ignore[arg-type]
        version="8.6.1",
        platform="linux-x86_64",
        capabilities=("8.9",),
        engine_sha256=sha256(engine),
        onnx=onnx_path(engine).name,
        onnx_sha256=sha256(onnx_path(engine)),
        precision="fp32",
        convolutions={"fp32": 1},
        profile=ShapeProfile(min=(1, 3, 8, 8), opt=(1, 3, 16, 16), max=(1, 3, 64, 64)),
        workspace_mb=128,
        input=Tensor(name="lr", dtype="float32", shape=(-1, 3, -1, -1)),
        output=Tensor(name="sr", dtype="float32", shape=(-1, 3, -1, -1)),
        verified=True,
        verification="",
        layers={},
        card=network.card.step(step="export", target="trt"),
        tools={},
    )
    sidecar_path(engine).write_text(facts.to_json())
    return engine


def test_an_engine_is_rebuilt_on_the_board_and_brought_here(
    board: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = write_engine(tmp_path)
    assert run(["rebuild", str(engine), "--on", board.uri, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"]["relative"] < 1e-4
    facts = read_sidecar(engine)
    require_whole(engine, facts)
    require_source(engine, facts)
    assert (facts.version, facts.profile.opt) == ("10.3.0", (1, 3, 16, 16))
    assert [step["step"] for step in facts.card.history].count("export") == 1
    (arguments,) = [line for line in board.builds if "--memPoolSize=workspace:128" in line]
    assert "--maxShapes=lr:1x3x64x64" in arguments
    there = next(Path(note[len("on the board: ") :]) for note in told["notes"] if "board: " in note)
    require_whole(there, read_sidecar(there))
    require_source(there, read_sidecar(there))


def test_it_can_stay_on_the_board(board: Loopback, tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    report = rebuild_on(board.uri, engine, None)
    assert engine.read_bytes() == b"for another GPU"
    assert Path(report.path).is_file()
    assert Path(report.path).is_relative_to(board.cache)


@pytest.mark.parametrize("trouble", ["refuse", "lost"])
def test_the_old_engine_stays_when_the_board_fails(
    trouble: str, board: Loopback, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path)
    board.trouble(trouble)
    with pytest.raises(SrdeployError):
        rebuild_on(board.uri, engine, engine)
    assert engine.read_bytes() == b"for another GPU"


def test_engines_of_rtx_and_devices_without_trtexec_are_refused(
    board: Loopback, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path, builder="tensorrt_rtx")
    with pytest.raises(UserError, match="TensorRT-RTX"):
        rebuild_on(board.uri, engine, None)
    engine = write_engine(tmp_path)
    with pytest.raises(UserError, match="builds no engines"):
        rebuild_on("fake://desk", engine, None)
