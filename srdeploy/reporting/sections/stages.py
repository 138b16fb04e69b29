"""Stage by stage: what each stage cost and won back, and the curve of the recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srdeploy.reporting import html, svg
from srdeploy.reporting.figures import stages_of
from srdeploy.reporting.run_folder import NETWORKS, RunFolder

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def stages(data: ReportData) -> str | None:
    """PSNR of the networks of each run, and the curve of its fine-tuning."""
    figures = []
    for run in data.evidence.runs:
        found = stages_of(run)
        labels = list(dict.fromkeys(label for *_, label in found))
        if len(found) > 1 and len(labels) == 1:
            names, values = [f[0] for f in found], [f[1] for f in found]
            drawing = svg.both(svg.stages, names, values, "mean PSNR, dB", " dB")
            caption = f"{labels[0]}; each network in PyTorch. Under each name: what it changed."
            figures.append(html.figure(drawing, caption, f"{run.root.name}: stage by stage"))
        if curve := _recovery(run):
            lines = [svg.Curve("PSNR", curve[1], 2)]
            drawing = svg.both(svg.curves, lines, "iteration", "PSNR, dB", dots=True,
                               least=svg.LEAST_DB)  # fmt: skip
            title = f"{run.root.name}: while fine-tuning"
            figures.append(html.figure(drawing, f"Validation: {curve[0]}.", title))
    return "".join(figures) or None


def _recovery(run: RunFolder) -> tuple[str, list[tuple[float, float]]] | None:
    curve = run.card(NETWORKS["tuned"]).get("figures", {}).get("curve", [])
    points = []
    for entry in curve:
        psnr = entry.get("psnr_y", entry.get("psnr_rgb"))
        if isinstance(psnr, (int, float)) and isinstance(entry.get("iteration"), int):
            points.append((float(entry["iteration"]), float(psnr)))
    return (str(curve[0].get("protocol", "")), points) if len(points) > 1 else None
