"""What a reduced precision loses on images: in the runtime it is made for, and in all others here.

A file of 8 bits is not one network: runtimes fuse, round and add up in their own ways, and their
faults differ. While layers are chosen one runtime measures (quick, and the same on every machine);
what was chosen is measured in every runtime installed here that runs the file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.quality_loss import quality_facts
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.metrics import lost
from srdeploy.quality.result import Quality, psnr_lost
from srdeploy.runtime.fitting import fitting
from srdeploy.runtime.onnx.file import NotComputed
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES, Runtime

APART = 0.05
"""dB between two runtimes beyond which they do not run the same network."""


class Gate:
    """Measures what a model loses on a set against the float32 one.

    A model is saved once for all that open it.

    Attributes:
        runtime: What measured the last model.
    """

    def __init__(self, model: onnx.ModelProto, card: Card, data: str) -> None:
        self.model, self.card, self.data = model, card, data
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # goes with the gate
        self._saved: onnx.ModelProto | None = None
        self._reference: Quality | None = None
        self._lost: dict[str, float] = {}  # by runtime, of the last model that facts are of

    def check(self, compare: Callable[[Path, str], object]) -> None:
        """See that the float32 model is the network itself, and then how good it is.

        Args:
            compare: Called with the model's file and ``fp32``; raises if it is another network.
        """
        compare(self._file(self.model), "fp32")
        self._reference = self._measure(self.model)

    @property
    def reference(self) -> Quality:
        """The float32 model's figures."""
        if self._reference is None:
            self._reference = self._measure(self.model)
        return self._reference

    def drop(self, model: onnx.ModelProto) -> float:
        """Loss in dB in the usual runtime; negative where the model does better."""
        return psnr_lost(self.reference, self._measure(model))

    def facts(self, model: onnx.ModelProto, drop: float | None = None) -> dict[str, Any]:
        """For the report: the loss in the usual runtime, and the PSNR in each that runs the model.

        Args:
            model: What was chosen.
            drop: Its loss in the usual runtime, where that is known.
        """
        drop = self.drop(model) if drop is None else drop
        before = self.reference.psnr
        agreement = self._agreement(model)
        found = quality_facts(
            self.data, self.reference.protocol, before, before - drop, drop, agreement
        )
        runtimes, refused = {self.runtime: before - drop}, {}
        self._lost = {self.runtime: drop}
        for row in others(self.runtime):
            try:
                with open_session(self._file(model), runtime=row.name) as session:
                    figures = self._figures(session)
                runtimes[row.name] = figures.psnr
                self._lost[row.name] = psnr_lost(self.reference, figures)
            except NotComputed:  # told where that is the reason for another runtime
                continue
            except UserError as error:
                refused[row.name] = str(error)
        return {**found, "runtimes": runtimes, "not_run_in": refused}

    def require(self, precision: str, quality: dict[str, Any], limit: float | None) -> None:
        """Hold the loss in every runtime against the limit.

        Raises:
            SrdeployError: above it; the sentence says where.
        """
        for runtime, drop in self._lost.items():
            if limit is not None and not drop <= limit:  # of NaN too
                usual = runtime == self.runtime
                raise SrdeployError(
                    f"{self.loss(precision, drop, limit, '' if usual else runtime)}"
                    + ("." if usual else f"; in {self.runtime} it loses {quality['drop']:.3f}.")
                )

    def loss(self, precision: str, drop: float, limit: float, runtime: str = "") -> str:
        """The loss as the beginning of a refusal."""
        where = f" in {runtime}" if runtime else ""
        return (
            f"In {precision} the network loses {drop:.3f} dB on {self.data}{where} "
            f"({self.reference.protocol}: {self.reference.psnr:.2f} to "
            f"{self.reference.psnr - drop:.2f}), more than the {limit:g} allowed"
        )

    def _measure(self, model: onnx.ModelProto) -> Quality:
        with open_session(self._file(model)) as session:
            self.runtime = session.runtime
            return self._figures(session)

    def _agreement(self, model: onnx.ModelProto) -> float:
        """PSNR of its outputs to the float32 model's, dB."""
        with open_session(self._file(self.model)) as dense, open_session(self._file(model)) as own:
            return self._figures(own, dense).figures["agreement"]

    def _figures(self, session: Any, dense: Any = None) -> Quality:
        pairs = fitting(session.sizes, self.card, self.data)
        return evaluate(session, pairs, self.card.scale, dense=dense, progress=False)

    def _file(self, model: onnx.ModelProto) -> Path:
        """The model in a file, which it is saved to unless it was the last one."""
        path = Path(self._folder.name) / "model.onnx"
        if model is not self._saved:
            labelled = onnx.ModelProto()
            labelled.CopyFrom(model)
            onnx.helper.set_model_props(labelled, {CARD_KEY: self.card.to_json()})
            path.write_bytes(labelled.SerializeToString())
            self._saved = model
        return path


def others(usual: str) -> list[Runtime]:
    """Runtimes of ONNX files that are here, besides the usual one and interpreters.

    Not TensorRT inside onnxruntime: it compiles for every size anew, minutes each.
    """
    return [
        row
        for row in RUNTIMES.values()
        if ".onnx" in row.suffixes
        and row.name != usual
        and row.timed
        and row.provider != "tensorrt"
        and row.availability()
    ]


def remarks(quality: dict[str, Any]) -> list[str]:
    """What must be said of the runtimes: where they part, and which refused the file."""
    found: dict[str, float] = quality["runtimes"]
    ranked = sorted(found, key=lambda name: (not math.isnan(found[name]), found[name]))
    low, high = ranked[0], ranked[-1]
    told = []
    apart = lost(found[high], found[low])
    if not apart <= APART:
        told.append(
            f"the runtimes part by {apart:.2f} dB: {found[high]:.3f} in {high}, "
            f"{found[low]:.3f} in {low}; run it in {high}, or export another precision for {low}"
        )
    return told + [f"not run in {name}: {why}" for name, why in quality["not_run_in"].items()]
