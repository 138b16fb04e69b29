"""The sections about networks: quality per stage, widths, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from srdeploy.errors import SrdeployError
from srdeploy.export.story import changed_widths
from srdeploy.report import html
from srdeploy.report.crops import Crop, data_uri
from srdeploy.report.figures import stages_of
from srdeploy.report.sources import Evidence, RunFolder
from srdeploy.report.svg import LEAST_DB, Curve, both, curves, stages
from srdeploy.runtime.card_of import read_card_of


@dataclass(frozen=True)
class Widths:
    """Output channels of the layers of a pruned network, before and after."""

    name: str
    layers: dict[str, tuple[int, int]]
    unchanged: int


def stage_quality(runs: Sequence[RunFolder]) -> str:
    """What each stage cost and won back, and the curve of the recovery."""
    figures = []
    for run in runs:
        found = stages_of(run)
        labels = list(dict.fromkeys(label for *_, label in found))
        if len(found) > 1 and len(labels) == 1:
            names, values = [f[0] for f in found], [f[1] for f in found]
            drawing = both(stages, names, values, "mean PSNR, dB", " dB")
            caption = f"{labels[0]}; each network in PyTorch. Under each name: what it changed."
            figures.append(html.figure(drawing, caption, f"{run.root.name}: stage by stage"))
        if curve := _recovery(run):
            drawing = both(curves, [Curve("PSNR", curve[1], 2)], "iteration", "PSNR, dB", dots=True,
                           least=LEAST_DB)  # fmt: skip
            title = f"{run.root.name}: while fine-tuning"
            figures.append(html.figure(drawing, f"Validation: {curve[0]}.", title))
    return "".join(figures)


def _recovery(run: RunFolder) -> tuple[str, list[tuple[float, float]]] | None:
    card = next((card for card in run.cards if card["stage"] == "40_tuned"), None)
    curve = card.get("figures", {}).get("curve", []) if card else []
    points = []
    for entry in curve:
        psnr = entry.get("psnr_y", entry.get("psnr_rgb"))
        if isinstance(psnr, (int, float)) and isinstance(entry.get("iteration"), int):
            points.append((float(entry["iteration"]), float(psnr)))
    return (str(curve[0].get("protocol", "")), points) if len(points) > 1 else None


def find_widths(evidence: Evidence) -> list[Widths]:
    """Of every pruned network that is still there: networks of runs, artifacts beside results."""
    files: list[Path] = []
    for run in evidence.runs:
        path = run.network("pruned") or run.network("tuned")
        files += [path] if path is not None else []
    roots = {run.root for run in evidence.runs}
    for entry in evidence.finished:
        if entry.folder not in roots:
            files.append(entry.folder / entry.row.artifact)
    found: list[Widths] = []
    for path in dict.fromkeys(files):
        try:
            card = read_card_of(path)
            layers = changed_widths(card)
        except (SrdeployError, OSError):
            continue  # not there any more, or without a card
        if layers and all(one.layers != layers for one in found):
            unchanged = len(card.widths) - len(layers)
            found.append(Widths(_named(path, roots), layers, unchanged))
    return found


def _named(path: Path, roots: set[Path]) -> str:
    root = next((root for root in roots if path.is_relative_to(root)), None)
    return path.name if root is None else f"{root.name}/{path.name}"


def widths(found: Sequence[Widths]) -> str:
    """Bars: how wide layers were, and are; layers of the same widths share one."""
    parts = []
    for one in found:
        alike: dict[tuple[int, int], list[str]] = {}
        for name, width in one.layers.items():
            alike.setdefault(width, []).append(name)
        most = max(before for before, _ in alike)
        bars = "".join(
            f'<div class="bar"><span title="{escape(", ".join(names), quote=True)}">'
            f"{escape(_layers(names))}</span>"
            f'<i style="width:{100 * before / most:.1f}%"><b class="s0" '
            f'style="width:{100 * after / before:.1f}%"></b></i>'
            f"<span>{before} → {after}</span></div>"
            for (before, after), names in alike.items()
        )
        rest = f"{one.unchanged} other layers kept their width." if one.unchanged else ""
        caption = f"Output channels of convolutions, before and after pruning. {rest}"
        parts.append(html.figure(f'<div class="bars">{bars}</div>', caption, one.name))
    return "".join(parts)


def _layers(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} layers"


def pictures(crops: Sequence[Crop]) -> str:
    """Regions with a slider between two versions; the page's script moves it."""
    return "".join(_picture(crop) for crop in crops)


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
