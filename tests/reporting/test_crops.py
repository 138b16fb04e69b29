"""Which pictures are shown, and that their PSNR is that of the pixels shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from srdeploy.benchmarking.measuring.row import row_of
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, to_uint8
from srdeploy.errors import UserError
from srdeploy.quality.metrics import psnr
from srdeploy.reporting import crops
from srdeploy.reporting.crops import SHOWN, data_uri, find_artifacts, make_crops, try_crops
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry
from tests.reporting.material import measurement

SIZE = (160, 256)


class FakePair:
    """An original that differs from image to image; its input is every second pixel."""

    scale = 2

    def __init__(self, number: int) -> None:
        self.name = f"image{number}"
        self.pixels = np.random.default_rng(number).integers(60, 200, (*SIZE, 3), np.uint8)

    def hr(self) -> np.ndarray:
        return self.pixels

    def lr(self) -> np.ndarray:
        return self.pixels[::2, ::2]


PAIRS = [FakePair(n) for n in range(10)]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Networks as functions: ``dense`` doubles pixels, the others add to it where told below."""
    opened: list[str] = []

    @contextmanager
    def open_session(path: Path) -> Iterator[SimpleNamespace]:
        opened.append(path.name)
        yield SimpleNamespace(card=SimpleNamespace(scale=2), name=path.name)

    def upscale_rgb(session: SimpleNamespace, lr: np.ndarray, scale: int) -> np.ndarray:
        number = next(n for n, p in enumerate(PAIRS) if np.array_equal(p.lr(), lr))
        result = lr.repeat(scale, 0).repeat(scale, 1).astype(np.float64)
        if session.name == "tuned":
            # Image 7 most, then 3; image 9 most of all, but it is not looked at.
            more = {3: 20, 7: 40, 9: 90}.get(number, 2)
            result[16:150, 48:250] += more
        if session.name == "pruned":
            result += {1: 100, 2: 90}.get(number, 50)
        return result

    monkeypatch.setattr(crops, "open_session", open_session)
    monkeypatch.setattr(crops, "upscale_rgb", upscale_rgb)
    monkeypatch.setattr(crops, "open_benchmark", lambda data, scale: list(PAIRS))
    return opened


def of(*names: str) -> dict[str, Path]:
    return {name: Path(name) for name in names}


def test_images_are_those_that_what_is_shipped_differs_on_most(networks: list[str]) -> None:
    found = make_crops(of("dense", "pruned", "tuned"), "set")
    assert [crop.image for crop in found] == ["image7", "image3"]
    assert len(found) == SHOWN
    assert networks == ["dense", "pruned", "tuned"]
    for crop in found:
        assert crop.between == ("dense", "tuned")
        assert crop.size == SIZE
        assert [v.label for v in crop.versions] == ["bicubic", "dense", "pruned", "tuned", "HR"]
        assert crop.region == (slice(16, 144), slice(48, 240))
        assert crop.protocol == "psnr[y, crop=2, u8, matlab]"


def test_without_a_tuned_network_the_pruned_one_is_compared(networks: list[str]) -> None:
    found = make_crops(of("dense", "pruned", "int8"), "set")
    assert [crop.image for crop in found] == ["image1", "image2"]
    assert {crop.between for crop in found} == {("dense", "pruned")}


def test_a_network_alone_is_compared_with_bicubic(networks: list[str]) -> None:
    found = make_crops(of("dense"), "set")
    assert [crop.image for crop in found] == ["image0", "image1"]
    assert {crop.between for crop in found} == {("bicubic", "dense")}
    assert [v.label for v in found[0].versions] == ["bicubic", "dense", "HR"]
    assert {crop.between for crop in make_crops(of("dense", "a"), "set")} == {("dense", "a")}
    assert {crop.between for crop in make_crops(of("a", "dense"), "set")} == {("a", "dense")}


def test_psnr_is_of_what_is_shown_and_of_the_whole_without_its_border(
    networks: list[str],
) -> None:
    crop = make_crops(of("dense", "tuned"), "set")[0]
    original = PAIRS[7].hr()
    assert np.array_equal(crop.whole, original)
    bicubic, dense, tuned, hr = crop.versions
    assert (hr.psnr_here, hr.psnr) == (None, None)
    assert np.array_equal(hr.pixels, original[crop.region])
    whole = to_uint8(imresize(PAIRS[7].lr().astype(np.float64), 2))
    assert np.array_equal(bicubic.pixels, whole[crop.region])
    inner = slice(2, -2), slice(2, -2)
    assert bicubic.psnr == pytest.approx(psnr(rgb_to_y(whole)[inner], rgb_to_y(original)[inner]))
    for version in (bicubic, dense, tuned):
        here = psnr(rgb_to_y(version.pixels), rgb_to_y(hr.pixels))
        assert version.psnr_here == pytest.approx(here)
        assert version.psnr != version.psnr_here
    assert (tuned.pixels.astype(int) - dense.pixels == 40).all()


def run_folder(root: Path, *names: str) -> RunFolder:
    for name, folder in (("dense", "10_model"), ("pruned", "20_pruned"), ("tuned", "40_tuned")):
        if name in names:
            (root / folder).mkdir(parents=True)
            (root / folder / f"{name}.safetensors").touch()
    return RunFolder(root, [], {})


def test_artifacts_are_the_networks_and_the_last_that_was_rounded(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "dense", "tuned")
    exports = tmp_path / "run" / "60_exported"
    exports.mkdir()
    found = []
    for artifact, precision, folder in (
        ("early.onnx", "int8+fp32", run.root),
        ("last.onnx", "int8", run.root),
        ("gone.onnx", "int8", run.root),
        ("half.onnx", "fp16", run.root),
        ("other.onnx", "int8", tmp_path),
        ("untold.onnx", None, run.root),
    ):
        one = measurement(artifact, 5, None, 1e9, precision=precision)
        found.append(SourceEntry(row_of(one, one), one, folder))
        if artifact != "gone.onnx":
            (exports / artifact).touch()
    assert find_artifacts(run, Evidence(found)) == {
        "dense": run.root / "10_model" / "dense.safetensors",
        "tuned": run.root / "40_tuned" / "tuned.safetensors",
        "int8": exports / "last.onnx",
    }


def test_what_cannot_be_shown_is_told_and_the_rest_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run_folder(tmp_path / name, *files) for name, files in
            (("empty", ()), ("bad", ("dense",)), ("good", ("dense", "tuned")))]  # fmt: skip

    def make(artifacts: dict[str, Path], data: str) -> list[object]:
        if "tuned" not in artifacts:
            raise UserError("It <broke>.")
        return [data]

    monkeypatch.setattr(crops, "make_crops", make)
    assert try_crops(runs, Evidence(), "set") == (["set"], ["No pictures of 'bad': It <broke>."])


def opened(uri: str, kind: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_are_exact_and_overviews_small() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert np.array_equal(np.asarray(opened(data_uri(image), "png")), image)
    assert opened(data_uri(image, width=24), "jpeg").size == (24, 16)
    assert opened(data_uri(image[:1], width=24), "jpeg").size == (24, 1)
