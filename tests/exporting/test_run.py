"""One call for every target: what reaches the exporter, and what is refused before."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting import run as stage
from srdeploy.exporting.options import flag
from srdeploy.exporting.report import ExportReport, Parity
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import (
    NO_ONNX,
    ONNX_PRECISIONS,
    PIXEL_SHUFFLES,
    TARGETS,
    Target,
    targets_markdown,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.table import RUNTIMES, Availability, Module

ASKED: list[tuple[Any, ...]] = []


def exporter(network: Any, path: Path, **options: Any) -> ExportReport:
    ASKED.append((network, path, options))
    path.write_bytes(b"artifact")
    return ExportReport("t", str(path), "", 1, "fp32", None, PARITY, {}, {}, 0.1, [f"at {path}"])


PARITY: Parity | None = None


@pytest.fixture(autouse=True)
def _exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every target is here, and its exporter is :func:`exporter`."""
    ASKED.clear()
    monkeypatch.setattr(Target, "availability", lambda self: Availability(True, ""))
    monkeypatch.setattr(stage, "code_of", lambda place: exporter)


@pytest.fixture
def plain() -> Network:
    return create("ledsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize("name", TARGETS)
def test_options_reach_the_exporter(name: str, plain: Network, tmp_path: Path) -> None:
    row = TARGETS[name]
    path = tmp_path / f"net{row.suffix}"
    left = ("precision", "exporter", "pixel_shuffle")
    known = row.own_options()
    options = {o: "x" for o in known if o not in left and known[o].source != "onnx"}
    report = export(plain, name, path, precision="fp32", **options)
    ((network, place, given),) = ASKED
    assert network is plain
    assert place.suffix == row.suffix
    wanted = {"precision": "fp32"} if "precision" in row.options else {}
    assert given == wanted | options
    assert report.path == str(path)
    assert report.notes == [f"at {path}"]  # not where it was made
    assert path.read_bytes() == b"artifact"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("litert", {"opset": 17}, "--opset does not apply to --target litert; leave it out."),
        ("onnx", {"images": True}, "--images does not apply to --target onnx"),
        ("coreml", {"accept": "trt"}, "--check does not apply to --target coreml"),
        ("trt-rtx", {"timing_cache": "a"}, "--timing-cache does not apply to --target trt-rtx"),
        (
            "coreml",
            {"precision": "bf16"},
            "coreml has no bf16: coremltools converts to float32 and",
        ),
        ("litert", {"precision": "bf16"}, "litert has no bf16: LiteRT's operations have no"),
        ("coreml", {"precision": "dynamic"}, "no precision of --target coreml named 'dynamic'"),
        ("coreml", {"precision": "int8"}, "no precision of --target coreml named 'int8'"),
        ("onnx", {"exporter": "traze"}, "no exporter named 'traze'; did you mean 'trace'?"),
        ("onnx", {"pixel_shuffle": "crt"}, "PixelShuffle for --target onnx named 'crt'; did you"),
        ("onnx", {"sparse": True}, "--sparse and --dense-masks choose between forms of SMSR"),
        ("onnx", {"sparse": False}, "choose between forms of SMSR networks; leave them out."),
        ("onxx", {}, "no export target named 'onxx'; did you mean 'onnx'?"),
    ],
)
def test_what_a_target_has_not(
    name: str, options: dict[str, Any], sentence: str, plain: Network, tmp_path: Path
) -> None:
    suffix = TARGETS[name].suffix if name in TARGETS else ".onnx"
    with pytest.raises(UserError) as caught:
        export(plain, name, tmp_path / f"net{suffix}", **options)
    assert sentence in str(caught.value)
    assert ASKED == []


@pytest.mark.parametrize("form", [*PIXEL_SHUFFLES, "auto"])
def test_what_a_target_has(form: str) -> None:
    for precision in ONNX_PRECISIONS:
        TARGETS["onnx"].check_options({"precision": precision, "pixel_shuffle": form, "sparse": 1})
    TARGETS["trt"].check_options({"exporter": "dynamo", "timing_cache": 1})


def test_endings_and_machines(
    plain: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(plain, "onnx", tmp_path / "net.ONNX")
    with pytest.raises(UserError, match=r"'.*net\.pt' must end in \.onnx to be exported to onnx\."):
        export(plain, "onnx", tmp_path / "net.pt")
    monkeypatch.setattr(Target, "availability", lambda self: Availability(False, "get it"))
    with pytest.raises(UserError, match=r"The target 'onnx' cannot be built here: get it\."):
        export(plain, "onnx", tmp_path / "net.onnx")


@pytest.mark.parametrize("sparse", [None, False, True])
@pytest.mark.parametrize("name", ["onnx", "trt", "coreml"])
def test_forms_of_smsr(name: str, sparse: bool | None, tmp_path: Path) -> None:
    smsr = create("smsr", n_modules=1, n_feats=8, mask_feats=4, reduction=4)
    options = {} if sparse is None else {"sparse": sparse}
    report = export(smsr, name, tmp_path / f"net{TARGETS[name].suffix}", **options)
    ((network, _, given),) = ASKED
    assert given == ({"sparse": True} if sparse and name == "onnx" else {})
    form = type(network.module).__name__
    assert form == ("DenseMasks" if name == "coreml" else "SMSR")
    if form == "DenseMasks":
        assert type(network.module.upscale).__name__ == "BicubicConv"  # the portable one
    note = f"the target {name} cannot take the sparse form (what it computes has no sizes before a"
    assert any(n.startswith(note) for n in report.notes) == bool(sparse and name != "onnx")


@pytest.mark.parametrize(
    ("network", "parity", "measured", "asked"),
    [(True, True, False, True), (True, False, False, False), (True, True, True, False),
     (False, True, False, False)],
)  # fmt: skip
def test_what_is_compared_is_also_measured(
    network: bool, parity: bool, measured: bool, asked: bool, plain: Network, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[str] = []

    def with_quality(report: ExportReport, given: Any) -> ExportReport:
        assert given is plain
        seen.append("measured")
        return replace(report, notes=[*report.notes, "loses nothing"])

    monkeypatch.setattr(stage, "with_quality", with_quality)
    monkeypatch.setattr(stage, "require_quality", lambda report: seen.append("required"))
    monkeypatch.setattr(sys.modules[__name__], "PARITY", Parity(0, 0, []) if parity else None)
    if measured:
        monkeypatch.setattr(
            stage,
            "code_of",
            lambda place: lambda *a, **o: replace(exporter(*a, **o), quality={"psnr": 1}),
        )
    report = export(plain if network else tmp_path / "a.onnx", "onnx", tmp_path / "net.onnx")
    assert seen == (["measured", "required"] if asked else [])
    assert ("loses nothing" in report.notes) == asked


# The table


def test_runtimes_of_a_target() -> None:
    assert [row.name for row in TARGETS["trt"].runtimes()] == ["tensorrt"]
    assert [row.name for row in TARGETS["trt-rtx"].runtimes()] == ["tensorrt_rtx"]
    assert [row.name for row in TARGETS["coreml"].runtimes()] == ["coreml", "coreml-reference"]
    onnx = [row.name for row in TARGETS["onnx"].runtimes()]
    assert onnx[0] == "onnxruntime"
    assert sorted(onnx) == sorted(n for n, row in RUNTIMES.items() if ".onnx" in row.suffixes)


def test_flags_of_options() -> None:
    assert [flag(o) for o in ("opset", "max_drop", "sizes", "accept", "workspace_mb")] == [
        "--opset", "--max-drop", "--input", "--check", "--workspace",
    ]  # fmt: skip
    assert flag("capabilities") == "--sm"


def test_which_targets_take_an_onnx_file_and_which_a_sparse_form() -> None:
    able = ["onnx", "trt", "trt-rtx", "litert", "ncnn"]
    assert [n for n, row in TARGETS.items() if row.converter] == able
    assert set(NO_ONNX) == {n for n, row in TARGETS.items() if not row.converter}
    assert [n for n, row in TARGETS.items() if row.sparse] == ["onnx"]
    assert [n for n, row in TARGETS.items() if row.nvidia] == ["trt"]


def test_a_machine_that_lacks_several_things(monkeypatch: pytest.MonkeyPatch) -> None:
    from srdeploy.exporting import targets

    monkeypatch.undo()
    needs = (Module("json", (), ""), *(Module(f"absent{n}", (), f"get {n}") for n in (1, 2)))
    row = Target("x", "X", ".x", ("fp32",), needs, "", "", "onnxruntime", "a:b", nvidia=True)
    monkeypatch.setattr(targets, "nvidia_driver", lambda: Availability(False, "no driver"))
    assert row.availability() == Availability(
        False, "absent1 is not installed: get 1; absent2 is not installed: get 2; no driver"
    )
    here = replace(row, needs=row.needs[:1])
    assert here.availability() == Availability(False, "no driver")
    monkeypatch.setattr(targets, "nvidia_driver", lambda: Availability(True, "driver"))
    assert here.availability() == Availability(True, "json unknown version, driver")
    assert replace(here, nvidia=False).availability().reason == "json unknown version"
    told = replace(here, pixel_shuffles=("crd",)).to_dict()
    assert (told["builds_here"], told["builds_here_reason"]) == (
        True,
        "json unknown version, driver",
    )
    assert (told["needs"], told["precisions"], told["pixel_shuffles"]) == (
        ["json"],
        ["fp32"],
        ["crd"],
    )
    assert told["runtimes"]["onnxruntime"]["here"] == told["runs_here"] is True


def test_the_document() -> None:
    lines = targets_markdown().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(TARGETS) + len({m.name for t in TARGETS.values() for m in t.needs})
    assert "| `tensorrt` | `pip install 'srdeploy[trt]'` (needs NVIDIA's package index) |" in rows
    assert "| `onnx` | `pip install onnx` |" in rows
    assert any("| fp32, fp16 | the format's own |" in row for row in rows)
