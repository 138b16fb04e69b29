"""The precision of an ONNX file: written into it, measured on images, read back before it is named.

* ``fp16``: float16 within, float32 ends; what would overflow stays in float32, by name.
* ``int8``: 8-bit convolutions and inner sums; the network's ends and its long skip stay in float32.
* ``mixed``: 8 bits wherever they cost little: the layers that cost most are spared, as few as will
  do to lose no more than ``max_drop``.

* ``bf16``: bfloat16 within, float32 ends. onnxruntime's CPU cannot compute it: OpenVINO measures it
  where it is installed, else an interpreter that rounds as the file says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.gate import Gate, remarks
from srdeploy.exporting.precision.bf16 import OPSET, to_bfloat16
from srdeploy.exporting.precision.fp16 import HEADROOM, audit_ranges, audit_rows, to_half
from srdeploy.exporting.precision.graph import convolution_kinds, layers_of, sizes_of
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_names import TrainedRanges
from srdeploy.exporting.precision.quantise_ranges import watch
from srdeploy.exporting.precision.quantise_search import (
    Cost,
    dearest_told,
    none_bearable,
    ranges_of,
    sensitivity,
    spare_fewest,
    usual_layers,
)
from srdeploy.exporting.precision.request import PrecisionRequest
from srdeploy.exporting.quality_loss import quality_told
from srdeploy.models.calibration import DEFAULT_CALIBRATION
from srdeploy.models.card import Card
from srdeploy.models.quantised import Activations, Method
from srdeploy.runtime.inputs import network_inputs

MAX_DROP = 0.05
"""What ``mixed`` may lose unless told, dB."""

_SENSITIVITY_PATCHES = 4
_NAMED = 3  # layers that an error names


@dataclass
class Written:
    """A model in its precision.

    Attributes:
        model: The graph.
        float_layers: Convolutions that stayed in float32.
        layers: One dict per layer: name, precision, and what decided.
        facts: For the card.
        notes: For people.
        quality: Loss on the set, where it was measured.
    """

    model: onnx.ModelProto
    float_layers: list[str]
    layers: list[dict[str, Any]]
    facts: dict[str, Any]
    notes: list[str]
    quality: dict[str, Any] | None = field(default=None)


def write_precision(
    model: onnx.ModelProto,
    card: Card,
    request: PrecisionRequest,
    *,
    trained: TrainedRanges | None = None,
    measure: bool = True,
    compare: Callable[[Path, str], object] | None = None,
) -> Written:
    """Write a precision into a float32 model.

    Args:
        model: float32; its value range already folded, for fp16.
        card: The network's own.
        request: What to write; not fp32.
        trained: What fine-tuning for 8 bits found; int8 and mixed write it.
        measure: Measure the loss on ``request.data`` (a limit is always measured).
        compare: Where the loss is measured, called first with a file of the model and ``fp32``;
            raises if that is not the network itself.

    Raises:
        UserError: a folder that cannot be read, another grid than was trained, or a network
            with nothing to run in 8 bits.
        SrdeployError: the loss is above the limit, in any runtime here that runs the file; the
            sentence names the dearest layers and says what would pass.
    """
    wanted = measure or request.max_drop is not None or request.precision == "mixed"
    gate = Gate(model, card, request.data) if wanted else None
    if gate is not None and compare is not None:
        gate.check(compare)
    if request.precision == "fp16":
        written = _half(model, card, request)
    elif request.precision == "bf16":
        written = _bfloat(model)
    else:
        written = _Quantiser(model, card, request, trained).write(gate)
    if gate is not None and written.quality is None:
        written.quality = gate.facts(written.model)
    if gate is not None and written.quality is not None:
        limit = MAX_DROP if request.precision == "mixed" else None
        gate.require(request.precision, written.quality, request.max_drop or limit)
        if request.precision == "bf16":
            written.notes.append(_who_measured(gate.runtime))
        written.notes.append(quality_told(written.quality))
        written.notes += remarks(written.quality)
    _read_back(written, request.precision)
    return written


def _half(model: onnx.ModelProto, card: Card, request: PrecisionRequest) -> Written:
    # The images that come with srdeploy for measuring are the more varied ones; nothing is fitted
    # to them here but a limit, with a margin.
    images = request.calibration or request.data
    audit = audit_ranges(model, network_inputs(images, card, sizes=sizes_of(model)))
    converted, kept = to_half(model, audit)
    rows = audit_rows(model, audit, kept)
    tightest = min(rows, key=lambda row: row["headroom"])
    notes = [
        f"largest value {tightest['max_abs']:.4g} at {tightest['layer']}: "
        f"{tightest['headroom']:.3g} times below float16's 65504"
    ]
    notes.append(
        "onnxruntime's CPU computes float16 through float32 and may round less often than a GPU"
    )
    if kept:
        why = f"would come within {HEADROOM:g} times of overflow, or have no float16 form"
        notes.append(f"in fp32, because they {why}: {', '.join(kept)}")
    convolutions = [layer for layer in layers_of(model) if not layer.is_sum]
    float_layers = [layer.name for layer in convolutions if layer.node in kept]
    return Written(converted, float_layers, rows, {"kept_fp32": kept}, notes)


def _bfloat(model: onnx.ModelProto) -> Written:
    converted, kept = to_bfloat16(model)
    layers = layers_of(model)
    rows: list[dict[str, Any]] = [
        {"layer": layer.name, "precision": "fp32" if layer.node in kept else "bf16"}
        for layer in layers
    ]
    notes = [
        f"operator set {OPSET}, the first with bfloat16 convolutions",
        f"in fp32, so that the result keeps its digits: {', '.join(kept)}",
    ]
    float_layers = [layer.name for layer in layers if not layer.is_sum and layer.node in kept]
    return Written(converted, float_layers, rows, {"kept_fp32": kept}, notes)


def _who_measured(runtime: str) -> str:
    if runtime == "onnx-reference":
        return (
            "no runtime here computes bf16: measured with each operation computed in fp32 and "
            "rounded to bf16; a device that rounds less often differs a little"
        )
    return f"measured in {runtime}, which computes it in bf16"


class _Quantiser:
    """Rounds a model to 8 bits, all that is usual or all that is bearable."""

    def __init__(
        self,
        model: onnx.ModelProto,
        card: Card,
        request: PrecisionRequest,
        trained: TrainedRanges | None,
    ) -> None:
        self.model, self.card, self.request = model, card, request
        self.trained = None if request.calibrates else trained
        self.activations: Activations = request.activations or (
            self.trained.activations if self.trained else "uint8"
        )
        if self.trained and self.activations != self.trained.activations:
            raise UserError(
                f"The network was fine-tuned for {self.trained.activations} activations, not "
                f"{self.activations}: leave --activations out, fine-tune it with "
                f"`quantise: {{activations: {self.activations}}}` in the recipe, or calibrate with "
                "--calibration."
            )
        self.method: Method = request.method or DEFAULT_CALIBRATION
        self.layers = layers_of(model)
        self.usual = self.trained.layers if self.trained else usual_layers(model)
        self.ranges = dict(self.trained.ranges) if self.trained else {}
        needed = [
            tensor
            for layer in self.layers
            if request.precision == "mixed" or layer.name in self.usual
            for tensor in (*layer.inputs, layer.output)
        ]
        self.calibrated = [tensor for tensor in needed if tensor not in self.ranges]
        if self.calibrated:
            self.ranges |= ranges_of(
                model,
                watch(model, self.calibrated, self.inputs),
                self.method,
                symmetric=self.activations == "int8",
                value_range=card.value_range,
            )

    @cached_property
    def inputs(self) -> list[NDArray[np.float32]]:
        """Images for calibration and for finding the dearest layers."""
        images = self.request.calibration or BUILTIN
        return network_inputs(images, self.card, sizes=sizes_of(self.model))

    def write(self, gate: Gate | None) -> Written:
        """The model that was asked for, within its limit."""
        if self.request.precision == "mixed":
            assert gate is not None
            return self._bearable(gate)
        usual = self.usual
        if all(layer.is_sum for layer in self.layers if layer.name in usual):
            raise UserError(
                "The network has no convolution between its ends, so there is nothing to run in "
                "int8; export it in fp16 or fp32."
            )
        written = self._written(usual, {})
        if gate is not None:
            drop, limit = gate.drop(written.model), self.request.max_drop
            if limit is not None and not drop <= limit:
                raise SrdeployError(self._refusal(gate, usual, drop, limit))
            written.quality = gate.facts(written.model, drop)
        return written

    def _bearable(self, gate: Gate) -> Written:
        limit = MAX_DROP if self.request.max_drop is None else self.request.max_drop
        names = [layer.name for layer in self.layers]
        costs = self._costs(names)
        answer = self._search(gate, costs, limit)
        if answer is None:
            raise SrdeployError(none_bearable(limit, gate.data))
        spared, drop = answer
        noise = {cost.layer: cost.noise for cost in costs}
        written = self._written([name for name in names if name not in spared], noise)
        written.quality = gate.facts(written.model, drop)
        return written

    def _search(
        self, gate: Gate, costs: Sequence[Cost], limit: float
    ) -> tuple[list[str], float] | None:
        names = [cost.layer for cost in costs]
        convolutions = {layer.name for layer in self.layers if not layer.is_sum}
        most = max(i for i, name in enumerate(names) if name in convolutions)  # one stays int8

        def drop_without(spared: list[str]) -> float:
            return gate.drop(self._quantised([name for name in names if name not in spared]))

        return spare_fewest(costs, drop_without, limit, most)

    def _refusal(self, gate: Gate, usual: list[str], drop: float, limit: float) -> str:
        costs = self._costs(usual)
        told = dearest_told(costs, self._search(gate, costs, limit), drop, "rounded layers")
        return f"{gate.loss('int8', drop, limit)}; {told}."

    def _costs(self, names: Sequence[str]) -> list[Cost]:
        return sensitivity(
            self.model,
            names,
            self.ranges,
            self.inputs[:: -(-len(self.inputs) // _SENSITIVITY_PATCHES)],
            activations=self.activations,
            value_range=self.card.value_range,
        )

    def _quantised(self, names: Sequence[str]) -> onnx.ModelProto:
        return quantise(self.model, names, self.ranges, activations=self.activations)

    def _written(self, names: Sequence[str], noise: dict[str, float]) -> Written:
        rows: list[dict[str, Any]] = []
        for layer in self.layers:
            row: dict[str, Any] = {
                "layer": layer.name,
                "precision": "int8" if layer.name in names else "fp32",
            }
            if layer.name in names:
                interval = self.ranges[layer.output]
                row |= {"low": interval.low, "high": interval.high}
            if layer.name in noise:
                row["noise"] = noise[layer.name]
            rows.append(row)
        spared = [layer.name for layer in self.layers if layer.name not in names]
        floats = [layer.name for layer in self.layers if not layer.is_sum and layer.name in spared]
        count = sum(not layer.is_sum for layer in self.layers)
        request = self.request
        notes = [
            f"{count - len(floats)} of {count} convolutions in int8; in fp32: "
            f"{', '.join(spared) or 'none'}",
        ]
        facts: dict[str, Any] = {"kept_fp32": spared, "activations": self.activations}
        if self.trained:
            notes.append(
                "ranges as fine-tuning for 8 bits learned them; fp32 below is the fine-tuned "
                "network, not the one before"
            )
        if self.calibrated:
            which = f" of {len(self.calibrated)} more tensors" if self.trained else ""
            notes.append(
                f"ranges{which} by {self.method} from {len(self.inputs)} patches of "
                f"{request.calibration or 'the training images that come with srdeploy'}"
            )
            facts |= {"method": self.method, "calibration_patches": len(self.inputs)}
        if self.trained:
            facts["method"] = "trained"
        return Written(self._quantised(names), floats, rows, facts, notes)


def _read_back(written: Written, precision: str) -> None:
    """What the graph holds must be what its label will say, layer by layer."""
    narrow = precision if precision in ("fp16", "bf16") else "int8"
    found = convolution_kinds(written.model)
    names = {layer.node: layer.name for layer in layers_of(written.model)}
    spared = set(written.float_layers)
    counted = Counter(found.values())
    wrong = [
        node
        for node, kind in found.items()
        if kind != ("fp32" if names.get(node) in spared else narrow) and node in names
    ]
    if wrong or not counted[narrow]:
        there = ", ".join(f"{count} in {kind}" for kind, count in sorted(counted.items()))
        which = f"; wrong: {', '.join(wrong[:_NAMED])}" if wrong else ""
        raise SrdeployError(
            f"{precision} was asked, but the graph has its convolutions otherwise "
            f"({there or 'none'}{which}); nothing was written."
        )
