"""Artifacts from strangers: one sentence each, never a crash, a hang or somebody else's file."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.data.images import write_png
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.coreml.export import export_coreml
from srdeploy.models.card import CARD_KEY
from srdeploy.models.registry import create
from srdeploy.runtime import patience as module
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.coreml.values import Weights
from srdeploy.runtime.open import open_session
from srdeploy.runtime.patience import VARIABLE, patience, within
from srdeploy.runtime.tensorrt.sidecar import Sidecar
from srdeploy.util.files import require_inside

IMAGE = np.zeros((1, 3, 8, 8), np.float32)


def save(
    path: Path,
    *nodes: onnx.NodeProto,
    weights: dict[str, np.ndarray] | None = None,
    kinds: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT),
) -> Path:
    """A graph from ``x`` to ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kinds[0], [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", kinds[1], [1, 3, "a", "b"])],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def for_ever(path: Path) -> Path:
    """A loop of 2^62 turns around nothing."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Identity", ["v"], ["w"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, None),
        ],
        [value("goes", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
    )
    return save(
        path,
        helper.make_node("Loop", ["n", "true", "x"], ["y"], body=body),
        weights={"n": np.array(2**62), "true": np.array(True)},
    )


# Time


def test_a_loop_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.3")
    monkeypatch.setattr("srdeploy.runtime.onnx.file._SECONDS_PER_VALUE", 0)
    before = time.monotonic()
    with pytest.raises(UserError, match=r"gave no result within [\d.]+ s; .* give it more time"):
        open_session(for_ever(tmp_path / "a.onnx"), value_range=1)
    assert time.monotonic() - before < 10


STUCK = """
import sys
from srdeploy.cli.main import main
from srdeploy.runtime import patience
from srdeploy.runtime.onnx import file as onnx_file
onnx_file._SECONDS_PER_VALUE, patience.GRACE = 0, 0.1
main(sys.argv[1:])
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_command_ends_whatever_is_left_behind(tmp_path: Path, runtime: str) -> None:
    """OpenVINO does not leave a loop, however asked; the process ends, and with its exit code."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    file, picture = for_ever(tmp_path / "a.onnx"), tmp_path / "a.png"
    write_png(picture, np.zeros((8, 8, 3), np.uint8))
    line = [file, picture, "-o", tmp_path / "b.png", "--value-range", 1, "--scale", 2]
    done = subprocess.run(
        [sys.executable, "-c", STUCK, "upscale", *map(str, line), "--runtime", runtime],
        env={**os.environ, VARIABLE: "3"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("gave no result within 3 s") == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_opening_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants are folded while a file is opened, which nothing can interrupt."""
    monkeypatch.setenv(VARIABLE, "0.3")
    nodes, last = [], "k"
    for number in range(60):
        nodes.append(helper.make_node("MatMul", [last, "k"], [f"m{number}"]))
        last = f"m{number}"
    nodes.append(helper.make_node("ReduceMean", [last], ["r"], keepdims=0))
    nodes.append(helper.make_node("Add", ["x", "r"], ["y"]))
    path = save(tmp_path / "a.onnx", *nodes, weights={"k": np.eye(1000, dtype=np.float32)})
    before = time.monotonic()
    with pytest.raises(UserError, match=r"was not opened within 0\.3 s"):
        open_session(path, value_range=1, threads=1)
    assert time.monotonic() - before < 2
    for thread in module._left_behind:  # it does end, and pytest does not end as the command does
        thread.join(60)


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    assert within(5, lambda: 3, "it did not come") == 3
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0, "it did not come")
    asked: list[int] = []
    monkeypatch.setattr(module, "GRACE", 0.0)
    with pytest.raises(UserError, match=r"it did not come within 0\.05 s"):
        within(0.05, lambda: time.sleep(0.3), "it did not come", lambda: asked.append(1))
    assert asked == [1]
    monkeypatch.setenv(VARIABLE, "7")
    assert patience() == 7
    for wrong in ("nan", "inf", "-1", "0", "soon", ""):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(UserError, match="give a number of seconds"):
            patience()


# ONNX


def test_outputs_that_are_no_image(tmp_path: Path) -> None:
    text = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)
    path = save(tmp_path / "a.onnx", text, kinds=(TensorProto.FLOAT, TensorProto.STRING))
    with pytest.raises(UserError, match="which is no image"):
        open_session(path, value_range=1)
    whole = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)
    path = save(tmp_path / "b.onnx", whole, kinds=(TensorProto.FLOAT, TensorProto.INT64))
    with pytest.raises(UserError, match="returns int64, which is no image"):
        open_session(path, value_range=1)


def test_half_precision_ends(tmp_path: Path) -> None:
    half = (TensorProto.FLOAT16, TensorProto.FLOAT16)
    path = save(tmp_path / "a.onnx", helper.make_node("Identity", ["x"], ["y"]), kinds=half)
    with open_session(path, value_range=1, scale=2) as session:
        assert session.run(IMAGE).dtype == np.float32


def _patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("read", [read_card_of, open_session])
def test_text_that_is_none(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = save(tmp_path / "a.onnx", helper.make_node("Identity", ["x"], ["y"]))
    model = onnx.load(path)
    model.metadata_props.add(key=CARD_KEY, value="damaged!")
    onnx.save(model, path)
    with pytest.raises(UserError):
        read(_patched(path, b"damaged!", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "onnx-reference"])
@pytest.mark.parametrize("where", ["../../../etc/passwd", "/etc/passwd", "pipe", "zero", "short"])
def test_weights_elsewhere(tmp_path: Path, where: str, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "short").write_bytes(b"12")
    path = save(
        tmp_path / "a.onnx",
        helper.make_node("Add", ["x", "k"], ["y"]),
        weights={"k": np.zeros(3, np.float32)},
    )
    model = onnx.load(path)
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=where)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError) as caught:
        open_session(path, runtime=runtime, value_range=1)
    assert "\n" not in str(caught.value)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite", "a.engine"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for read in (read_card_of, open_session):
        with pytest.raises(UserError):
            read(tmp_path / name)


# CoreML packages


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("coremltools")
    path = tmp_path_factory.mktemp("net") / "net.mlpackage"
    export_coreml(create("edsr", n_blocks=1, n_feats=8), path, sizes="8x8")
    return path


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "net.mlpackage"))


def _model(package: Path) -> Path:
    return next(package.rglob("*.mlmodel"))


def _weights(package: Path) -> Path:
    return next(package.rglob("weight.bin"))


def _pipe(package: Path) -> None:
    _weights(package).unlink()
    os.mkfifo(_place(package))


def _place(package: Path) -> Path:
    return _model(package).parent / "weights" / "weight.bin"


def _link(package: Path) -> None:
    _weights(package).unlink()
    _place(package).symlink_to("/dev/zero")


def _manifest(path: str) -> Callable[[Path], None]:
    def write(package: Path) -> None:
        file = package / "Manifest.json"
        facts = json.loads(file.read_text())
        facts["itemInfoEntries"][facts["rootModelIdentifier"]]["path"] = path
        file.write_text(json.dumps(facts))

    return write


def _deep(package: Path) -> None:
    (package / "Manifest.json").write_text("[" * 100_000)


def _renamed(new: str) -> Callable[[Path], None]:
    """The program names another file of weights, as long a name."""

    def write(package: Path) -> None:
        old = b"@model_path/weights/weight.bin"
        _patched(_model(package), old, new.encode().ljust(len(old), b"/"))

    return write


def _foreign_name(package: Path) -> None:
    data = _model(package).read_bytes()
    _model(package).write_bytes(data.replace(b"conv", b"\xff\xfe\xff\xfe"))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_pipe, "a link, a pipe or a device"),
        (_link, "a link, a pipe or a device"),
        (_manifest("/etc/passwd"), "is incomplete"),
        (_manifest("../../../../../../etc/passwd"), "is incomplete"),
        (_manifest("x" * 5000), "is incomplete"),
        (_manifest("\0"), "is incomplete"),
        (_deep, "manifest cannot be read"),
        (_renamed("/dev/zero"), "lacks its weights"),
        (_renamed("@model_path/../../../../x"), "lacks its weights"),
        (_foreign_name, "truncated or damaged"),
    ],
)
def test_packages(package: Path, harm: Callable[[Path], None], sentence: str) -> None:
    open_session(package, runtime="coreml-reference").close()
    harm(package)
    with pytest.raises(UserError, match=sentence) as caught:
        open_session(package, runtime="coreml-reference")
    assert len(str(caught.value)) < 500


def test_damaged_programs_are_one_sentence(package: Path) -> None:
    """Names, types and sizes of the program changed at random places."""
    chance = np.random.default_rng(0)
    data = _model(package).read_bytes()
    refused = failed = 0
    for _ in range(60):
        changed = bytearray(data)
        for place in chance.integers(0, len(data), 3):
            changed[place] = chance.integers(0, 256)
        _model(package).write_bytes(bytes(changed))
        try:
            with open_session(package, runtime="coreml-reference") as session:
                session.run(IMAGE)
        except UserError:
            refused += 1
        except SrdeployError:  # an operation that fails
            failed += 1
        except ValueError:  # other channels
            failed += 1
    assert refused > 10
    assert failed < 10


def test_one_blob_is_not_read_a_million_times(tmp_path: Path) -> None:
    content = bytes(10_000)
    record = struct.pack("<IIQQ", 0xDEADBEEF, 1, len(content), 128).ljust(64, b"\0")
    (tmp_path / "w.bin").write_bytes(bytes(64) + record + content)
    weights = Weights(Path("net.mlpackage"), tmp_path)
    weights.read("w.bin", 64)
    with pytest.raises(UserError, match="truncated or damaged"):
        for _ in range(3):
            weights.read("w.bin", 64)


def test_inside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_text("123")
    (tmp_path / "b").write_text("1")
    (tmp_path / "root" / "out").symlink_to("../b")
    assert require_inside(tmp_path / "root" / "a", tmp_path / "root") == 3
    for name in ("out", "../b", "/etc/passwd", "."):
        with pytest.raises(UserError, match="lies outside"):
            require_inside(tmp_path / "root" / name, tmp_path / "root")


# Engines


@pytest.mark.parametrize("name", ["../net.onnx", "/etc/passwd", "..", ".", "", "a/b", "x" * 300])
def test_a_sidecar_names_a_file_beside_it(name: str) -> None:
    with pytest.raises(ValueError, match="onnx\n"):
        Sidecar.model_validate({"onnx": name})
    with pytest.raises(ValueError, match="builder") as caught:
        Sidecar.model_validate({"onnx": "net.engine.onnx"})
    assert "onnx\n" not in str(caught.value)
