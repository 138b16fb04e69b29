from __future__ import annotations

import math

import numpy as np
import pytest

from srdeploy.quality.metrics import psnr, ssim


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
