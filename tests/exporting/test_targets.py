from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import (
    NO_ONNX,
    TARGETS,
    find_target,
    target_for,
    targets_markdown,
)
from srdeploy.exporting.tensorrt.export import export_engine
from srdeploy.models.registry import create
from srdeploy.runtime.table import RUNTIMES


def test_rows_are_sound() -> None:
    for name, row in TARGETS.items():
        assert row.name == name
        assert row.needs
        assert row.suffix in RUNTIMES[row.runtime].suffixes  # bench opens by ending
        assert "fp32" in row.precisions
        for place, source in ((row.exporter, "network"), (row.converter, "onnx")):
            if not place:
                assert NO_ONNX[name]
                continue
            module, function = place.split(":")
            exporter = getattr(importlib.import_module(module), function)
            known = set(inspect.signature(exporter).parameters)
            if "options" in known:  # the engines' exporters share one
                known |= set(inspect.signature(export_engine).parameters)
            taken = {k for k, o in row.own_options().items() if o.source in (None, source)}
            assert taken <= known
        assert row.to_dict()["from_onnx"] == (name not in NO_ONNX)
        assert ("pixel_shuffle" in row.options) == bool(row.pixel_shuffles)


def test_availability_names_version_or_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = TARGETS["onnx"].availability()
    assert ready.ready
    assert "onnxsim 0" in ready.reason
    monkeypatch.setattr("srdeploy.runtime.table.importlib.util.find_spec", lambda name: None)
    remedies = {
        "onnx": "pip install onnxsim",
        "trt": r"pip install 'srdeploy[trt]' (needs NVIDIA's package index)",
        "trt-rtx": "pip install 'srdeploy[trt-rtx]'",
        "coreml": "pip install coremltools",
        "litert": "pip install 'srdeploy[litert]'",
    }
    for name, remedy in remedies.items():
        missing = TARGETS[name].availability()
        assert not missing
        assert remedy in missing.reason


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert TARGETS["trt-rtx"].availability().reason == "builds on Linux or Windows only"
    monkeypatch.setattr(sys, "platform", "win32")
    assert TARGETS["coreml"].availability().reason == "builds on Linux or macOS only"


def test_the_document_is_the_table() -> None:
    document = Path(__file__).parents[2] / "export" / "TARGETS.md"
    assert document.read_text(encoding="utf-8") == targets_markdown(), (
        "run `srdeploy targets --markdown > export/TARGETS.md`"
    )


def test_options_are_checked_against_the_row() -> None:
    TARGETS["onnx"].check_options({"precision": "fp32", "pixel_shuffle": "auto"})
    with pytest.raises(UserError, match="--sm does not apply to --target onnx"):
        TARGETS["onnx"].check_options({"capabilities": ("8.9",)})
    with pytest.raises(UserError, match="no precision of --target litert named 'fp61'"):
        TARGETS["litert"].check_options({"precision": "fp61"})
    with pytest.raises(UserError, match="did you mean 'deconv'"):
        TARGETS["trt"].check_options({"pixel_shuffle": "deconf"})


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from srdeploy.exporting.targets import TARGETS; "
        "[t.availability() for t in TARGETS.values()]; "
        "print({'torch', 'onnx', 'onnxruntime', 'coremltools', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr


def test_unknown_target_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="no export target named 'onx'; did you mean 'onnx'"):
        find_target("onx")


def test_export_dispatches(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    report = export(network, "onnx", tmp_path / "net.onnx", opset=18)
    assert (report.target, report.opset) == ("onnx", 18)
    assert report.to_dict()["parity"]["relative"] < 1e-6
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export(network, "onnx", tmp_path / "net.mlpackage")
    with pytest.raises(UserError, match="'trt' cannot be built here"):
        export(network, "trt", tmp_path / "net.engine")


def test_the_target_of_an_ending() -> None:
    for row in TARGETS.values():
        assert target_for(f"a/b{row.suffix.upper()}", row.name) is row
    assert target_for("net.onnx").name == "onnx"
    assert target_for(Path("net.engine")).name == "trt"
    assert target_for("net.mlpackage").name == "coreml"
    with pytest.raises(UserError, match=r"No target writes '\.pt' files; choose one of \.\w+, "):
        target_for("net.pt")
    with pytest.raises(UserError, match=r"'a\.onnx' must end in \.engine .* trt-rtx; for \.onnx"):
        target_for("a.onnx", "trt-rtx")
    with pytest.raises(UserError, match=r"'a\.pt' must end in \.tflite .* to litert\.$"):
        target_for("a.pt", "litert")
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        target_for("a.onnx", "onxx")
