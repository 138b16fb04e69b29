"""Code values and colours, against formulas written out on their own."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.video import colour as c
from srdeploy.video.layout import Layout, layout_of, planar

SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def formula(rgb: np.ndarray, kr: float, kb: float, bits: int, full: bool) -> list[np.ndarray]:
    """ITU-T H.273, 8.3, in float64: codes of Y, Cb, Cr."""
    y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
    cb, cr = 0.5 * (rgb[2] - y) / (1 - kb), 0.5 * (rgb[0] - y) / (1 - kr)
    top, step = 2**bits - 1, 2 ** (bits - 8)
    if full:
        return [top * y, top * cb + 2 ** (bits - 1), top * cr + 2 ** (bits - 1)]
    return [step * (219 * y + 16), step * (224 * cb + 128), step * (224 * cr + 128)]


def layout(name: str) -> Layout:
    found = layout_of(name)
    assert found is not None
    return found


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ["yuv444p", "yuv444p10le", "yuv444p12le"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_codes_are_those_of_the_standard_both_ways(matrix: int, name: str, full: bool) -> None:
    there, told = layout(name), c.Colour(matrix, 1, 1, full)
    rgb = np.random.default_rng(matrix).random((3, 24, 40))
    wanted = formula(rgb, *SHARES[matrix], there.bits, full)

    signals = rgb.astype(np.float32)
    got = c.rgb_to_signals(signals, told)
    codes = [c.to_codes(plane.copy(), there, told, k > 0) for k, plane in enumerate(got)]
    for mine, theirs in zip(codes, wanted, strict=True):
        assert mine.dtype == there.dtype
        top = 2**there.bits - 1
        assert np.abs(mine - np.clip(theirs, 0, top)).max() <= 0.5 + 2e-3

    exact = [np.asarray(plane, np.float64) for plane in wanted]
    units = [c.to_unit(plane, there, told, k > 0) for k, plane in enumerate(exact)]
    back = c.signals_to_rgb(np.stack(units), told)
    assert np.abs(back - rgb).max() < 2e-6


def test_a_601_709_mistake_would_be_seen() -> None:
    there = layout("yuv444p")
    green = np.zeros((3, 1, 1), np.float32)
    green[1] = 1
    codes = {}
    for matrix in (1, 6, 9):
        told = c.Colour(matrix, 1, 1, False)
        luma = c.to_codes(c.rgb_to_luma(green, told), there, told, False)
        codes[matrix] = int(luma[0, 0])
    assert codes == {1: 173, 6: 145, 9: 164}


@pytest.mark.parametrize(
    ("size", "tags", "matrix", "full", "said"),
    [
        ((720, 960), (2, 2, 2, 0), 1, False, "matrix and range"),
        ((480, 720), (2, 2, 2, 0), 6, False, "matrix and range"),
        ((576, 720), (2, 2, 2, 1), 5, False, "matrix"),
        ((480, 720), (1, 2, 2, 1), 1, False, ""),
        ((480, 720), (9, 9, 16, 2), 9, True, ""),
        ((480, 720), (2, 9, 16, 1), 9, False, "matrix"),
    ],
)
def test_what_is_untold_is_taken_by_the_usual_rule_and_said(
    size: tuple[int, int], tags: tuple[int, int, int, int], matrix: int, full: bool, said: str
) -> None:
    found, sentence = c.told(layout("yuv420p"), size, *tags)
    assert (found.matrix, found.full) == (matrix, full)
    assert (f"its {said}:" in sentence) if said else not sentence
    assert c.UNTOLD not in (found.matrix, found.primaries, found.transfer)


def test_full_range_by_name_and_rgb_need_no_rule() -> None:
    assert c.told(layout("yuvj420p"), (480, 720), 5, 5, 6, 0) == (c.Colour(5, 5, 6, True), "")
    assert c.told(layout("gbrp"), (480, 720), 2, 2, 2, 0)[0].full


def test_a_matrix_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="matrix 10"):
        c.check_matrix(c.Colour(10, 9, 16, False))


def test_pixel_formats() -> None:
    assert planar("nv12").name == "yuv420p"
    assert planar("p010le").bits == 10
    assert planar("yuv422p10be").name == "yuv422p10le"
    assert planar("rgb24").planes == (2, 0, 1)
    assert layout("yuva420p").planes == (0, 1, 2, 3)
    assert layout("yuv420p").shape(1, 37, 51) == (19, 26)
    for name in ("grayf32le", "bayer_rggb8", "yuv420", "grayp", "gray10", "xyz12le", "gbrpf32le"):
        assert layout_of(name) is None
        with pytest.raises(UserError, match=f"{name} is not read"):
            planar(name)
