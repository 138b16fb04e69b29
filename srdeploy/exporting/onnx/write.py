"""A float32 graph -> an ONNX file: its precision written in, labelled, compared, and then named.

The float32 graph is compared first; another precision
(:mod:`srdeploy.exporting.precision.write`) is written into it afterwards, and compared again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.fallback import NotThisWay
from srdeploy.exporting.onnx.lower import choose_form, lower_pixel_shuffle
from srdeploy.exporting.precision.graph import renamed
from srdeploy.exporting.precision.quantise_names import TrainedRanges
from srdeploy.exporting.precision.request import PrecisionRequest
from srdeploy.exporting.precision.write import Written, write_precision
from srdeploy.exporting.probe import TOLERANCE
from srdeploy.exporting.report import ExportReport, Parity, artifact_facts, tool_versions
from srdeploy.exporting.targets import AUTO, PIXEL_SHUFFLES
from srdeploy.exporting.tensorrt.accept import require_acceptance
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.probes import Size
from srdeploy.util.files import atomic_path

TOLERANCES = {"fp32": TOLERANCE, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.5, "mixed": 0.5}
"""Largest |difference| from the original over the value range. Of 8 bits single pixels tell little:
there the mean loss on images is what counts."""

TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime")

Compare = Callable[[Path, str], Parity]
"""Compares a file, which computes in a precision, with what it was made of."""


@dataclass
class Draft:
    """A graph on its way into a file.

    Attributes:
        model: float32.
        card: What is known of the network, without this export.
        sizes: Heights and widths that it is compared at, the usual one first.
        origin: For the history: how the graph came about.
        trained: What fine-tuning for 8 bits found.
        names: What its ends shall be called, by the names that they have.
        notes: For people.
    """

    model: onnx.ModelProto
    card: Card
    sizes: list[Size]
    origin: dict[str, Any]
    trained: TrainedRanges | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_onnx(
    draft: Draft,
    path: str | Path,
    request: PrecisionRequest,
    compare: Compare | None,
    *,
    pixel_shuffle: str,
    accept: str | None,
    started: float,
) -> ExportReport:
    """Write a graph in a precision; equal drafts and tools give equal bytes.

    Args:
        draft: What to write; its model may be changed.
        path: Where to; replaced only when everything has succeeded.
        request: The precision, and what it may lose.
        compare: None: nothing is compared, and in another precision than fp32 nothing measured.
        pixel_shuffle: A form of :mod:`srdeploy.exporting.onnx.lower`, or ``"auto"``.
        accept: ``"trt"``: NVIDIA's parser must accept the file.
        started: When this export began, by ``time.perf_counter``.

    Raises:
        UserError: an unwritable path, or a folder of images that cannot be read.
        SrdeployError: it differs from what it was made of, loses too much, or the parser refuses.
    """
    model, precision, notes = draft.model, request.precision, list(draft.notes)
    written = None
    if precision != "fp32":
        written = write_precision(
            model,
            draft.card,
            request,
            trained=draft.trained,
            measure=compare is not None,
            compare=compare,
        )
        model = written.model
        notes += written.notes
    if pixel_shuffle == AUTO:
        choice = choose_form(model, PIXEL_SHUFFLES, draft.sizes[0], measure=precision != "bf16")
        pixel_shuffle = choice.form
        notes.append(choice.note())
    model = lower_pixel_shuffle(model, pixel_shuffle)
    opset = opset_of(model)
    tools = tool_versions(TOOLS)
    card = draft.card.step(
        step="export",
        target="onnx",
        precision=precision,
        opset=opset,
        **draft.origin,
        pixel_shuffle=pixel_shuffle,
        parity={"tolerance": TOLERANCES[precision], "sizes": [[*size] for size in draft.sizes]}
        if compare is not None
        else None,
        tools=tools,
        **_lost(written),
        **(written.facts if written else {}),
    )
    model = renamed(model, draft.names)
    _label(model, card)
    if compare is None:
        notes.append("parity with torch was not checked (check=False)")
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(temporary), full_check=True)
        parity = compare(temporary, precision) if compare is not None else None
        if accept is not None:
            notes.append(_accepted(temporary.read_bytes(), accept))
    return ExportReport(
        target="onnx",
        path=str(path),
        **artifact_facts(Path(path)),
        precision=precision,
        opset=opset,
        parity=parity,
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        tools=tools,
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
        layers=written.layers if written else [],
        quality=written.quality if written else None,
    )


def _accepted(model: bytes, parser: str) -> str:
    try:
        return require_acceptance(model, parser)
    except UserError:
        raise
    except SrdeployError as error:  # of one size it may be otherwise
        raise NotThisWay(str(error), "else TensorRT's parser refuses it") from error


def _lost(written: Written | None) -> dict[str, Any]:
    """What a reduced precision loses, for the card; an infinite PSNR has no place there."""
    quality = None if written is None else written.quality
    if quality is None:
        return {}
    figures = {name: round(quality[name], 3) for name in ("psnr_fp32", "psnr", "drop")}
    runtimes = {name: round(psnr, 3) for name, psnr in quality["runtimes"].items()}
    if not all(map(math.isfinite, (*figures.values(), *runtimes.values()))):
        return {}
    where = {"data": Path(quality["data"]).name, "protocol": quality["protocol"]}
    return {"quality": {**where, **figures, "runtimes": runtimes}}


def too_coarse(precision: str) -> str:
    """What to do where a file is off in its precision, given that it is right in float32."""
    if precision == "fp32":
        return ""
    return (
        f"in fp32 they agree, so {precision} is too coarse for these weights (are they trained?); "
        "choose another precision"
    )


def opset_of(model: onnx.ModelProto) -> int:
    """The model's set of standard operators."""
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _label(model: onnx.ModelProto, card: Card) -> None:
    model.producer_name = "srdeploy"
    model.producer_version = __version__
    model.graph.name = card.arch.replace(":", ".")
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
