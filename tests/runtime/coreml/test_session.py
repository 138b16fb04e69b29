"""Packages as sessions: their ends, damage, and Core ML itself where it is (or a stand-in)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.coreml.export import export_coreml
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.runtime.coreml import session as coreml_session
from srdeploy.runtime.coreml.package import read_package
from srdeploy.runtime.coreml.reference import CoremlReferenceSession
from srdeploy.runtime.coreml.session import CoremlSession

ct = pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "net.mlpackage"
    export_coreml(create("ledsr", scale=2, n_blocks=1, n_feats=8), path, sizes="16..32")
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Packages with image ends, by channels."""
    folder = tmp_path_factory.mktemp("pictures")
    rgb = create("ledsr", scale=2, n_blocks=1, n_feats=8)
    luma = create("vdsr", n_layers=3, n_feats=4)
    for network, name in ((rgb, "rgb"), (luma, "luma")):
        path = folder / f"{name}.mlpackage"
        export_coreml(network, path, precision="fp16", images=True, sizes="24x16")
    return {3: folder / "rgb.mlpackage", 1: folder / "luma.mlpackage"}


def test_batches_run_one_by_one(package: Path) -> None:
    with CoremlReferenceSession(package, threads=1) as session:
        assert (session.runtime, session.card.arch, session.threads) == (
            "coreml-reference",
            "ledsr",
            1,
        )
        x = photograph(session.card, (16, 20), batch=3)
        together = session.run(x)
        assert together.shape == (3, 3, 32, 40)
        np.testing.assert_array_equal(together[1:2], session.run(x[1:2]))


def test_sizes_are_kept_unless_told(package: Path) -> None:
    big = np.zeros((1, 3, 40, 20), np.float32)
    with (
        CoremlReferenceSession(package) as session,
        pytest.raises(UserError, match=r"16\.\.32 only"),
    ):
        session.run(big)
    with CoremlReferenceSession(package, any_size=True) as session:
        assert session.run(big).shape == (1, 3, 80, 40)


def _cut_weights(path: Path) -> None:
    file = path / "Data/com.apple.CoreML/weights/weight.bin"
    file.write_bytes(file.read_bytes()[:-300])


def _cut_model(path: Path) -> None:
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    file.write_bytes(file.read_bytes()[:-300])


def _other_kind(path: Path) -> None:
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.utils.load_spec(str(file))
    spec.neuralNetwork.SetInParent()
    file.write_bytes(spec.SerializeToString())


def _no_card(path: Path) -> None:
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.utils.load_spec(str(file))
    spec.description.metadata.userDefined.clear()
    file.write_bytes(spec.SerializeToString())


def _two_outputs(path: Path) -> None:
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.utils.load_spec(str(file))
    spec.description.output.add().name = "another"
    file.write_bytes(spec.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (shutil.rmtree, "There is no package"),
        (lambda path: (path / "Manifest.json").unlink(), "manifest cannot be read"),
        (lambda path: (path / "Manifest.json").write_text("{"), "manifest cannot be read"),
        (lambda path: (path / "Data/com.apple.CoreML/model.mlmodel").unlink(), "is missing"),
        (lambda path: shutil.rmtree(path / "Data/com.apple.CoreML/weights"), "lacks its weights"),
        (_cut_weights, "truncated or damaged"),
        (_cut_model, "truncated or damaged"),
        (_other_kind, "srdeploy runs mlprograms only"),
        (_no_card, "has no srdeploy card"),
        (_two_outputs, "1 inputs and 2 outputs"),
    ],
)
def test_damage_gives_one_sentence(
    damage: Callable[[Path], Any], sentence: str, package: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(package, copy)
    damage(copy)
    with pytest.raises(UserError, match=sentence) as caught:
        CoremlReferenceSession(copy)
    assert "\n" not in str(caught.value)
    assert "copy.mlpackage" in str(caught.value)


def test_a_file_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "net.mlpackage").write_bytes(b"hello")
    with pytest.raises(UserError, match="is no CoreML package"):
        read_package(tmp_path / "net.mlpackage")


class StandIn:
    """coremltools' MLModel as macOS has it, its predictions made by the interpreter."""

    def __init__(self, path: str, compute_units: Any) -> None:
        self.session = CoremlReferenceSession(path, threads=1)
        self.units = compute_units

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        from PIL import Image

        (value,) = given.values()
        package = self.session.package
        if not package.input.image:
            return {"sr": self.session.program.run(value)}
        assert isinstance(value, Image.Image)
        assert value.mode == ("L" if package.input.channels == 1 else "RGB")
        pixels = np.asarray(value, np.float32)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        y = self.session.program.run(np.ascontiguousarray(planes[None]))[0].astype(np.uint8)
        image = Image.fromarray(y[0] if len(y) == 1 else y.transpose(1, 2, 0))
        return {"sr": image if len(y) == 1 else image.convert("RGBA")}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreml_session.sys, "platform", "darwin")
    monkeypatch.setattr(ct.models, "MLModel", StandIn)


@pytest.mark.usefixtures("mac")
def test_core_ml_session_feeds_tensors_and_images(package: Path, pictures: dict[int, Path]) -> None:
    for path in (package, *pictures.values()):
        with CoremlSession(path, compute_units="CPU_ONLY") as session:
            assert session.runtime == "coreml"
            assert session._model.units == ct.ComputeUnit.CPU_ONLY
            x = photograph(session.card, (16, 24))
            with CoremlReferenceSession(path) as reference:
                np.testing.assert_array_equal(session.run(x), reference.run(x))


@pytest.mark.usefixtures("mac")
def test_core_mls_own_errors_become_one_sentence(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Error compiling\nmodel: out of\nluck")

    with CoremlSession(package) as session:
        monkeypatch.setattr(session._model, "predict", fail)
        with pytest.raises(SrdeployError, match=r"fails on 'net.mlpackage' .Error compiling model"):
            session.run(photograph(session.card, (16, 24)))
    monkeypatch.setattr(ct.models, "MLModel", fail)
    with pytest.raises(UserError, match=r"Core ML cannot load .*out of luck"):
        CoremlSession(package)


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_core_ml_needs_a_mac(package: Path) -> None:
    with pytest.raises(UserError, match="runs on macOS only; leave the runtime out"):
        CoremlSession(package)


@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML predicts on macOS only")
def test_core_ml_and_the_interpreter_agree(package: Path, pictures: dict[int, Path]) -> None:
    for path in (package, *pictures.values()):
        with CoremlSession(path) as real, CoremlReferenceSession(path) as reference:
            x = photograph(real.card, (16, 24))
            difference = np.abs(real.run(x) - reference.run(x)).max() / real.card.value_range
        assert difference < 1e-2
