"""What is measured of two images: one row per metric, and the code of PSNR and SSIM."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srdeploy.quality.metric_weights import DISTS, LPIPS
from srdeploy.util.plugins import Table, code_of

Colour = Literal["y", "rgb"]
"""Which planes of an image are compared."""

Planes = NDArray[np.float64]
"""What is compared of an image: ``[H, W]`` (luma) or ``[H, W, 3]`` (RGB), in 0..255."""

RESERVED = ("name", "figures", "colour", "protocol", "data", "bicubic")
"""Keys that stand beside figures in JSON, so that no metric can have such a name."""


@dataclass(frozen=True)
class Metric:
    """One row of the table: how far an image is from the original, as one number.

    Attributes:
        name: The key of its figures everywhere: lower-case letters and digits.
        title: What heads its column.
        unit: What stands behind its figures; empty for a plain number.
        digits: Decimals in tables.
        function: ``module:name``, imported when first needed, or the function itself. It is called
            with two :data:`Planes` of one shape, the result's and the original's, and returns the
            figure; it raises ValueError where the shapes differ.
        low: The lowest figure that two images can have,
        high: and the highest.
        higher_is_better: Whether a larger figure means that the images are more alike.
        symmetric: Whether exchanging the two images leaves the figure as it is.
        smallest: Pixels that the shorter side of an image must have.
        fine_digits: Decimals in ``srdeploy eval``; None for ``digits``.
        reference: What the result is compared with: the original, or what the dense network, from
            which a pruned or quantised one was made, makes of the same input. The latter is known
            only where that network is.
        missing: Says why it cannot be measured here (None: it can), as part of a sentence. A metric
            that cannot is left out.
    """

    name: str
    title: str
    unit: str
    digits: int
    function: str | Callable[[Planes, Planes], float]
    low: float
    high: float
    higher_is_better: bool = True
    symmetric: bool = True
    smallest: int = 1
    fine_digits: int | None = None
    reference: Literal["original", "dense"] = "original"
    missing: Callable[[], str | None] = lambda: None

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9]*", self.name) or self.name in RESERVED:
            raise ValueError(
                f"{self.name!r} names no metric: use lower-case letters and digits, and none of "
                f"{', '.join(RESERVED)}"
            )

    @property
    def best(self) -> float:
        """The figure of an image that equals its original."""
        return self.high if self.higher_is_better else self.low

    def code(self) -> Callable[[Planes, Planes], float]:
        """What :attr:`function` names.

        Raises:
            SrdeployError: it is a plug-in's and cannot be imported.
        """
        return code_of(self.function) if isinstance(self.function, str) else self.function

    def measure(self, result: Planes, original: Planes) -> float:
        """The figure of one image; ``original`` is what :attr:`reference` says.

        Raises:
            ValueError: the shapes differ, or a side is shorter than :attr:`smallest`.
            SrdeployError: the function is a plug-in's and cannot be imported.
        """
        return float(self.code()(result, original))

    def lost(self, before: float, after: float) -> float:
        """How much worse the second figure is, in the metric's unit; a gain is negative."""
        return lost(before, after) if self.higher_is_better else lost(after, before)

    def worst(self, *figures: float) -> float:
        """Of several figures the one that tells of the largest difference."""
        return min(figures) if self.higher_is_better else max(figures)

    def heading(self, between: str = " ") -> str:
        """What heads a column: the title, and the unit where there is one."""
        return between.join(filter(None, (self.title, self.unit)))

    def number(self, figure: float | None, none: str) -> str:
        """A figure in a table; ``none`` where there is none."""
        return none if figure is None else f"{figure:.{self.digits}f}"

    def exact(self, figure: float, width: int = 0) -> str:
        """A figure with all decimals that are shown anywhere."""
        digits = self.digits if self.fine_digits is None else self.fine_digits
        return f"{figure:{width or ''}.{digits}f}"

    def cell(self, figure: float) -> str:
        """The same with its unit, as wide as every other of its column."""
        width = len(self.exact(min(self.high, 999)))
        return " ".join(filter(None, (self.exact(figure, width), self.unit)))

    def told(self, figure: float, title: bool = True) -> str:
        """The same in a sentence. PSNR stands without its title: in dB it is known by its unit."""
        text = " ".join(filter(None, (self.exact(figure), self.unit)))
        return f"{self.title} {text}" if title and self.name != "psnr" else text


def lost(before: float, after: float) -> float:
    """What a figure falls by, higher being better: nothing, too, from infinite to infinite."""
    return 0.0 if before == after else before - after


def psnr(a: NDArray, b: NDArray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays of one shape, peak 255; inf if they are equal.

    Raises:
        ValueError: the shapes differ, or are empty.
    """
    _check_pair(a, b)
    error = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


# Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, section III.B and III.C.
_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SSIM_WINDOW = len(_WINDOW)


def ssim(a: NDArray, b: NDArray) -> float:
    """Mean structural similarity (Wang et al. 2004) as the super-resolution tables compute it.

    An 11x11 Gaussian window of sigma 1.5 at every position where it fits whole, K1 = 0.01,
    K2 = 0.03, range 255, no downsampling; the authors' MATLAB ``ssim_index``. The Gaussian is
    separable, so it is applied along each side in turn.

    Args:
        a: ``[H, W]`` or ``[H, W, C]`` in 0..255 (C planes are averaged).
        b: the same shape.

    Raises:
        ValueError: the shapes differ, or a side is shorter than the window.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least {SSIM_WINDOW} pixels a side, got {a.shape}")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return float(np.mean(luminance * structure))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian window's weighted mean at every valid position of the first two axes."""
    for axis in (0, 1):
        n = image.shape[axis] - SSIM_WINDOW + 1
        shifted = np.moveaxis(image, axis, 0)
        total = _WINDOW[0] * shifted[:n]
        for offset in range(1, SSIM_WINDOW):
            total += _WINDOW[offset] * shifted[offset : offset + n]
        image = np.moveaxis(total, 0, axis)
    return image


def _check_pair(a: NDArray, b: NDArray) -> None:
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"cannot compare images of shapes {a.shape} and {b.shape}")


METRICS: Table[Metric] = Table(
    "metrics",
    (
        Metric("psnr", "PSNR", "dB", 2, psnr, low=0.0, high=float("inf"), fine_digits=3),
        Metric("ssim", "SSIM", "", 4, ssim, low=-1.0, high=1.0, smallest=SSIM_WINDOW),
        Metric(
            "agreement",
            "agreement",
            "dB",
            2,
            psnr,
            low=0.0,
            high=float("inf"),
            fine_digits=3,
            reference="dense",
        ),
        Metric(
            "lpips",
            "LPIPS",
            "",
            4,
            "srdeploy.models.perceptual:lpips",
            low=0.0,
            high=float("inf"),
            higher_is_better=False,
            smallest=31,
            missing=LPIPS.missing,
        ),
        Metric(
            "dists",
            "DISTS",
            "",
            4,
            "srdeploy.models.perceptual:dists",
            low=0.0,
            high=2.0,
            higher_is_better=False,
            smallest=16,
            missing=DISTS.missing,
        ),
    ),
    check=lambda row: None if row.missing() else row.code(),
)
"""Everything that is measured of an image, PSNR first: limits, and what is kept, go by it alone.

It is read when it is used, so that a row that is added counts from then on.
"""


def left_out() -> list[str]:
    """A clause on each metric that cannot be measured here."""
    reasons = {metric.name: metric.missing() for metric in METRICS.values()}
    return [f"metric {name} is not measured: {why}" for name, why in reasons.items() if why]
