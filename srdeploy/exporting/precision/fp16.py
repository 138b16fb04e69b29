"""float16 written into an ONNX graph: half the weights, half the traffic, float32 where it must be.

float16 ends at 65504. So the network is run on images first and every tensor's largest magnitude is
noted; an operation that reads or writes one with less than :data:`HEADROOM` to spare (other images
reach further) stays in float32, by name, with casts around it. The network is expected with its
value range folded into its ends (:mod:`srdeploy.exporting.range_folding`), so that 255 is not in
the way. The graph's own input and output stay float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from srdeploy.exporting.precision.cast import narrow, tensor_types
from srdeploy.exporting.precision.graph import layers_of
from srdeploy.exporting.precision.quantise_ranges import peaks

LARGEST = 65504.0
"""The largest finite float16."""

HEADROOM = 4.0
"""A tensor stays in float32 unless it could grow by this factor before it overflows."""


@dataclass(frozen=True)
class Audit:
    """How far a network's tensors reach on images.

    Attributes:
        peaks: Largest magnitude of each float32 tensor.
        overflowing: Those that leave less than :data:`HEADROOM` below 65504.
    """

    peaks: dict[str, float]
    overflowing: frozenset[str]


def audit_ranges(model: onnx.ModelProto, inputs: Iterable[NDArray[np.float32]]) -> Audit:
    """Run the float32 model and note every tensor's largest magnitude."""
    tensors = [name for name, kind in tensor_types(model).items() if kind == TensorProto.FLOAT]
    found = peaks(model, tensors, inputs)
    too_large = frozenset(t for t, peak in found.items() if not peak * HEADROOM <= LARGEST)
    return Audit(found, too_large)


def to_half(model: onnx.ModelProto, audit: Audit) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in float16, and the names of the nodes that stay in float32."""
    return narrow(model, TensorProto.FLOAT16, audit.overflowing)


def audit_rows(model: onnx.ModelProto, audit: Audit, kept: list[str]) -> list[dict[str, Any]]:
    """Per layer of the float32 model: what it reaches, and what that leaves it in."""
    rows: list[dict[str, Any]] = []
    for layer in layers_of(model):
        peak = max(audit.peaks[t] for t in (*layer.inputs, layer.result))
        rows.append(
            {
                "layer": layer.name,
                "precision": "fp32" if layer.node in kept else "fp16",
                "max_abs": peak,
                "headroom": LARGEST / max(peak, 1e-30),
            }
        )
    return rows
