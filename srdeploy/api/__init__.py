"""The line as functions: what ``import srdeploy as sr`` offers.

>>> import srdeploy as sr
>>> dense = sr.load("edsr-s-x2")
>>> small = sr.prune(dense, 0.5)
>>> small = sr.finetune(small, data="DIV2K/HR", iterations=20000, run_dir="runs/small")
>>> sr.export(small, "small.onnx")
>>> rows = sr.bench("edsr-s-x2", "small.onnx", data="Set5")
>>> (found,) = sr.fit(dense, "fitted", size="240x160", budget_ms=25)
>>> sr.report(rows, output="report.html")
>>> sr.upscale("small.onnx", "photo.jpg", "photo_x2.png")

A network is a :class:`Network`: a torch module and its card. Everything that takes an artifact
takes one, a live ``nn.Module`` (:func:`wrap` says more about it than running it shows), a file
(ours, a foreign checkpoint, an exported artifact), or a shipped network's name. What may be several
is a list or one of them; a size is ``"480x270"`` or ``(480, 270)``, width first.
"""

from __future__ import annotations

from srdeploy.api.artifacts import bench, evaluate, export, report, upscale
from srdeploy.api.fitting import fit
from srdeploy.api.networks import compact, finetune, load, plan, prune, save
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.compacting.run import PruneReport
from srdeploy.exporting.report import ExportReport
from srdeploy.fitting.result import FitResult
from srdeploy.measure.scenario import Scenario
from srdeploy.models.importing.live_module import wrap
from srdeploy.models.network import Network
from srdeploy.pruning.plan import Plan
from srdeploy.quality.result import Quality
from srdeploy.reporting.page import ReportSummary

__all__ = [
    "ExportReport",
    "FitResult",
    "Network",
    "Plan",
    "PruneReport",
    "Quality",
    "ReportSummary",
    "Row",
    "Scenario",
    "bench",
    "compact",
    "evaluate",
    "export",
    "finetune",
    "fit",
    "load",
    "plan",
    "prune",
    "report",
    "save",
    "upscale",
    "wrap",
]
