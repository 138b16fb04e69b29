"""What it looks like: regions with a slider between two versions; the page's script moves it."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from srdeploy.reporting import html
from srdeploy.reporting.crops import Crop, data_uri

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData

_LEAD = "Drag across a picture to move the boundary; choose what stands on each side."


def pictures(data: ReportData) -> str | None:
    """A figure for each region."""
    figures = "".join(_picture(crop) for crop in data.crops)
    return html.lead(_LEAD) + figures if figures else None


def _picture(crop: Crop) -> str:
    rows, columns = crop.region
    ratio = f"{columns.stop - columns.start} / {rows.stop - rows.start}"
    images = "".join(
        f'<img alt="{escape(v.label)}" data-version="{n}" src="{data_uri(v.pixels)}"'
        f"{'' if n in (0, len(crop.versions) - 1) else ' hidden'}>"
        for n, v in enumerate(crop.versions)
    )
    facts = [
        {"label": v.label, "here": _db(v.psnr_here), "all": _db(v.psnr)} for v in crop.versions
    ]
    labels = [version.label for version in crop.versions]
    left, right = (labels.index(label) for label in crop.between)
    tall, wide = crop.size
    box = (
        f"left:{100 * columns.start / wide:.2f}%;top:{100 * rows.start / tall:.2f}%;"
        f"width:{100 * (columns.stop - columns.start) / wide:.2f}%;"
        f"height:{100 * (rows.stop - rows.start) / tall:.2f}%"
    )
    told = "".join(
        f"<tr><th>{escape(v.label)}</th><td>{_db(v.psnr_here)}</td><td>{_db(v.psnr)}</td></tr>"
        for v in crop.versions
        if v.psnr is not None
    )
    return (
        f'<figure class="card crop" data-left="{left}" data-right="{right}">'
        f'<div class="sides"><div class="choice left" role="group" aria-label="left side"></div>'
        f'<div class="choice right" role="group" aria-label="right side"></div></div>'
        f'<div class="stage" style="aspect-ratio:{ratio}">{images}<div class="divider"></div>'
        f'<input type="range" min="0" max="100" value="50" step="0.5" '
        f'aria-label="boundary between the two versions"></div>'
        f'<div class="beside"><div class="overview"><img alt="{escape(crop.image)}, whole" '
        f'src="{data_uri(crop.whole, width=240)}"><i style="{box}"></i></div>'
        f"<table><thead><tr><th></th><th>PSNR here</th><th>whole image</th></tr></thead>"
        f"<tbody>{told}</tbody></table></div>"
        f"<figcaption>{escape(crop.image)}: where {escape(' and '.join(crop.between))} differ "
        f"most. {escape(crop.protocol)}; of the region, nothing is cut off. The image's own "
        "pixels, enlarged.</figcaption>"
        f'<script type="application/json">{_inert(facts)}</script></figure>'
    )


def _inert(facts: object) -> str:
    """JSON that ends no script, whatever the names in it."""
    return json.dumps(facts).replace("<", "\\u003c")


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} dB"
