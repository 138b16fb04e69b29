"""Packages that are written by hand: ends, sizes, and what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.coreml import package as module
from srdeploy.runtime.coreml.package import read_package
from srdeploy.runtime.coreml.session import PackageSession, _from_image, _to_image
from srdeploy.runtime.coreml.values import Weights, decode, unpack

pytest.importorskip("coremltools")

from coremltools.proto import MIL_pb2, Model_pb2

CARD = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0)


def array_end(feature: Any, *shape: int) -> Any:
    kind = feature.type.multiArrayType
    kind.shape[:] = shape
    return kind


def spec(card: Card = CARD) -> Any:
    made = Model_pb2.Model()
    array_end(made.description.input.add(name="lr"), 1, card.channels, 8, 12)
    array_end(made.description.output.add(name="sr"), 1, card.channels, 16, 24)
    made.description.metadata.userDefined[CARD_KEY] = card.to_json()
    function = made.mlProgram.functions["main"]
    function.opset = "CoreML6"
    given = function.inputs.add(name="lr")
    given.type.tensorType.dataType = MIL_pb2.DataType.Value("FLOAT16")
    block = function.block_specializations["CoreML6"]
    block.outputs.append("sr")
    block.operations.add(type="identity")
    return made


def save(folder: Path, made: Any, name: str = "com.apple.CoreML/model.mlmodel") -> Path:
    package = folder / "net.mlpackage"
    model = package / "Data" / name
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(made.SerializeToString())
    entries = {"id": {"path": name}, "other": {"path": "elsewhere"}}
    manifest = {"itemInfoEntries": entries, "rootModelIdentifier": "id"}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    return package


def test_what_is_read(tmp_path: Path) -> None:
    found = read_package(str(save(tmp_path, spec())))
    assert found.path == tmp_path / "net.mlpackage"
    assert found.card == CARD
    assert (found.input.name, found.input.image, found.input.channels) == ("lr", False, 3)
    assert (found.output.name, str(found.output.sizes)) == ("sr", "24x16")
    assert str(found.input.sizes) == "12x8"
    assert found.inputs == {"lr": MIL_pb2.DataType.Value("FLOAT16")}
    assert [op.type for op in found.block.operations] == ["identity"]
    assert found.weights._folder == tmp_path / "net.mlpackage/Data/com.apple.CoreML"


def _enumerated(feature: Any) -> None:
    shapes = feature.type.multiArrayType.enumeratedShapes.shapes
    for sides in ((4, 6), (8, 12), (10, 14)):
        shapes.add(shape=[1, 3, *sides])


def _ranged(feature: Any) -> None:
    for low, high in ((1, 1), (3, 3), (4, 40), (6, 60)):
        feature.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)


def _open(feature: Any) -> None:
    feature.type.multiArrayType.shape[:] = []


def _image(feature: Any) -> Any:
    kind = feature.type.imageType
    kind.height, kind.width = 8, 12
    return kind


def _images_enumerated(feature: Any) -> None:
    kind = _image(feature)
    for height, width in ((4, 6), (8, 12)):
        kind.enumeratedSizes.sizes.add(height=height, width=width)


def _images_ranged(feature: Any) -> None:
    bounds = _image(feature).imageSizeRange
    bounds.heightRange.lowerBound, bounds.heightRange.upperBound = 4, 40
    bounds.widthRange.lowerBound, bounds.widthRange.upperBound = 6, 60


@pytest.mark.parametrize(
    ("write", "image", "sizes"),
    [
        (_enumerated, False, "12x8,6x4,14x10"),  # the default first
        (_ranged, False, "6x4..60x40"),
        (_open, False, None),
        (_image, True, "12x8"),
        (_images_enumerated, True, "12x8,6x4"),
        (_images_ranged, True, "6x4..60x40"),
    ],
)
def test_sizes_of_an_end(
    write: Callable[[Any], object], image: bool, sizes: str | None, tmp_path: Path
) -> None:
    made = spec()
    write(made.description.input[0])
    found = read_package(save(tmp_path, made)).input
    assert found.image == image
    assert (None if found.sizes is None else str(found.sizes)) == sizes


def _two_inputs(made: Any) -> None:
    made.description.input.add(name="more")


def _no_output(made: Any) -> None:
    del made.description.output[:]


def _empty(made: Any) -> None:
    del made.mlProgram.functions["main"].block_specializations["CoreML6"].operations[:]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_two_inputs, "has 2 inputs and 1 outputs; a super-resolution network has one of each"),
        (_no_output, "has 1 inputs and 0 outputs"),
        (_empty, "holds a CoreML mlProgram; srdeploy runs mlprograms only"),
        (lambda made: made.ClearField("mlProgram"), "holds a CoreML "),
        (
            lambda made: made.description.metadata.userDefined.clear(),
            "so its value range and scale",
        ),
    ],
)
def test_packages_that_are_none_of_ours(
    harm: Callable[[Any], None], sentence: str, tmp_path: Path
) -> None:
    made = spec()
    harm(made)
    with pytest.raises(UserError) as caught:
        read_package(save(tmp_path, made))
    assert sentence in str(caught.value)


def test_sizes_of_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = save(tmp_path, spec())
    manifest, model = package / "Manifest.json", next(package.rglob("model.mlmodel"))
    monkeypatch.setattr(module, "_LARGEST_MANIFEST", manifest.stat().st_size)
    monkeypatch.setattr(module, "_LARGEST_MODEL", model.stat().st_size)
    read_package(package)
    monkeypatch.setattr(module, "_LARGEST_MODEL", model.stat().st_size - 1)
    with pytest.raises(UserError, match="has 0 MB, which are no program; export"):
        read_package(package)
    monkeypatch.setattr(module, "_LARGEST_MANIFEST", manifest.stat().st_size - 1)
    with pytest.raises(UserError, match="its manifest cannot be read"):
        read_package(package)
    (package / "Data" / "folder").symlink_to(".")
    with pytest.raises(UserError, match="holds 'folder', which is a link, a pipe or a device"):
        read_package(package)
    os.unlink(package / "Data" / "folder")
    with pytest.raises(UserError, match="There is no package"):
        read_package(tmp_path / "absent.mlpackage")


# Values


def value(kind: str, *shape: int) -> Any:
    found = MIL_pb2.Value()
    found.type.tensorType.dataType = MIL_pb2.DataType.Value(kind)
    for size in shape:
        found.type.tensorType.dimensions.add().constant.size = size
    return found


def test_immediate_values(tmp_path: Path) -> None:
    weights = Weights(tmp_path, tmp_path)
    ints = value("INT32", 2, 2)
    ints.immediateValue.tensor.ints.values[:] = [1, 2, 3, -4]
    found = decode(ints, weights)
    assert isinstance(found, np.ndarray)
    assert (found.tolist(), found.dtype) == ([[1, 2], [3, -4]], np.int32)
    one = value("FLOAT32")
    one.immediateValue.tensor.floats.values[:] = [0.5]
    assert np.shape(decode(one, weights)) == ()
    text = value("STRING")
    text.immediateValue.tensor.strings.values[:] = ["valid", "other"]
    assert decode(text, weights) == "valid"
    flag = value("BOOL", 2)
    flag.immediateValue.tensor.bools.values[:] = [True, False]
    assert np.asarray(decode(flag, weights)).dtype == np.bool_
    half = value("FLOAT16", 2)
    half.immediateValue.tensor.bytes.values = np.array([0.5, 2], np.float16).tobytes()
    assert np.asarray(decode(half, weights)).tolist() == [0.5, 2]
    packed = value("INT4", 3)
    packed.immediateValue.tensor.bytes.values = bytes([0x8F, 0x07])
    assert np.asarray(decode(packed, weights)).tolist() == [-1, -8, 7]
    unsigned = value("UINT4", 3)
    unsigned.immediateValue.tensor.bytes.values = bytes([0x8F, 0x07])
    assert np.asarray(decode(unsigned, weights)).tolist() == [15, 8, 7]


def test_values_without_numbers(tmp_path: Path) -> None:
    weights = Weights(tmp_path, tmp_path)
    for shape in ((), (0,), (1, 1)):
        empty = value("INT32", *shape)
        empty.immediateValue.tensor.SetInParent()
        found = np.asarray(decode(empty, weights))
        assert (found.shape, found.dtype, found.sum()) == (shape, np.int32, 0)
    wrong = value("INT32", 2)
    wrong.immediateValue.tensor.SetInParent()
    with pytest.raises(ValueError, match="a value without its numbers"):
        decode(wrong, weights)
    listed = value("INT32")
    listed.immediateValue.list.SetInParent()
    with pytest.raises(ValueError, match="a list as a value"):
        decode(listed, weights)


@pytest.mark.parametrize("count", [0, 1, 8, 9])
def test_unpacking_takes_what_is_asked(count: int) -> None:
    data = bytes([0b11100100, 0b00011011, 0xFF])
    assert unpack(data, 2, count).tolist() == [0, 1, 2, 3, 3, 2, 1, 0, 3][:count]


# Sessions


class Kept(PackageSession):
    """Returns twice its input, and keeps it."""

    runtime = "fake"

    def _predict(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return (x * self.gain).repeat(2, 2).repeat(2, 3).astype(np.float64)


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_images_are_whole_levels(value_range: float, tmp_path: Path) -> None:
    made = spec(CARD.model_copy(update={"value_range": value_range}))
    _images_ranged(made.description.input[0])
    _images_ranged(made.description.output[0])
    session = Kept(save(tmp_path, made), threads=2)
    session.gain = 1.004
    assert session.threads == 2
    assert str(session.sizes) == "6x4..60x40"
    levels = np.array([0.4, 0.6, 100.4, 254.7, 300.0, -9.0], np.float32) * (value_range / 255)
    x = np.tile(levels, (2, 3, 4, 1)).astype(np.float32)
    y = session.run(x)
    assert session.x[0, 0, 0].tolist() == [0, 1, 100, 255, 255, 0]
    assert y.dtype == np.float32
    expected = np.array([0, 1, 100, 255, 255, 0]) * (value_range / 255)
    np.testing.assert_allclose(y[1, 2, 0, ::2], expected, rtol=1e-6)
    with pytest.raises(UserError, match=r"'net\.mlpackage' takes 6x4\.\.60x40 only, not 5x4; exp"):
        session.run(x[..., :5])


def test_tensors_are_left_as_they_are(tmp_path: Path) -> None:
    session = Kept(save(tmp_path, spec()))
    session.gain = 1.25
    x = np.random.default_rng(0).random((1, 3, 8, 12), np.float32)
    np.testing.assert_allclose(session.run(x), (x * 1.25).repeat(2, 2).repeat(2, 3))
    np.testing.assert_array_equal(session.x, x)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_for_core_ml(channels: int) -> None:
    x = np.arange(channels * 6, dtype=np.float32).reshape(1, channels, 2, 3)
    image = _to_image(x)
    assert image.mode == ("L" if channels == 1 else "RGB")
    assert image.size == (3, 2)
    package: Any = SimpleNamespace(output=SimpleNamespace(channels=channels))
    np.testing.assert_array_equal(_from_image(image.convert("RGBA"), package), x)
