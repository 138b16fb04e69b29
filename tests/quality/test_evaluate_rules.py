"""Quality: the smallest picture, what a network is given, and what becomes of the figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, write_png
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.quality import evaluate as module
from srdeploy.quality.evaluate import bicubic_psnr, evaluate
from srdeploy.quality.metrics import SSIM_WINDOW, lost, psnr, ssim
from srdeploy.quality.protocol import PROTOCOLS, Protocol
from srdeploy.quality.result import Quality, psnr_lost
from srdeploy.runtime.bicubic_session import BicubicSession


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(2):
        image = imresize(random.uniform(20, 230, (9, 8, 3)), size=(44, 40)).clip(0, 255)
        write_png(tmp_path / "set" / f"{number}.png", image.astype(np.uint8))
    return tmp_path / "set"


@pytest.mark.parametrize("scale", [2, 3])
def test_the_smallest_picture_that_is_measured(scale: int, tmp_path: Path) -> None:
    border = PROTOCOLS["standard"].crop(scale)
    side = -(-(SSIM_WINDOW + 2 * border) // scale) * scale
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    write_png(tmp_path / "a" / "a.png", noise[:side, :90])
    assert evaluate(BicubicSession(), tmp_path / "a", scale).n_images == 1
    write_png(tmp_path / "b" / "b.png", noise[:90, : side - scale])
    told = rf"b\.png' \({side - scale}x\d+\) is too small to be measured at scale {scale}; remove"
    with pytest.raises(UserError, match=told):
        evaluate(BicubicSession(), tmp_path / "b", scale)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_figures_of_bicubic_by_hand(name: str, folder: Path) -> None:
    protocol = PROTOCOLS[name]
    found = evaluate(BicubicSession(), folder, 2, name)
    expected = []
    for pair in open_benchmark(folder, 2):
        hr = pair.hr()
        lr = pair.lr() if protocol.lr == "u8" else imresize(hr.astype(float), 0.5)
        planes = [protocol.planes(image, 2) for image in (imresize(lr.astype(float), 2), hr)]
        expected.append((psnr(*planes), ssim(*planes)))
    colour = protocol.colour
    rows = [(row[f"psnr_{colour}"], row[f"ssim_{colour}"]) for row in found.per_image]
    assert np.allclose(rows, expected, atol=1e-6)
    assert found.psnr == pytest.approx(np.mean([p for p, _ in expected]))
    assert found.ssim == pytest.approx(np.mean([s for _, s in expected]))
    assert (found.n_images, found.colour, found.protocol) == (2, colour, protocol.label(2))


@pytest.mark.parametrize(
    ("protocol", "plane"),
    [("vdsr", True), ("srcnn", True), ("standard", False), ("rgb", False),
     (Protocol("own", "rgb", "double", "none", None), False)],
)  # fmt: skip
def test_luma_networks_are_asked_for_luma_where_that_is_compared(
    protocol: str | Protocol, plane: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("upscale_y", "upscale_rgb"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, n=name, f=real: (asked.append(n), f(*given))[1]
        )
    network = create("vdsr", n_layers=3, n_feats=4)
    evaluate(network, folder, 2, protocol)
    assert asked == ["upscale_y" if plane else "upscale_rgb"] * 2
    asked.clear()
    evaluate(BicubicSession(), folder, 2, protocol)
    assert asked == ["upscale_rgb"] * 2


def test_luma_is_that_of_the_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def upscale_y(session: object, y: np.ndarray, scale: int) -> np.ndarray:
        seen.append(y)
        return imresize(y, scale)

    monkeypatch.setattr(module, "upscale_y", upscale_y)
    found = evaluate(create("vdsr", n_layers=3, n_feats=4), folder, 2, "vdsr")
    hr = open_benchmark(folder, 2)[0].hr().astype(np.float64)
    assert np.allclose(seen[0], rgb_to_y(imresize(hr, 0.5)))
    assert found.psnr == pytest.approx(bicubic_psnr(folder, 2, PROTOCOLS["vdsr"]), abs=0.05)


@pytest.mark.parametrize("progress", [True, False])
def test_each_picture_advances_the_bar(
    progress: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, str]] = []

    class Bar:
        def update(self, advance: int, *, psnr: str) -> None:
            steps.append((advance, psnr))

    @contextmanager
    def track(title: str, total: int) -> Iterator[Bar]:
        assert (title, total) == ("evaluate", 2)
        yield Bar()

    monkeypatch.setattr(module, "track", track)
    found = evaluate(BicubicSession(), open_benchmark(folder, 2), 2, progress=progress)
    expected = [(1, f"{row['psnr_y']:.2f}") for row in found.per_image]
    assert steps == (expected if progress else [])


def figures(*psnrs: float, colour: str = "y") -> Quality:
    images = [{"name": str(n), f"psnr_{colour}": psnr} for n, psnr in enumerate(psnrs)]
    return Quality(
        figures={"psnr": float(np.mean(psnrs)), "ssim": 0.9},
        colour=colour,
        protocol="label",
        n_images=len(psnrs),
        per_image=images,
    )


def test_figures_are_named_after_their_planes() -> None:
    one = figures(30.0, 32.0, colour="rgb")
    assert one.as_dict() == {
        "psnr_rgb": 31.0, "ssim_rgb": 0.9, "n_images": 2, "protocol": "label",
        "per_image": one.per_image,
    }  # fmt: skip
    for name in ("psnr_y", "ssim_y"):
        with pytest.raises(ValueError, match="label does not compare luma"):
            getattr(one, name)
    assert (figures(30.0).psnr_y, figures(30.0).ssim_y) == (30.0, 0.9)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (figures(30.0), figures(29.5), 0.5),
        (figures(30.0), figures(31.0), -1.0),
        (figures(math.inf, 30.0, colour="rgb"), figures(math.inf, 29.0, colour="rgb"), 0.5),
        (figures(math.inf, 30.0), figures(math.inf, 29.0, 28.0), 0.0),
        (figures(math.inf), figures(30.0, 31.0), math.inf),
        (figures(30.0), figures(math.inf), -math.inf),
    ],
)
def test_what_is_lost(before: Quality, after: Quality, told: float) -> None:
    assert psnr_lost(before, after) == told


def test_what_cannot_be_told_is_no_number() -> None:
    foreign = figures(math.inf, 30.0)
    foreign.per_image[1].pop("psnr_y")
    assert math.isnan(psnr_lost(foreign, figures(math.inf, 29.0)))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(30.0, 29.0, 1.0), (29.0, 30.0, -1.0), (math.inf, math.inf, 0.0), (math.inf, 3.0, math.inf)],
)
def test_lost(before: float, after: float, told: float) -> None:
    assert lost(before, after) == told


@pytest.mark.parametrize(("name", "crop"), [("standard", 3), ("vdsr", 3), ("srcnn", 3), ("rgb", 3)])
def test_borders_are_the_scale(name: str, crop: int) -> None:
    assert PROTOCOLS[name].crop(3) == crop
    own = Protocol("own", "y", "u8", "rgb", None, crop_per_scale=2, crop_extra=1)
    assert own.crop(3) == 7
    assert own.label(3) == "psnr[y, crop=7, u8]"
    odd = Protocol("own", "y", "double", "rgb", "matlab")
    assert odd.label(2) == "psnr[y, crop=2, u8, lr=double, matlab]"
    assert PROTOCOLS[name].planes(np.zeros((20, 30, 3)), 3).shape[:2] == (14, 24)


def test_sides_of_the_window() -> None:
    one = np.random.default_rng(0).uniform(0, 255, (11, 12))
    assert ssim(one, one) == pytest.approx(1)
    for shape in ((10, 12), (12, 10)):
        with pytest.raises(ValueError, match="at least 11 pixels a side"):
            ssim(np.zeros(shape), np.zeros(shape))


def test_figures_do_not_change() -> None:
    with pytest.raises(ValidationError):
        figures(30.0).psnr = 31.0  # type: ignore[misc]
