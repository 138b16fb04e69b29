"""A page with the masks of SMSR over an image: one HTML file, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srdeploy.sparse.masks import LayerWork, MaskReport, ModuleMask
from srdeploy.util.shipped import ASSETS

SKIPPED = (16, 20, 48)
"""Colour laid over what is skipped."""

_HEAT = np.array(
    [[22, 20, 54], [84, 30, 110], [160, 46, 104], [222, 84, 66], [250, 150, 40], [252, 230, 130]]
)


def overlay(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image with what is skipped dimmed: ``uint8 [H, W, 3]``."""
    dim = (0.22 * image + 0.78 * np.array(SKIPPED)).astype(np.uint8)
    return np.where(mask[..., None], image, dim)


def heat(modules: list[ModuleMask]) -> NDArray[np.uint8]:
    """How many modules compute at each pixel, dark (none) to bright (all): ``uint8 [H, W, 3]``."""
    share = np.mean([module.mask for module in modules], axis=0) * (len(_HEAT) - 1)
    low = np.minimum(share.astype(int), len(_HEAT) - 2)
    part = (share - low)[..., None]
    return (_HEAT[low] * (1 - part) + _HEAT[low + 1] * part).round().astype(np.uint8)


def masks_page(report: MaskReport, image: NDArray[np.uint8], title: str, network: str) -> str:
    """The page's HTML.

    Args:
        report: Of this image.
        image: The network's input, ``uint8 [H, W, 3]``.
        title: Name of the image.
        network: Name of the network.
    """
    height, width = image.shape[:2]
    template = ASSETS / "pages" / "masks.html"
    modules = report.modules
    ramp = ", ".join(f"rgb({r} {g} {b})" for r, g, b in _HEAT)
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        network=html.escape(network),
        size=f"{width} × {height}",
        image=_data_uri(image),
        heat=_data_uri(heat(modules)),
        ramp=ramp,
        count=len(modules),
        ratio=f"{width} / {height}",
        rendering="pixelated" if max(width, height) <= 400 else "auto",
        masked=f"{report.masked_share:.0%}",
        computed=f"{report.computed_macs / 1e9:.2f}",
        macs=f"{report.macs / 1e9:.2f}",
        whole=f"{report.computed_macs / report.macs:.0%}",
        cards="".join(_card(number, module) for number, module in enumerate(modules, 1)),
    )


def _card(number: int, module: ModuleMask) -> str:
    mask = np.zeros((*module.mask.shape, 4), np.uint8)
    mask[~module.mask] = (*SKIPPED, 255)
    rows = "".join(_row(number, layer) for number, layer in enumerate(module.layers, 1))
    return (
        f'<article><header><h2>Module {number}</h2><span class="inside">'
        f"{module.inside:.0%} of pixels computed</span></header>"
        f'<div class="picture"><img class="mask" alt="Mask of module {number}" '
        f'src="{_data_uri(mask)}"></div>'
        '<table><thead><tr><th>layer</th><th class="wide">channels, dense and sparse</th>'
        f"<th>computed</th></tr></thead><tbody>{rows}</tbody></table></article>"
    )


def _row(number: int, layer: LayerWork) -> str:
    share = 100 * layer.dense / (layer.dense + layer.sparse)
    return (
        f'<tr><td>{number}</td><td class="wide"><div class="channels" '
        f'style="--dense:{share:.1f}%"><b>{layer.dense}</b><i>{layer.sparse}</i></div></td>'
        f"<td>{layer.macs:.0%}</td></tr>"
    )


def _data_uri(image: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
