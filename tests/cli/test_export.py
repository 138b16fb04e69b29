"""Export, rebuild and targets from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.cli.main import run
from srdeploy.exporting.targets import TARGETS
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import TENSORRT_RTX


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save_network(create("ledsr", scale=3, n_blocks=1, n_feats=4), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.fixture
def rtx() -> None:
    if not (found := TENSORRT_RTX.availability()):
        pytest.skip(f"needs NVIDIA's builder: {found.reason}")


def test_targets(command, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in command("targets")}
    assert list(rows) == list(TARGETS)
    assert rows["onnx"]["builds_here"]
    assert rows["onnx"]["runs_here"]
    assert all(row["builds_here_reason"] and row["runs_here_reason"] for row in rows.values())
    assert run(["targets"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in TARGETS)
    assert "cannot be" not in text or "here: " in text


def test_help_names_every_target(process) -> None:
    done = process("export", "--help", env={"COLUMNS": "200", "PATH": ""})
    assert all(name in done.stdout for name in TARGETS)


@pytest.mark.usefixtures("rtx")
def test_an_engine_from_network_to_rebuild(command, small: Path) -> None:
    engine, script = small.with_suffix(".engine"), small.with_suffix(".py")
    report = command(
        "export", small, "--target", "trt-rtx", "--sm", "8.6, 8.9", "--input", "16..64",
        "--workspace", "64", "--emit-script", script, "-o", engine,
    )  # fmt: skip
    assert (report["target"], report["precision"]) == ("trt-rtx", "fp32")
    assert "compute capability 8.6, 8.9, input 1x3x16x16 to 1x3x64x64" in report["notes"][0]
    assert script.exists()
    again = command("rebuild", engine)
    assert (again["path"], again["bytes"]) == (report["path"], report["bytes"])


@pytest.mark.usefixtures("rtx")
def test_onnx_checked_by_tensorrts_parser_then_built(command, small: Path) -> None:
    onnx = small.with_suffix(".onnx")
    report = command("export", small, "--check", "trt", "--pixel-shuffle", "reshape", "-o", onnx)
    assert "accepted by TensorRT's parser" in report["notes"][0]
    assert "DepthToSpace" not in report["operators"]
    engine = small.with_suffix(".engine")
    command("export", onnx, "--target", "trt-rtx", "--input", "32x24", "--sm", "8.9", "-o", engine)
    assert Path(f"{engine}.onnx").read_bytes() == onnx.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--target", "onx"), "did you mean 'onnx'"),
        (("--sm", "8.9"), "--sm does not apply to --target onnx"),
        (("--input", "16..64"), "An ONNX file takes one size or any, not '16..64'"),
        (("--precision", "fp61"), "no precision of --target onnx named 'fp61'"),
        (("--pixel-shuffle", "crt"), "did you mean 'crd'"),
        (("--check", "trtt"), "did you mean 'trt'"),
        (("--exporter", "dinamo"), "did you mean 'dynamo'"),
        (("--exporter", "dynamo", "--opset", "17"), "choose one from 18 to 21"),
        (("--target", "coreml"), "must end in .mlpackage to be exported to coreml; for .onnx"),
    ],
)
def test_requests_that_make_no_sense(
    arguments: tuple[str, ...], reason: str, refused, small: Path
) -> None:
    code, sentence = refused("export", small, *arguments, "-o", small.with_suffix(".onnx"))
    assert code == 2
    assert reason in sentence


def test_rebuilding_what_is_not_there(refused, tmp_path: Path) -> None:
    assert "There is no file" in refused("rebuild", tmp_path / "net.engine")[1]
    engine = tmp_path / "x.engine"
    engine.write_bytes(b"")
    assert "nothing is known of what it needs" in refused("rebuild", engine)[1]
    assert "kind of device named 'orin'" in refused("rebuild", engine, "--on", "orin")[1]
    assert "builds no engines" in refused("rebuild", engine, "--on", "fake://desk")[1]
    there = refused("rebuild", engine, "--on", "ssh://nobody@board.invalid")[1]
    assert "nothing is known of what it needs" in there


def test_precisions(
    command,
    small: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "net.onnx"
    report = command("export", small, "--precision", "int8", "--max-drop", "5", "-o", out)
    assert (report["precision"], report["quality"]["data"]) == ("int8", "builtin")
    assert {row["precision"] for row in report["layers"]} == {"int8", "fp32"}
    assert run(["export", str(small), "--precision", "fp16", "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "times below float16's 65504" in text
    assert "largest |x|" in text
    before = out.read_bytes()
    monkeypatch.setattr("srdeploy.exporting.precision.write.Gate.drop", lambda self, model: 0.2)
    for more, code, message in (
        (["--precision", "int8", "--max-drop", "0.1"], 1, "more than the 0.1 allowed"),
        (["--precision", "bf16", "--max-drop", "0.1"], 1, "In bf16 the network loses 0.200 dB"),
        (["--precision", "bf16", "--opset", "17"], 2, "bf16 needs operator set 22"),
        (["--max-drop", "0.1"], 2, "give --precision too"),
    ):
        assert run(["export", str(small), *more, "-o", str(out)]) == code
        assert message in capsys.readouterr().err
        assert out.read_bytes() == before


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_takes_its_precision_from_the_onnx_written_for_it(
    command, small: Path, precision: str
) -> None:
    report = command(
        "export", small, "--target", "trt-rtx", "--sm", "8.9", "--precision", precision,
        "-o", small.with_suffix(".engine"),
    )  # fmt: skip
    assert precision in report["precision"]
    assert any("dB on builtin" in note for note in report["notes"])


@pytest.mark.parametrize("exporter", ["trace", "dynamo"])
def test_exporters_can_be_typed(exporter: str, command, small: Path) -> None:
    out = small.with_suffix(".onnx")
    report = command("export", small, "--exporter", exporter, "-o", out)
    assert report["parity"]["relative"] < 1e-6
    with open_session(out) as session:
        assert session.card.history[-1]["exporter"] == exporter
