"""The three files of an engine, from the network to the rebuilt engine; TensorRT-RTX for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.run import export
from srdeploy.exporting.tensorrt import export as stage
from srdeploy.exporting.tensorrt.export import (
    export_trt_rtx,
    make_profile,
    rebuild_engine,
    rtx_capabilities,
)
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.session import Session
from srdeploy.runtime.tensorrt.sidecar import (
    ShapeProfile,
    onnx_path,
    read_sidecar,
    require_source,
    sidecar_path,
)
from srdeploy.util.files import sha256


def network() -> Network:
    return create("ledsr", scale=3, n_blocks=1, n_feats=8)


@pytest.fixture
def engine(tmp_path: Path, rtx: None) -> Path:
    path = tmp_path / "net.engine"
    export_trt_rtx(network(), path, sizes="32x24", capabilities=("8.9",))
    return path


@pytest.mark.parametrize(
    ("sizes", "multiple", "low", "typical", "high"),
    [
        (None, 1, (16, 16), (270, 480), (1080, 1920)),
        (None, 7, (21, 21), (273, 483), (1085, 1925)),
        ("32x24", 1, (24, 32), (24, 32), (24, 32)),
        ("64..1920x1080", 8, (64, 64), (272, 480), (1080, 1920)),
        ("300..400", 1, (300, 300), (300, 400), (400, 400)),
        ("16..64x48", 1, (16, 16), (48, 64), (48, 64)),
        ("16x8..32x24..64x48", 8, (8, 16), (24, 32), (48, 64)),
    ],
)
def test_shapes_that_are_asked_for(
    sizes: str | None, multiple: int, low: tuple, typical: tuple, high: tuple
) -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0, size_multiple=multiple)
    for batch in (1, 4):
        profile = make_profile(card, sizes, batch)
        assert profile.min == (batch, 3, *low)
        assert profile.opt == (batch, 3, *typical)
        assert profile.max == (batch, 3, *high)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ("32x24,64x48", "'32x24,64x48' is nothing an engine can be tuned for; write one size"),
        ("16..32x24,24x16..64", "is nothing an engine can be tuned for"),
        ("16..128x128..64", "The middle size of '16..128x128..64' is not between the others."),
        ("24..16x32..64", "is not between the others"),
        ("30x32", "The network cannot take 30x32 pixels; give multiples of 8."),
        ("32x30", "cannot take 32x30 pixels"),
        ("16..36x40..64", "cannot take 36x40 pixels"),
        ("16..60", "cannot take 60x60 pixels"),
        ("1..2..3..4", "names no sizes"),
    ],
)
def test_shapes_that_cannot_be(sizes: str, sentence: str) -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0, size_multiple=8)
    with pytest.raises(UserError) as caught:
        make_profile(card, sizes)
    assert sentence in str(caught.value)


def test_a_network_that_wants_its_input_upscaled_is_tuned_for_more() -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=1, value_range=1.0, pre_upscaled=True)
    assert make_profile(card, None).opt == (1, 1, 720, 1280)


def test_gpus_that_an_engine_is_built_for() -> None:
    assert rtx_capabilities((), in_bf16=False) == ("7.5", "8.6", "8.9", "12.0")
    assert rtx_capabilities((), in_bf16=True) == ("8.6", "8.9", "12.0")  # Turing has none
    assert rtx_capabilities(("12.1", "8.0"), in_bf16=True) == ("12.1", "8.0")
    assert rtx_capabilities(("7.5",), in_bf16=False) == ("7.5",)
    with pytest.raises(UserError, match=r"capability 7\.5 have no bfloat16; leave it out of --sm"):
        rtx_capabilities(("7.5", "8.9"), in_bf16=True)
    with pytest.raises(UserError, match=r"no compute capability of TensorRT-RTX named '9\.9'"):
        rtx_capabilities(("8.9", "9.9"), in_bf16=False)


@pytest.mark.parametrize(
    ("precision", "tf32", "told"),
    [("fp32", False, "fp32"), ("fp32", True, "tf32"), ("fp16", True, "fp16"),
     ("mixed", True, "mixed (2 fp16, 3 fp32)")],
)  # fmt: skip
def test_the_precision_in_words(precision: str, tf32: bool, told: str) -> None:
    facts = SimpleNamespace(precision=precision, tf32=tf32, convolutions={"fp16": 2, "fp32": 3})
    assert stage.label(facts) == told  # type: ignore[arg-type]


def test_what_builders_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(stage, "export_engine", lambda *a, **o: asked.append((*a, o)))
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    path = tmp_path / "net.engine"
    stage.export_trt(path, path, tf32=True)
    stage.export_trt(path, path, timing_cache=None)
    export_trt_rtx(path, path, capabilities=("8.9",), precision="bf16")
    export_trt_rtx(path, path)
    assert asked == [
        (path, path, "tensorrt", {"tf32": True, "timing_cache": tmp_path / "trt" / "timings.bin"}),
        (path, path, "tensorrt", {"timing_cache": None}),
        (path, path, "tensorrt_rtx", {"capabilities": ("8.9",), "precision": "bf16"}),
        (path, path, "tensorrt_rtx", {"capabilities": ()}),
    ]
    with pytest.raises(UserError, match="have no bfloat16"):
        export_trt_rtx(path, path, capabilities=("7.5",), precision="bf16")


class Twice(Session):
    """Repeats pixels; adds a share of the value range."""

    runtime = "fake"

    def __init__(self, card: Card, off: float = 0.0) -> None:
        super().__init__(card, 1)
        self.off, self.seen = off, []

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.shape)
        return x.repeat(2, 2).repeat(2, 3) + np.float32(self.off * self.card.value_range)


@pytest.mark.parametrize(
    ("precision", "tf32", "limit"),
    [("fp32", False, 1e-4), ("fp32", True, 1e-2), ("fp16", False, 2e-2), ("bf16", False, 5e-2),
     ("int8", False, 5e-2), ("mixed", False, 5e-2)],
)  # fmt: skip
def test_how_far_an_engine_may_be_from_its_onnx(
    precision: str, tf32: bool, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=255.0)
    source = Twice(card)
    opened: list[dict] = []
    monkeypatch.setattr(stage, "open_session", lambda path, **o: opened.append(o) or source)
    profile = ShapeProfile(min=(2, 3, 16, 16), opt=(2, 3, 48, 40), max=(2, 3, 64, 64))
    facts = SimpleNamespace(card=card, profile=profile, tf32=tf32, precision=precision)
    near = Twice(card, off=0.9 * limit)
    parity = stage.compare_with_source(near, Path("net.onnx"), facts)  # type: ignore[arg-type]
    assert opened == [{"threads": 1, "value_range": 255.0, "scale": 2}]
    assert (48, 40) in parity.sizes
    assert all(16 <= side <= 64 for size in parity.sizes for side in size)
    assert {shape[0] for shape in near.seen} == {2}
    assert parity.relative == pytest.approx(0.9 * limit, rel=0.05)
    with pytest.raises(SrdeployError, match="The engine"):
        stage.compare_with_source(Twice(card, off=1.2 * limit), Path("net.onnx"), facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("fails", [False, True])
def test_three_files_appear_together(fails: bool, tmp_path: Path) -> None:
    target = tmp_path / "net.engine"
    names = ("net.engine", "net.engine.json", "net.engine.onnx")
    for name in names:
        (tmp_path / name).write_text("old")
    with suppress(KeyError), stage.staged(target) as place:
        assert place.name == "net.engine"
        assert place.parent != tmp_path
        for name in names:
            (place.parent / name).write_text(f"new {name}")
            assert (tmp_path / name).read_text() == "old"
        if fails:
            raise KeyError
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / name).read_text() == ("old" if fails else f"new {name}")


@pytest.mark.usefixtures("rtx")
def test_export_makes_three_files_that_agree(tmp_path: Path) -> None:
    path = tmp_path / "net.engine"
    source = network()
    report = export(source, "trt-rtx", path, sizes="16x16..64x48", precision="fp32")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "net.engine", "net.engine.json", "net.engine.onnx",
    ]  # fmt: skip
    facts = read_sidecar(path)
    assert facts.engine_sha256 == sha256(path) == report.sha256
    assert facts.onnx_sha256 == sha256(onnx_path(path))
    assert facts.capabilities == ("7.5", "8.6", "8.9", "12.0")
    assert facts.profile.min == (1, 3, 16, 16)
    assert facts.profile.max == (1, 3, 48, 64)
    assert (facts.precision, facts.tf32, facts.verified) == ("fp32", False, False)
    assert facts.card.model_copy(update={"history": []}) == source.card
    assert facts.card.history[-1]["target"] == "trt-rtx"
    assert report.parity is None
    assert any(note.startswith("not verified: the engine was not loaded") for note in report.notes)
    assert any("alike to the byte" in note for note in report.notes)
    assert report.opset == 17


@pytest.mark.usefixtures("rtx")
def test_all_but_the_engines_inner_numbers_is_reproducible(tmp_path: Path) -> None:
    source = network()
    for folder in "ab":
        export_trt_rtx(
            source.copy(), tmp_path / folder / "net.engine", sizes="32x24", capabilities=("8.9",)
        )
    first, second = (read_sidecar(tmp_path / f / "net.engine") for f in "ab")
    assert first.onnx_sha256 == second.onnx_sha256
    same = {"engine_sha256": ""}
    assert first.model_copy(update=same) == second.model_copy(update=same)
    sizes = {(tmp_path / folder / "net.engine").stat().st_size for folder in "ab"}
    assert len(sizes) == 1


@pytest.mark.usefixtures("rtx")
def test_from_an_onnx_file_as_it_is(in_half: bytes, tmp_path: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(in_half)
    path = tmp_path / "half.engine"
    report = export_trt_rtx(tmp_path / "half.onnx", path, capabilities=("8.6",), sizes="32x24")
    assert report.precision == "fp16"
    assert onnx_path(path).read_bytes() == in_half
    with pytest.raises(UserError, match="fp32 was asked"):
        export_trt_rtx(tmp_path / "half.onnx", path, precision="fp32")
    assert read_sidecar(path).precision == "fp16"  # the old artifact is untouched


@pytest.mark.usefixtures("rtx")
def test_foreign_onnx_needs_its_value_range(onnx_of: Callable[[str], Path], tmp_path: Path) -> None:
    model = onnx.load(onnx_of("edsr"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    path = tmp_path / "foreign.engine"
    with pytest.raises(UserError, match="give the value range"):
        export_trt_rtx(tmp_path / "foreign.onnx", path)
    export_trt_rtx(
        tmp_path / "foreign.onnx", path, value_range=255, capabilities=("8.9",), sizes="32x24"
    )
    assert (read_sidecar(path).card.scale, read_sidecar(path).card.arch) == (3, "onnx")
    rebuild_engine(path)
    assert len(read_sidecar(path).card.history) == 1


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise SrdeployError("TensorRT fell over.")

    monkeypatch.setattr(stage, "build_engine", fail)
    with pytest.raises(SrdeployError, match="fell over"):
        export_trt_rtx(network(), tmp_path / "net.engine")
    assert list(tmp_path.iterdir()) == []


def test_rebuild(engine: Path) -> None:
    before = read_sidecar(engine)
    engine.write_bytes(b"lost")  # a damaged engine is what rebuilding is for
    report = rebuild_engine(engine)
    after = read_sidecar(engine)
    assert after.engine_sha256 == sha256(engine) == report.sha256
    same = {"engine_sha256": ""}
    assert after.model_copy(update=same) == before.model_copy(update=same)


def test_rebuild_refuses_without_its_source(engine: Path) -> None:
    onnx_path(engine).write_bytes(onnx_path(engine).read_bytes()[:-9])
    with pytest.raises(UserError, match=r"net\.engine\.onnx' is not the file .* truncated"):
        rebuild_engine(engine)
    onnx_path(engine).unlink()
    with pytest.raises(UserError, match=r"net\.engine\.onnx', which .* is missing"):
        require_source(engine, read_sidecar(engine))


@pytest.mark.parametrize("harm", ["gone", "cut", "text", "field", "format"])
def test_damaged_sidecars(harm: str, engine: Path) -> None:
    path = sidecar_path(engine)
    whole = json.loads(path.read_text())
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_text(path.read_text()[:300])
    elif harm == "text":
        path.write_bytes(b"\xff\xfe\x00")
    elif harm == "field":
        path.write_text(json.dumps(whole | {"profile": None}))
    else:
        path.write_text(json.dumps(whole | {"format": 9}))
    message = "nothing is known" if harm == "gone" else "does not describe an engine"
    with pytest.raises(UserError, match=message) as caught:
        rebuild_engine(engine)
    assert "\n" not in str(caught.value)


def test_emitted_python_builds_the_same_engine(tmp_path: Path, rtx: None) -> None:
    path, script = tmp_path / "net.engine", tmp_path / "build.py"
    report = export_trt_rtx(
        network(), path, sizes="16x16..32x24..64x48", capabilities=("8.6", "8.9"),
        workspace_mb=128, emit_script=script,
    )  # fmt: skip
    (told,) = [note for note in report.notes if "build.py builds it again" in note]
    assert "copied" not in told  # it lies beside the ONNX file
    assert os.access(script, os.X_OK)
    first = path.stat().st_size
    path.unlink()
    answer = subprocess.run(
        [sys.executable, "-I", str(script)], capture_output=True, text=True, cwd="/"
    )
    assert answer.returncode == 0, answer.stderr
    assert path.stat().st_size == first
    assert "by tensorrt_rtx 1" in answer.stdout
    with pytest.raises(UserError, match=r"trtexec builds no TensorRT-RTX engines"):
        rebuild_engine_with_script(path, tmp_path / "build.sh")


def rebuild_engine_with_script(path: Path, script: Path) -> None:
    before = sorted(path.parent.iterdir())
    try:
        rebuild_engine(path, emit_script=script)
    finally:
        assert sorted(path.parent.iterdir()) == before


def test_profiles() -> None:
    card = network().card
    assert make_profile(card, "32x24").fixed
    assert str(make_profile(card, "32x24")) == "1x3x24x32"
    assert make_profile(card, None).opt == (1, 3, 270, 480)
    assert make_profile(card, "16..64").opt == (1, 3, 64, 64)
    assert make_profile(card, "16x16..32x24..64x48", batch=2).opt == (2, 3, 24, 32)
    vdsr = create("vdsr", n_layers=3, n_feats=4).card
    assert make_profile(vdsr, None).opt == (1, 1, 720, 1280)
    odd = card.model_copy(update={"size_multiple": 4})
    assert make_profile(odd, None).opt == (1, 3, 272, 480)
    for wrong, reason in (
        ("32x24,64x48", "one size"),
        ("64x64..16x16", "range"),
        ("16..128..64", "names no sizes"),
        ("16..128x128..64", "not between"),
        ("big", "names no sizes"),
    ):
        with pytest.raises(UserError, match=reason):
            make_profile(card, wrong)
    with pytest.raises(UserError, match="multiples of 4"):
        make_profile(odd, "30x30")


def test_unknown_compute_capability(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no compute capability of TensorRT-RTX named '9\.0'"):
        export_trt_rtx(network(), tmp_path / "net.engine", capabilities=("9.0",))
