"""Comparing without networks: which region, which figures, which words, and how much is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, to_uint8, write_png
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.upscaling import compare
from srdeploy.upscaling.compare import PictureComparison, PictureVersion, find_original, find_region
from srdeploy.upscaling.sheet import Panel

LR = np.random.default_rng(3).integers(40, 200, (70, 90, 3), np.uint8)
OWN = LR.repeat(2, 0).repeat(2, 1)


class Brighter:
    """A network that makes the result brighter in one place; tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def plan(self, *asked: Any) -> SimpleNamespace:
        self.asked.append(asked)
        return SimpleNamespace()

    def bands(self, picture: Picture, dtype: type, grid: object, alpha: bool) -> Iterator:
        assert (dtype, alpha) == (np.uint8, False)
        result = OWN.copy()
        result[10:40, 100:140] += 6
        yield result[:50]
        yield result[50:]


def compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versions: list[PictureVersion],
    *,
    original: np.ndarray | None = None,
    lr: np.ndarray = LR,
    bands: list[np.ndarray] | None = None,
    alpha: bool = False,
) -> tuple[dict, dict]:
    """The figures, and what would be drawn."""
    drawn: dict = {}

    def draw_sheet(panels: list[Panel], whole: np.ndarray, region: object, caption: str) -> Any:
        drawn.update(panels=panels, whole=whole, region=region, caption=caption)
        return SimpleNamespace(save=lambda path, format: Path(path).write_text(format))

    monkeypatch.setattr(compare, "draw_sheet", draw_sheet)
    where = None
    if original is not None:
        where = tmp_path / "a.png"
        write_png(where, original)
    comparison = PictureComparison(versions, where, "id")
    assert comparison.identity == f"id {where}"
    assert comparison.sheet(Path("x/a_x2.tiff")) == Path("x/a_x2_compare.png")
    with comparison.begin(tmp_path / "source.png", Picture(lr), 2) as found:
        for band in bands or [OWN[:33], OWN[33:]]:
            found.add(band, alpha)
        figures = found.finish(tmp_path / "s.png")
    assert (tmp_path / "s.png").read_text() == "PNG"
    return figures, drawn


def test_one_network_without_an_original_is_held_against_bicubic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, drawn = compared(tmp_path, monkeypatch, [PictureVersion("dense", "d.onnx", None)])
    bicubic = to_uint8(imresize(LR.astype(np.float64), 2))
    region = find_region(bicubic, OWN)
    inner = slice(2, -2), slice(2, -2)
    distance = psnr(rgb_to_y(OWN)[inner], rgb_to_y(bicubic)[inner])
    assert drawn["region"] == region
    assert drawn["caption"] == "psnr[y, crop=2, u8, matlab] to bicubic, as there is no original"
    assert np.array_equal(drawn["whole"], bicubic)
    shown = [(p.label, p.name, p.text) for p in drawn["panels"]]
    assert shown == [("bicubic", "", ""), ("dense", "d.onnx", f"{distance:.2f} dB to bicubic")]
    assert np.array_equal(drawn["panels"][0].pixels, bicubic[region])
    assert np.array_equal(drawn["panels"][1].pixels, OWN[region])
    rows, columns = region
    assert figures == {
        "sheet": str(tmp_path / "s.png"),
        "region": [columns.start, rows.start, columns.stop, rows.stop],
        "protocol": "psnr[y, crop=2, u8, matlab]",
        "versions": [
            {"label": "bicubic", "name": ""},
            {"label": "dense", "name": "d.onnx", "psnr_to_bicubic": pytest.approx(distance)},
        ],
    }


@pytest.mark.parametrize("strip", [1, 16, 139, 140, 512])
def test_bicubic_is_made_in_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(compare, "_STRIP", strip)
    _, drawn = compared(tmp_path, monkeypatch, [PictureVersion("dense", "d.onnx", None)])
    assert np.array_equal(drawn["whole"], to_uint8(imresize(LR.astype(np.float64), 2)))


def test_two_networks_with_an_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brighter = Brighter()
    versions = [PictureVersion("dense", "d", None), PictureVersion("pruned", "p", brighter)]  # type: ignore[arg-type]
    original = np.pad(OWN, ((0, 1), (0, 1), (0, 0)), mode="edge")  # cut to the factor
    original[:100, :90] += 20
    figures, drawn = compared(tmp_path, monkeypatch, versions, original=original)
    assert brighter.asked == [((70, 90), 180 * 2 * 3, 0)]
    region = drawn["region"]
    assert region[0].start <= 10
    assert region[0].stop >= 40
    assert region[1].start <= 100
    assert region[1].stop >= 140
    assert drawn["caption"] == (
        "psnr[y, crop=2, u8, matlab] of the whole picture; of the region, nothing is cut off"
    )
    assert np.array_equal(drawn["whole"], original[:140, :180])
    bicubic, dense, _, hr, difference = drawn["panels"]
    assert np.array_equal(hr.pixels, original[region])
    assert (hr.label, hr.name, hr.text) == ("HR", "", "")
    assert (difference.label, difference.name) == ("difference", "of dense and pruned, 32 times")
    assert difference.pixels.max() == round(32 * 6 * 219 / 255)
    assert difference.pixels.shape == (120, 160, 3)
    standard = PROTOCOLS["standard"]
    whole = psnr(standard.planes(OWN, 2), standard.planes(original[:140, :180], 2))
    here = psnr(rgb_to_y(OWN[region]), rgb_to_y(original[region]))
    assert dense.text == f"{here:.2f} dB here, {whole:.2f} dB in all"
    assert [row["label"] for row in figures["versions"]] == ["bicubic", "dense", "pruned"]
    assert figures["versions"][1]["psnr"] == pytest.approx(whole, abs=1e-9)
    assert figures["versions"][1]["psnr_region"] == pytest.approx(here, abs=1e-9)
    assert bicubic.figures["psnr"] < dense.figures["psnr"]


@pytest.mark.parametrize(
    ("lr", "bands", "alpha"),
    [
        (LR[..., :1], [OWN[..., :1]], False),
        (np.dstack([LR, LR[..., :1]]), [np.dstack([OWN, OWN[..., :1] // 2])], True),
        (np.dstack([LR, LR[..., :1]]), [OWN], False),
        (LR.astype(np.uint16) * 257, [OWN.astype(np.uint16) * 257], False),
    ],
    ids=["grey", "alpha", "alpha left out", "16 bits"],
)
def test_kinds_of_pictures(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lr: np.ndarray,
    bands: list[np.ndarray],
    alpha: bool,
) -> None:
    grey = lr.shape[2] == 1
    _, drawn = compared(
        tmp_path, monkeypatch, [PictureVersion("d", "", None)], lr=lr, bands=bands, alpha=alpha
    )
    result = np.repeat(OWN[..., :1], 3, 2) if grey else OWN
    colour = np.repeat(LR[..., :1], 3, 2) if grey else LR
    bicubic = to_uint8(imresize(colour.astype(np.float64), 2))
    assert np.array_equal(drawn["panels"][0].pixels, bicubic[drawn["region"]])
    assert np.array_equal(drawn["panels"][1].pixels, result[drawn["region"]])


@pytest.mark.parametrize("size", [(141, 181), (140, 180), (141, 180)])
def test_an_original_may_have_what_the_factor_cuts_off(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    write_png(tmp_path / "a.png", np.zeros((*size, 3), np.uint8))
    with PictureComparison([], tmp_path / "a.png", "").begin(tmp_path, Picture(LR), 2) as found:
        assert found._original is not None
        assert found._original.shape == (140, 180, 3)


@pytest.mark.parametrize("size", [(142, 180), (140, 182), (139, 180), (140, 179)])
def test_other_originals_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    write_png(tmp_path / "a.png", np.zeros((*size, 3), np.uint8))
    told = rf"{size[1]}x{size[0]}, so it is not the original of '.*source' at x2 \(180x140\)"
    comparison = PictureComparison([], tmp_path / "a.png", "")
    with (
        pytest.raises(UserError, match=told),
        comparison.begin(tmp_path / "source", Picture(LR), 2),
    ):
        pass


def test_what_it_holds_is_told_and_waits_on_disk_where_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = 3 * 140 * 180
    versions = [PictureVersion("a", "", None), PictureVersion("b", "", None)]
    for limit, held in ((canvas, 3 * canvas), (canvas - 1, 0)):
        monkeypatch.setattr(compare, "_ON_DISK", limit)
        with PictureComparison(versions, None, "").begin(tmp_path, Picture(LR), 2) as found:
            assert found.held == held
            folder = found._folder
            assert (folder is None) == (held > 0)
    assert folder is not None
    assert not folder.exists()


def panel(*levels: int) -> Panel:
    return Panel("p", "", np.array(levels, np.uint8)[None, :, None].repeat(3, 2), "")


@pytest.mark.parametrize(
    ("more", "gain"), [(1, 32), (9, 32), (10, 16), (18, 16), (19, 8), (37, 8), (38, 4), (75, 2),
                       (149, 1), (255, 1)],
)  # fmt: skip
def test_differences_are_made_visible_without_cutting_them_off(more: int, gain: int) -> None:
    found = compare._difference(panel(0, 0), panel(0, more))
    assert found.name == f"of p and p, {gain} times"
    assert found.pixels[0, 0].tolist() == [0, 0, 0]
    assert found.pixels[0, 1, 0] == pytest.approx(gain * more * 219 / 255, abs=1)


@pytest.mark.parametrize(
    ("size", "spot", "window", "found"),
    [
        ((64, 80), (0, 0), (16, 24), (0, 0)),
        ((64, 80), (63, 79), (16, 24), (48, 56)),
        ((64, 80), (32, 40), (16, 24), (24, 24)),
        ((65, 81), (64, 80), (16, 24), (49, 57)),
        ((10, 80), (0, 72), (16, 24), (0, 56)),
        ((1100, 40), (1050, 8), (8, 8), (1048, 8)),
        ((7, 7), (3, 3), (5, 5), (0, 0)),
    ],
)  # fmt: skip
def test_the_first_window_that_holds_the_spot(
    size: tuple[int, int], spot: tuple[int, int], window: tuple[int, int], found: tuple[int, int]
) -> None:
    a = np.full((*size, 3), 90, np.uint8)
    b = a.copy()
    b[spot] = 200
    rows, columns = find_region(a, b, window)
    assert (rows.start, columns.start) == found
    assert rows.stop - rows.start == min(window[0], size[0])
    assert columns.stop - columns.start == min(window[1], size[1])


def test_psnr_is_summed_in_strips() -> None:
    a, b = (np.random.default_rng(n).integers(0, 256, (1030, 20, 3), np.uint8) for n in (0, 1))
    for border in (0, 3):
        inner = slice(border, 1030 - border), slice(border, 20 - border)
        expected = psnr(rgb_to_y(a[inner]), rgb_to_y(b[inner]))
        assert compare._psnr(a, b, border) == pytest.approx(expected, abs=1e-9)
    assert compare._psnr(a, a, 0) == float("inf")
    assert compare._psnr(a, b, 10) == float("inf")  # nothing is left
    grey = np.full((2, 2, 3), 10, np.uint8)
    assert compare._psnr(grey, grey + 1, 0) == pytest.approx(49.45, abs=0.01)  # 219 levels of 255


def test_where_originals_are_looked_for(tmp_path: Path) -> None:
    for name in (
        "HR/a.png",
        "HR/bx2.png",
        "LR_bicubic/X2/ax2.png",
        "else/X2/ax2.png",
        "A/X2/ax2.png",
    ):
        write_png(tmp_path / name, LR)
    lr = tmp_path / "LR_bicubic" / "X2" / "ax2.png"
    assert find_original(lr, 2, None) == tmp_path.resolve() / "HR" / "a.png"
    assert find_original(lr, 3, None) is None  # ax2 is no name at x3
    assert find_original(lr.with_name("bx2.png"), 2, None) == tmp_path.resolve() / "HR" / "bx2.png"
    for name in ("else", "A"):
        assert find_original(tmp_path / name / "X2" / "ax2.png", 2, None) is None
    (tmp_path / "HR").rename(tmp_path / "gone")
    assert find_original(lr, 2, None) is None
