"""TFLite files on a device: what benchmark_model is told and answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.errors import DeviceUnfit
from srdeploy.devices.protocol import Job
from srdeploy.devices.shell.tflite_model import TfliteModel, Timings, load_tflite, read_timings
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import LITERT
from tests.devices.shell.local_link import LocalLink

SAID = """INFO: STARTING!
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the \
delegate.
INFO: count=62 first=16000 curr=16010 min=15890 max=17000 avg=16020 std=90
INFO: Inference timings in us: Init: 120500, First inference: 20123, Warmup (avg): 16500, \
Inference (avg): 1.602e+04
INFO: Overall peak memory footprint (MB) via periodic monitoring: 44.25
"""

PROGRAM = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
told = dict(word[2:].split("=", 1) for word in sys.argv[1:])
if "refuse" in told["graph"]:
    sys.exit("ERROR: Failed to apply GPU delegate.")
started = time.perf_counter()
net = Interpreter(told["graph"])
net.allocate_tensors()
(given,), (made,) = net.get_input_details(), net.get_output_details()
name, _, file = told["input_layer_value_files"].partition(":")
assert name == told["input_layer"] == given["name"]
assert told["input_layer_shape"] == ",".join(map(str, given["shape"]))
init = time.perf_counter() - started
x = np.fromfile(file, given["dtype"]).reshape(given["shape"])
net.set_tensor(given["index"], x)
net.invoke()
if "output_filepath" in told and "{old}" != "old":
    net.get_tensor(made["index"]).tofile(told["output_filepath"])
print(f"INFO: Inference timings in us: Init: {{init * 1e6:.0f}}, First inference: 1500, "
      "Warmup (avg): 1200, Inference (avg): 1250.5", file=sys.stderr)
"""


def test_what_is_told() -> None:
    assert read_timings(SAID, "'phone'") == Timings(
        120.5,
        20.123,
        16.02,
        44.25,
        "GPU delegate: the graph is completely executed by the delegate",
    )
    with pytest.raises(SrdeployError, match=r"benchmark_model on 'phone' failed: Failed to apply"):
        read_timings("INFO: STARTING!\nERROR: Failed to apply GPU delegate.\n", "'phone'")
    with pytest.raises(SrdeployError, match=r"failed: nothing\."):
        read_timings("", "'phone'")
    for mean in ("0", "1e+999", "1.2.3"):
        with pytest.raises(Implausible, match="are none"):
            read_timings(SAID.replace("1.602e+04", mean), "'phone'")
    for said, other in (
        ("120500", "1e+999"),
        ("20123", "1.2.3"),
        ("44.25", "4.4.2"),
        ("44.25", "9" * 400),
    ):
        with pytest.raises(Implausible, match="are none"):
            read_timings(SAID.replace(said, other), "'phone'")


@pytest.fixture
def network() -> object:
    if not LITERT.availability():
        pytest.skip("pip install 'srdeploy[litert]' to run this")
    return create("ledsr", scale=2, n_blocks=1, n_feats=4)


def loaded(folder: Path, network: object, precision: str, *, old: str = "") -> TfliteModel:
    from srdeploy.exporting.run import export

    options = {"quantised_ends": True} if precision == "int8" else {}
    path = folder / "net.tflite"
    export(network, "litert", path, precision=precision, sizes="16x12", **options)  # type: ignore[arg-type]
    program = folder / "benchmark_model"
    program.write_text(f"#!{sys.executable}\n{PROGRAM.format(old=old)}")
    link = LocalLink()
    return load_tflite(
        Job(str(path)), link, SshFiles(link, str(folder / "device")), program=str(program),
        delegate="gpu", threads=2,
    )  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_file_is_measured_there(precision: str, network: object, tmp_path: Path) -> None:
    with loaded(tmp_path, network, precision) as model:
        x = np.random.default_rng(0).uniform(0, 255, (2, 3, 12, 16)).astype(np.float32)
        with open_session(tmp_path / "net.tflite") as here:
            np.testing.assert_allclose(model.run(x), here.run(x), atol=0.05)
        assert model.prepare(x[:1], runs=2, seconds=0.0) == 1.5
        assert model.turn(0.1).samples_ms == [1.2505]
        assert (model.loaded.runtime, model.loaded.provider) == ("litert", "gpu")
        assert model.loaded.load_ms is not None
        assert "mean of the turn's runs" in model.loaded.notes[0]
        said = model._link.said  # type: ignore[attr-defined]
        assert any("--use_gpu=true" in one and "--num_threads=2" in one for one in said)
        with pytest.raises(UserError, match="takes 1x3x12x16 only, not 1x3x12x15"):
            model.run(x[:1, :, :, 1:])


def test_a_program_that_writes_no_output(network: object, tmp_path: Path) -> None:
    model = loaded(tmp_path, network, "fp32", old="old")
    with pytest.raises(DeviceUnfit, match="wrote no output; take one that knows --output_filepath"):
        model.run(np.zeros((1, 3, 12, 16), np.float32))


def test_what_is_missing(tmp_path: Path) -> None:
    link = LocalLink()
    files = SshFiles(link, str(tmp_path / "device"))
    (tmp_path / "net.tflite").write_bytes(b"x")

    def load(name: str, program: str | None, delegate: str = "cpu") -> None:
        load_tflite(Job(name), link, files, program=program, delegate=delegate, threads=1)

    with pytest.raises(UserError, match=r"runs \.tflite files, not 'net\.onnx'"):
        load("net.onnx", None)
    with pytest.raises(UserError, match=r"adb://SERIAL\?benchmark_model=FILE"):
        load(str(tmp_path / "net.tflite"), None)
    with pytest.raises(UserError, match="There is no program 'absent'"):
        load(str(tmp_path / "net.tflite"), "absent")
    with pytest.raises(UserError, match="no delegate of LiteRT named 'npu'"):
        load(str(tmp_path / "net.tflite"), None, "npu")
