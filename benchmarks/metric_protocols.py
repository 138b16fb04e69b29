"""What each choice of a metric protocol is worth in dB: one change at a time, on the same results.

python benchmarks/metric_protocols.py DATA     # DATA holds benchmark/Set5 and weights/
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from results_io import table, write
from torch.nn import functional

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.images import rgb_to_y, to_uint8
from srdeploy.quality.metrics import psnr, ssim
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.runtime.session import Session

SCALE = 2
NETWORKS = {
    "bicubic": "bicubic",
    "EDSR f64b5": "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt",
    "SMSR": "weights/smsr/SMSR_X2_model_1000.pt",
}
Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def cut(image: Array, border: int) -> Array:
    """Without ``border`` pixels on each side."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def full_range_y(image: Array) -> Array:
    """JPEG's luma, 0..255, as Pillow's ``convert("YCbCr")`` and OpenCV compute it."""
    return image @ np.array([0.299, 0.587, 0.114])


def uniform_ssim(a: Array, b: Array, window: int = 7) -> float:
    """SSIM of a 7x7 box with the unbiased covariance: scikit-image's default."""
    boxes = [sliding_window_view(x.astype(float), (window, window)) for x in (a, b)]
    (mean_a, mean_b), n = (box.mean((2, 3)) for box in boxes), window**2
    centred = [box - box.mean((2, 3), keepdims=True) for box in boxes]
    var_a, var_b = ((c * c).sum((2, 3)) / (n - 1) for c in centred)
    both = (centred[0] * centred[1]).sum((2, 3)) / (n - 1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((value / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _on_y(
    compare: Metric, border: int = SCALE, luma: Callable[[Array], Array] = rgb_to_y
) -> Metric:
    return lambda sr, hr: compare(cut(luma(to_uint8(sr)), border), cut(luma(hr), border))


PSNRS: dict[str, Metric] = {
    "`standard`": _on_y(psnr),
    "no border cut": _on_y(psnr, 0),
    "border 6 + scale": _on_y(psnr, SCALE + 6),
    "output not rounded": lambda sr, hr: psnr(cut(rgb_to_y(sr), SCALE), cut(rgb_to_y(hr), SCALE)),
    "Y rounded, too": _on_y(psnr, luma=lambda image: to_uint8(rgb_to_y(image))),
    "full-range Y": _on_y(psnr, luma=full_range_y),
    "RGB (`rgb`)": lambda sr, hr: psnr(cut(to_uint8(sr), SCALE), cut(hr, SCALE)),
}
SSIMS: dict[str, Metric] = {
    "`standard`": _on_y(ssim),
    "7x7 box": _on_y(uniform_ssim),
    "full-range Y": _on_y(ssim, luma=full_range_y),
    "RGB": lambda sr, hr: ssim(cut(to_uint8(sr), SCALE), cut(hr, SCALE)),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    data = options.parse_args().data
    pairs = open_benchmark(data / "benchmark/Set5", SCALE)
    found: dict[str, dict[str, float]] = {}
    for name, file in NETWORKS.items():
        scale = {"scale": SCALE} if file == "bicubic" else {}
        with open_session(file if file == "bicubic" else data / file, **scale) as session:
            found[name] = _figures(session, pairs)
    rows = [[what, *(_shown(found[n], what) for n in NETWORKS)] for what in found["SMSR"]]
    text = (
        "Mean over Set5's five images, x2; the same 8-bit low-resolution files and the same "
        "networks' outputs, one choice changed at a time against `standard` "
        f"(`{PROTOCOLS['standard'].label(SCALE)}`); in brackets the difference.\n\n"
    )
    text += table(["PSNR in dB, SSIM", *NETWORKS], rows)
    write("metric-protocols-set5-x2", "What a metric's choices are worth", text, found,
          "python benchmarks/metric_protocols.py DATA")  # fmt: skip


def _figures(session: Session, pairs: list[Pair]) -> dict[str, float]:
    images = [(upscale_rgb(session, pair.lr(), SCALE), pair.hr()) for pair in pairs]
    rows = {f"PSNR, {name}": _mean(metric, images) for name, metric in PSNRS.items()}
    for name, shrink in SHRINKS.items():
        other = [(upscale_rgb(session, shrink(hr), SCALE), hr) for _, hr in images]
        rows[f"PSNR, input by {name}"] = _mean(PSNRS["`standard`"], other)
    errors = [10 ** (-PSNRS["`standard`"](sr, hr) / 10) for sr, hr in images]
    rows["PSNR, of the mean error"] = float(-10 * np.log10(np.mean(errors)))
    return rows | {f"SSIM, {name}": _mean(metric, images) for name, metric in SSIMS.items()}


def _mean(metric: Metric, images: list[tuple[Array, Array]]) -> float:
    return float(np.mean([metric(sr, hr) for sr, hr in images]))


def _pillow_lr(hr: Array) -> Array:
    """Shrunk by Pillow: antialiased too, but a = -0.5 in other arithmetic and borders."""
    height, width = hr.shape[:2]
    size = (width // SCALE, height // SCALE)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def _sampled_lr(hr: Array) -> Array:
    """Shrunk without a low-pass filter, as OpenCV's and torch's bicubic do by default."""
    x = torch.from_numpy(hr.transpose(2, 0, 1)[None].astype(np.float32))
    y = functional.interpolate(x, scale_factor=1 / SCALE, mode="bicubic", align_corners=False)
    return to_uint8(y[0].numpy().transpose(1, 2, 0))


SHRINKS = {"Pillow's bicubic": _pillow_lr, "OpenCV's or torch's bicubic": _sampled_lr}


def _shown(figures: dict[str, float], what: str) -> str:
    kind = what.partition(",")[0]
    digits = 4 if kind == "SSIM" else 2
    base = figures[f"{kind}, `standard`"]
    value = figures[what]
    return f"{value:.{digits}f}" + ("" if value == base else f" ({value - base:+.{digits}f})")


if __name__ == "__main__":
    main()
