from __future__ import annotations

import math

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.metrics import PROTOCOLS, Protocol, get_protocol, psnr, ssim


def test_psnr_of_known_errors() -> None:
    a = np.zeros((8, 9), np.uint8)
    assert psnr(a, a + np.uint8(255)) == 0.0
    assert psnr(a, a + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(a, a) == math.inf
    # uint8 must not wrap around.
    assert psnr(a + np.uint8(1), a) == psnr(a, a + np.uint8(1))


def ssim_by_windows(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13 to 17, one window at a time with its two-dimensional weights."""
    g = np.exp(-(np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2)) / (2 * 1.5**2))
    g /= g.sum()
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (g * x).sum(), (g * y).sum()
            vx, vy = (g * (x - mx) ** 2).sum(), (g * (y - my) ** 2).sum()
            cov = (g * (x - mx) * (y - my)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append(
                (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return float(np.mean(values))


def test_ssim_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 255, (17, 14))
    b = np.clip(a + rng.normal(0, 30, a.shape), 0, 255)
    assert ssim(a, b) == pytest.approx(ssim_by_windows(a, b), abs=1e-9)
    assert ssim(a, a) == pytest.approx(1.0)


def test_ssim_averages_planes() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 255, (2, 20, 13, 3))
    planes = [ssim(a[..., c], b[..., c]) for c in range(3)]
    assert ssim(a, b) == pytest.approx(np.mean(planes))


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="shapes"):
        psnr(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="shapes"):
        psnr(np.zeros((0, 4)), np.zeros((0, 4)))
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(np.zeros((10, 40)), np.zeros((10, 40)))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("standard", "psnr[y, crop=2, u8, matlab]"),
        ("vdsr", "psnr[y, crop=2, double, matlab]"),
        ("srcnn", "psnr[y, crop=2, y8, matlab]"),
        ("rgb", "psnr[rgb, crop=2, u8]"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert PROTOCOLS[name].name == name
    assert PROTOCOLS[name].about
    assert get_protocol(name).label(2) == label
    assert get_protocol(name).label(2, "ssim") == label.replace("psnr", "ssim")


def test_labels_tell_all_protocols_apart() -> None:
    rows = [*PROTOCOLS.values()]
    rows.append(Protocol("own", "y", "u8", "none", "matlab", crop_per_scale=1, crop_extra=6))
    labels = {row.label(4) for row in rows}
    assert len(labels) == len(rows)
    assert "psnr[y, crop=10, double, lr=u8, matlab]" in labels


def test_misspelt_protocol_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'standard'"):
        get_protocol("standart")


def test_planes_round_where_the_protocol_says() -> None:
    image = np.random.default_rng(0).uniform(-5, 260, (12, 14, 3))
    luma = image @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    cut = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(PROTOCOLS["vdsr"].planes(image, 3), luma[cut])
    np.testing.assert_allclose(PROTOCOLS["vdsr"].planes(luma, 3), luma[cut])
    np.testing.assert_array_equal(PROTOCOLS["srcnn"].planes(image, 3), np.floor(luma + 0.5)[cut])
    rounded = np.clip(np.floor(image + 0.5), 0, 255)
    np.testing.assert_array_equal(PROTOCOLS["rgb"].planes(image, 3), rounded[cut])
    np.testing.assert_allclose(
        PROTOCOLS["standard"].planes(image, 3),
        (rounded @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[cut],
    )
