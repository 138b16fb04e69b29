"""Network -> CoreML: an mlprogram package, its structure read back and checked after saving.

Linux converts but cannot predict, so the report says that the program was not run. Sizes are a
range by default; ranges keep CoreML off the Neural Engine on most systems, so a network for one
camera or one tile size is better exported with ``size``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError
from srdeploy.export.probe import (
    INPUT,
    OUTPUT,
    Trace,
    missing,
    probe_input,
    probe_sizes,
    trace_operations,
)
from srdeploy.export.report import ExportReport, artifact_facts, tool_versions
from srdeploy.files import atomic_path
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.network import Network
from srdeploy.runtime.table import COREMLTOOLS

SMALLEST, LARGEST, TYPICAL = 16, 2048, 256
"""Bounds of the input's height and width, and the size CoreML plans for when none is fixed.
mlprograms need an upper bound; at x4 this one already means 67 megapixels out."""

TOOLS = ("torch", "coremltools")


def export_coreml(
    network: Network, path: str | Path, *, size: tuple[int, int] | None = None
) -> ExportReport:
    """Write a float32 mlprogram that runs from iOS 16 and macOS 13 on (pixel unshuffles need them).

    Input ``lr``: float32 [1, C, H, W] in 0..value_range; output ``sr``: [1, C, H*s, W*s]. The card
    lies in the user-defined metadata under ``srdeploy.card``. Equal networks and tools give equal
    bytes (coremltools' random identifiers and dates are replaced).

    Args:
        network: What to export; float32, on the CPU.
        path: Where to; must end in ``.mlpackage``.
        size: The only input height and width; default: anything from :data:`SMALLEST` to
            :data:`LARGEST` (in multiples of the card's ``size_multiple``, which CoreML cannot say).

    Raises:
        UserError: coremltools is missing, the path has another ending, or ``size`` doesn't suit
            the network.
        SrdeployError: coremltools can't convert the network, or what it saved lacks a part of it.
    """
    started = time.perf_counter()
    if not (installed := COREMLTOOLS.availability()):
        raise UserError(f"Exporting to CoreML is not possible here: {installed.reason}.")
    if Path(path).suffix != ".mlpackage":
        raise UserError(f"'{path}' must end in .mlpackage, CoreML opens nothing else.")
    multiple = network.card.size_multiple
    if size is not None and (min(size) < 1 or any(n % multiple for n in size)):
        raise UserError(
            f"The network cannot take {size[0]}x{size[1]} pixels; give multiples of {multiple}."
        )
    trace = trace_operations(network)
    card = network.card.step(
        step="export",
        target="coreml",
        precision="fp32",
        tools=tool_versions(TOOLS),
        **({"size": list(size)} if size else {}),
    )
    with _quiet():
        model = _convert(network, size)
        _label(model, card)
        with atomic_path(path) as temporary:
            model.save(str(temporary))
            _make_reproducible(temporary)
            operators = _check_package(temporary, card, trace, size)
    return ExportReport(
        target="coreml",
        path=str(path),
        **artifact_facts(Path(path)),
        precision="fp32",
        opset=None,
        parity=None,
        operators=operators,
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=[
            "structure and weights were checked, the program was not run: CoreML predicts on "
            "macOS only"
        ],
    )


def _convert(network: Network, size: tuple[int, int] | None) -> Any:
    import coremltools as ct

    card = network.card
    multiple = card.size_multiple
    if size is None:
        typical = -(-TYPICAL // multiple) * multiple
        smallest = -(-SMALLEST // multiple) * multiple
        height, width = (ct.RangeDim(smallest, LARGEST, typical) for _ in "HW")
    else:
        height, width = size
    example = torch.from_numpy(probe_input(card, size or probe_sizes(card)[0]))
    try:
        traced = torch.jit.trace(network.module, (example,), check_trace=False)
        return ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=[ct.TensorType(name=INPUT, shape=(1, card.channels, height, width))],
            outputs=[ct.TensorType(name=OUTPUT)],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise SrdeployError(
            f"coremltools cannot convert this network ({lines[0] if lines else error!r})."
        ) from error


def _label(model: Any, card: Card) -> None:
    factor = f" x{card.scale}" if not card.pre_upscaled else ", input already upscaled"
    model.short_description = f"Super-resolution {card.arch}{factor}, {card.channels} channel(s)"
    model.author = f"srdeploy {__version__}"
    model.user_defined_metadata[CARD_KEY] = card.to_json()
    del model.user_defined_metadata["com.github.apple.coremltools.conversion_date"]
    values = f"float32 [1, {card.channels}, height, width], values 0 to {card.value_range:g}"
    model.input_description[INPUT] = values
    model.output_description[OUTPUT] = f"{values}, not clipped"


def _make_reproducible(package: Path) -> None:
    """Replace random identifiers and protobuf's arbitrary map order."""
    import coremltools as ct

    manifest = package / "Manifest.json"
    entries = json.loads(manifest.read_text())
    identifiers = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"]))
        for old, entry in entries["itemInfoEntries"].items()
    }
    entries["itemInfoEntries"] = {
        identifiers[old]: entry for old, entry in entries["itemInfoEntries"].items()
    }
    entries["rootModelIdentifier"] = identifiers[entries["rootModelIdentifier"]]
    manifest.write_text(json.dumps(entries, indent=4, sort_keys=True) + "\n")
    program = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.utils.load_spec(str(program))
    program.write_bytes(spec.SerializeToString(deterministic=True))


def _check_package(
    package: Path, card: Card, trace: Trace, size: tuple[int, int] | None
) -> dict[str, int]:
    """Read the saved program back; return how often each operator occurs (constants left out)."""
    import coremltools as ct

    spec = ct.utils.load_spec(str(package))
    found_card = spec.description.metadata.userDefined.get(CARD_KEY)
    if found_card != card.to_json():
        raise SrdeployError("The saved CoreML package lost its card; report this.")
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    types = {out.name: out.type.tensorType for op in block.operations for out in op.outputs}
    values = {
        op.outputs[0].name: op.attributes["val"] for op in block.operations if op.type == "const"
    }
    ends = {value.name: value.type.tensorType for value in function.inputs} | {
        name: types[name] for name in block.outputs
    }
    expected = {INPUT: 1, OUTPUT: card.network_scale}
    if set(ends) != set(expected):
        raise SrdeployError(f"The CoreML program has {sorted(ends)} as its ends, not lr and sr.")
    for name, factor in expected.items():
        sides = [None, None] if size is None else [n * factor for n in size]
        if ends[name].dataType != _float32() or _dimensions(ends[name])[1:] != [
            card.channels,
            *sides,
        ]:
            raise SrdeployError(
                f"'{name}' of the CoreML program has shape {_dimensions(ends[name])}, where the "
                f"card promises {card.channels} channels and sides {sides}."
            )
    shuffles, weights = [], []
    for op in block.operations:
        bound = {key: argument.arguments[0].name for key, argument in op.inputs.items()}
        if op.type == "pixel_shuffle":
            shuffles.append(values[bound["upscale_factor"]].immediateValue.tensor.ints.values[0])
        elif op.type in ("conv", "conv_transpose"):
            kind = types[bound["weight"]]
            if kind.dataType != _float32():
                raise SrdeployError(f"The weights of '{bound['weight']}' are not float32.")
            weights.append(tuple(_dimensions(kind)))
    if lost := missing(trace.shuffles, shuffles):
        raise SrdeployError(f"The CoreML program lacks the pixel shuffles by {lost}.")
    if lost := missing(trace.conv_weights, weights):
        raise SrdeployError(f"The CoreML program lacks convolutions with weights {lost}.")
    return dict(sorted(Counter(op.type for op in block.operations if op.type != "const").items()))


def _dimensions(kind: Any) -> list[int | None]:
    """Sizes of a MIL tensor type; None where flexible."""
    return [
        d.constant.size if d.WhichOneof("dimension") == "constant" else None
        for d in kind.dimensions
    ]


def _float32() -> int:
    from coremltools.proto import MIL_pb2

    return MIL_pb2.DataType.Value("FLOAT32")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide coremltools' version warnings, missing-framework notes and progress bars."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # errors arrive as exceptions
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
