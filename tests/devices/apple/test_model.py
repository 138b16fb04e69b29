"""What the agent is asked about a model, and what is made of its answers."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.apple import model as module
from srdeploy.devices.apple.model import AppleModel, package_of, zipped
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.protocol import Job
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.sizes import InputSizes
from tests.devices.shell.local_link import LocalLink

X = np.arange(210, dtype=np.float64).reshape(2, 3, 5, 7)


class Line:
    """The line to an agent whose answers are given here.

    Attributes:
        asked: Every question, oldest first.
        answers: By what is asked for; an error is raised.
    """

    device = "me@mac"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {
            "open": {"load_ms": 12, "units": {"neuralengine": 3, "cpu": 1}},
            "turn": {"samples_ms": [4, 4.5]},
            "run": {"ms": 4},
            "close": {},
        }

    def ask(self, do: str, timeout: float, **fields: Any) -> dict[str, Any]:
        self.asked.append((do, timeout, fields))
        answer = self.answers[do]
        if isinstance(answer, Exception):
            raise answer
        return answer(fields) if callable(answer) else answer


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def files(tmp_path: Path) -> SshFiles:
    return SshFiles(LocalLink(), str(tmp_path / "there"))


@pytest.fixture
def load(
    line: Line, files: SshFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AppleModel]:
    """Loads a package, whose description is given, for ``srdeploy.runtime`` reads real ones."""
    package = tmp_path / "net.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights").write_bytes(b"weights")

    def load(
        scale: int = 2,
        sizes: InputSizes | None = None,
        images: tuple[bool, bool] = (False, False),
    ) -> AppleModel:
        card = Card(arch="edsr", scale=scale, scales=(scale,), channels=3, value_range=255.0)
        ends = [SimpleNamespace(image=image, sizes=sizes) for image in images]
        read = SimpleNamespace(path=package, card=card, input=ends[0], output=ends[1])
        monkeypatch.setattr(module, "read_package", lambda path: read)
        job = Job(str(package), timeout_seconds=77)
        return AppleModel(
            line,
            files,
            job,
            units="cpu_and_ne",
            precision="fp32",
            version="9.0",  # type: ignore[arg-type]
        )

    return load


def test_a_package_is_opened_there(
    line: Line, files: SshFiles, load: Callable[..., AppleModel]
) -> None:
    model = load()
    ((do, timeout, fields),) = line.asked
    assert (do, timeout, fields["units"], fields["id"]) == ("open", 77, "CPU_AND_NE", model._id)
    assert fields["folder"] == f"{files.folder}/files"
    assert Path(fields["package"]).parent == Path(fields["folder"])
    with zipfile.ZipFile(fields["package"]) as archive:
        assert archive.read("net.mlpackage/Data/weights") == b"weights"
    loaded = model.loaded
    assert (loaded.runtime, loaded.runtime_version, loaded.load_ms) == ("coreml", "9.0", 12.0)
    assert loaded.provider == "neuralengine (3 of 4), cpu (1 of 4)"
    assert loaded.notes[0].startswith("timed by coremltools around each prediction")
    assert model.peak_mb() is None
    assert load()._id != model._id


def test_a_mac_that_does_not_tell_where(line: Line, load: Callable[..., AppleModel]) -> None:
    line.answers["open"] = {"load_ms": 1, "units": {}}
    assert load().loaded.provider == "cpu_and_ne"
    for answer in ({"units": {}}, {"load_ms": 1}, {"load_ms": "x", "units": {}}):
        line.answers["open"] = answer
        with pytest.raises(Implausible, match="'me@mac' answered what cannot be read"):
            load()


@pytest.mark.parametrize("images", [(True, False), (False, True), (True, True)])
def test_image_ends_hide_what_is_computed(
    line: Line, load: Callable[..., AppleModel], images: tuple[bool, bool]
) -> None:
    with pytest.raises(UserError, match=r"net\.mlpackage' has image ends, whose rounding hides"):
        load(images=images)
    assert line.asked == []


@pytest.mark.parametrize(
    ("runs", "seconds", "warm"), [(0, 0, False), (2, 0, True), (0, 1.5, True), (3, 2, True)]
)
def test_a_tensor_is_run_once_and_warmed_up(
    line: Line, load: Callable[..., AppleModel], runs: int, seconds: float, warm: bool
) -> None:
    model = load()
    first = model.prepare(X, runs=runs, seconds=seconds)
    assert (first, type(first)) == (4.0, float)
    tensor = {"id": model._id, "input": f"{model._folder}/timed.bin", "shape": [2, 3, 5, 7]}
    asked = [("turn", 77, {**tensor, "runs": 1, "seconds": 0})]
    asked += [("turn", 77, {**tensor, "runs": runs, "seconds": seconds})] if warm else []
    assert line.asked[1:] == asked
    assert Path(tensor["input"]).read_bytes() == X.astype("<f4").tobytes()
    assert model.turn(2.5).samples_ms == [4.0, 4.5]
    assert line.asked[-1] == ("turn", 77, {**tensor, "runs": 1, "seconds": 2.5})


def test_a_turn_comes_after_its_tensor(load: Callable[..., AppleModel]) -> None:
    with pytest.raises(AssertionError, match="prepare"):
        load().turn(1)


@pytest.mark.parametrize("scale", [2, 3])
def test_an_output_comes_whole(line: Line, load: Callable[..., AppleModel], scale: int) -> None:
    y = np.random.default_rng(0).random((2, 3, 5 * scale, 7 * scale), np.float32)
    line.answers["run"] = lambda told: y.astype("<f4").tofile(told["output"]) or {"ms": 4}
    model = load(scale)
    found = model.run(X)
    assert found.dtype == np.float32
    assert np.array_equal(found, y)
    folder = model._folder
    assert line.asked[-1] == (
        "run", 77,
        {"id": model._id, "input": f"{folder}/x.bin", "shape": [2, 3, 5, 7],
         "output": f"{folder}/y.bin"},
    )  # fmt: skip
    assert [path.name for path in Path(folder).iterdir()] == ["x.bin"]


@pytest.mark.parametrize(
    ("count", "kind", "sentence"),
    [(841, DeviceError, "'cat' printed more on 'board'"),
     (839, Implausible, "'me@mac' put out 3356 bytes in place of 3360")],
)  # fmt: skip
def test_outputs_of_another_size(
    line: Line, load: Callable[..., AppleModel], count: int, kind: type, sentence: str
) -> None:
    def write(told: dict[str, Any]) -> dict[str, Any]:
        np.zeros(count, "<f4").tofile(told["output"])
        return {"ms": 4}

    line.answers["run"] = write
    with pytest.raises(kind, match=sentence):
        load().run(X)


def test_sizes_are_checked_here(line: Line, load: Callable[..., AppleModel]) -> None:
    model = load(sizes=InputSizes(((5, 7), (9, 9))))
    model.prepare(X, runs=0, seconds=0)
    with pytest.raises(UserError, match=r"'net\.mlpackage' takes .* only, not 5x7; export it with"):
        model.prepare(X.transpose(0, 1, 3, 2), runs=0, seconds=0)
    with pytest.raises(UserError, match="only, not 4x5"):
        model.run(X[..., :4])
    assert len(line.asked) == 2


def test_it_is_let_go(line: Line, load: Callable[..., AppleModel]) -> None:
    line.answers["run"] = DeviceError("no")
    with load() as model:
        model.prepare(X, runs=0, seconds=0)
        with pytest.raises(DeviceError):
            model.run(X)
        folder = Path(model._folder)
        assert {path.name for path in folder.iterdir()} == {"timed.bin", "x.bin"}
    assert line.asked[-1] == ("close", 77, {"id": model._id})
    assert list(folder.iterdir()) == []
    line.answers["close"] = DeviceError("gone")
    model.close()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was converted, and how; nothing is."""
    found: list[Any] = []

    def load_network(name: str, **options: Any) -> Any:
        return name, options

    def export_coreml(network: Any, target: Path, **options: Any) -> None:
        found.append((network, target, options))

    monkeypatch.setattr("srdeploy.models.load.load_network", load_network)
    monkeypatch.setattr("srdeploy.exporting.coreml.export.export_coreml", export_coreml)
    return found


def test_a_network_is_converted(exported: list[Any], tmp_path: Path) -> None:
    shapes = ((1, 3, 5, 7), (2, 3, 5, 7), (1, 3, 7, 5))
    options = {"arch": "edsr", "scale": 2, "value_range": 1.0}
    job = Job("nets/fast.safetensors", shapes=shapes, options=options)
    target = package_of(job, tmp_path, "fp16")
    assert target == tmp_path / "fast.mlpackage"
    sizes = InputSizes(((5, 7), (7, 5)))
    assert exported == [
        (("nets/fast.safetensors", {"arch": "edsr", "scale": 2}), target,
         {"precision": "fp16", "sizes": sizes}),
    ]  # fmt: skip
    package_of(Job("edsr-s-x2"), tmp_path, "fp32")
    assert exported[1] == (
        ("edsr-s-x2", {}), tmp_path / "edsr-s-x2.mlpackage", {"precision": "fp32", "sizes": None},
    )  # fmt: skip


def test_a_package_is_taken_as_it_is(exported: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "net.mlpackage"
    assert package_of(Job(str(path)), tmp_path / "f", "fp16") == path
    assert exported == []


def test_what_does_not_become_a_package(exported: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UserError, match=r"There is no file '.*net\.onnx'"):
        package_of(Job(str(path)), tmp_path, "fp32")
    path.touch()
    with pytest.raises(UserError, match=r"is for .* and cannot become a Core ML package; give the"):
        package_of(Job(str(path)), tmp_path, "fp32")
    assert exported == []


def test_equal_packages_are_equal_files(tmp_path: Path) -> None:
    found = []
    for name, order in (("a", ("z", "d/a", "d/b")), ("b", ("d/b", "d/a", "z"))):
        package, folder = tmp_path / name / "some.mlpackage", tmp_path / name
        for file in order:
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            (package / file).write_bytes(file.encode() * 1000)
            os.utime(package / file, (len(found) * 1e6,) * 2)
        archive = zipped(package, folder)
        assert archive == folder / "net.zip"
        found.append(archive.read_bytes())
    assert found[0] == found[1]
    assert len(found[0]) < 1000  # packed
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == [f"net.mlpackage/{name}" for name in ("d/a", "d/b", "z")]
