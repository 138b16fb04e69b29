"""A saved CoreML package held against the network: its structure, its card, its results."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.coreml.options import CoremlRequest
from srdeploy.exporting.fallback import NotThisWay
from srdeploy.exporting.layer_differences import parting
from srdeploy.exporting.parity import FAULT, Probe, Reference, check_parity_of
from srdeploy.exporting.probe import INPUT, OUTPUT, TOLERANCE, ForwardTrace, missing
from srdeploy.exporting.report import Parity
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.runtime.coreml.package import read_package
from srdeploy.runtime.coreml.reference import CoremlReferenceSession
from srdeploy.runtime.sizes import InputSizes, Size

HALF_TOLERANCE = 2e-2
"""Largest |difference| over the value range that float16 arithmetic may cause. A structural
mistake is far larger; healthy networks stay near 1e-3, very deep ones higher."""

ONE_LEVEL = 1 / 255
"""Rounding to pixels may turn the smallest difference into one level."""


def check_structure(
    package: Path, card: Card, trace: ForwardTrace, options: CoremlRequest
) -> dict[str, int]:
    """Read the program back; return how often each operator occurs (constants left out).

    Raises:
        SrdeployError: the card, an end, a pixel shuffle or a convolution is not as it should be.
    """
    found = read_package(package)
    if found.card != card:
        raise SrdeployError("The saved CoreML package lost its card; report this.")
    block = found.block
    types = {out.name: out.type.tensorType for op in block.operations for out in op.outputs}
    values = {
        op.outputs[0].name: op.attributes["val"] for op in block.operations if op.type == "const"
    }
    for end, name, sizes in (
        (found.input, INPUT, options.sizes),
        (found.output, OUTPUT, options.sizes.times(card.network_scale)),
    ):
        if end.name != name or end.image != options.images:
            raise SrdeployError(f"'{end.name}' of the CoreML program is not the {name} asked for.")
        if end.sizes is not None and end.sizes != sizes:
            raise NotThisWay(
                f"'{name}' of the CoreML program has sizes {end.sizes}, not {sizes}.",
                "else coremltools takes a size that the network's code computes for a constant",
            )
    last = types[block.outputs[0]]
    if _dimensions(last)[1] != card.channels:
        raise SrdeployError(f"The CoreML program returns {_dimensions(last)}, not {card.channels}.")
    shuffles, weights = [], []
    for op in block.operations:
        bound = {key: argument.arguments[0].name for key, argument in op.inputs.items()}
        if op.type == "pixel_shuffle":
            shuffles.append(values[bound["upscale_factor"]].immediateValue.tensor.ints.values[0])
        elif op.type in ("conv", "conv_transpose"):
            kind = types[bound["weight"]]
            if kind.dataType != _data_type(options.precision):
                raise SrdeployError(
                    f"The weights of '{bound['weight']}' are not {options.precision}: coremltools "
                    "left them out, as it does where they overflow; export with --precision fp32."
                )
            weights.append(tuple(_dimensions(kind)))
    if lost := missing(trace.shuffles, shuffles):
        raise SrdeployError(f"The CoreML program lacks the pixel shuffles by {lost}.")
    if lost := missing(trace.conv_weights, weights):
        raise SrdeployError(f"The CoreML program lacks convolutions with weights {lost}.")
    return dict(sorted(Counter(op.type for op in block.operations if op.type != "const").items()))


def parity_reference(network: Network, options: CoremlRequest) -> Reference:
    """The network at the sizes that a package of these options is compared at.

    Of a list: the first (which is traced), the smallest and the largest. Of a range: the usual
    ones, clipped to it. For packages with image ends the network gets the same 8-bit pixels, and
    its answer is rounded to pixels too.

    Raises:
        CannotRunError: the network takes none of them.
    """
    card, sizes = network.card, options.sizes
    if sizes.listed:
        by_area = sorted(sizes.listed, key=lambda size: size[0] * size[1])
        chosen = [sizes.listed[0], by_area[0], by_area[-1]]
        reference = Reference.of(network, dict.fromkeys(chosen))
    else:
        reference = Reference.of(network)
        inside = [_clipped(probe.size, sizes, card.size_multiple) for probe in reference.probes]
        reference.probes = [Probe(size) for size in dict.fromkeys(inside)]
    if options.images:
        reference.given = reference.returned = partial(_pixels, card=card)
    reference.leave_out_what_fails()
    return reference


def _clipped(size: Size, sizes: InputSizes, multiple: int) -> Size:
    height, width = (
        min(max(side, -(-low // multiple) * multiple), high)
        for side, low, high in zip(size, sizes.low, sizes.high, strict=True)
    )
    return height, width


def check_results(
    reference: Reference, package: Path, options: CoremlRequest, *, lossy: bool
) -> Parity:
    """Interpret the package and compare it with torch.

    Args:
        reference: The network, in float32.
        package: A saved package with its card.
        options: How it was made.
        lossy: Weights or activations were compressed, so any difference is a matter of quality.

    Raises:
        SrdeployError: values that are not finite, or a larger difference than the precision
            explains.
    """
    overflown: list[str] = []

    def watch(name: str, operation: str, values: Any) -> None:
        if not overflown and not bool(np.isfinite(values.numpy()).all()):
            overflown.append(f"{operation} '{name}'")

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            found = session.run(x)
        except SrdeployError as error:  # shapes that do not fit: one is written into the program
            raise UserError(str(error)) from error
        if overflown:
            raise SrdeployError(
                f"The {options.precision} program overflows in {overflown[0]}; export with "
                "--precision fp32."
            )
        return found

    half = options.precision == "fp16"
    with CoremlReferenceSession(package, threads=1) as session:
        session.watch = watch
        return check_parity_of(
            reference,
            run,
            float("inf") if lossy else tolerance_of(options),
            what="The CoreML program",
            remedy="or export for the one size you will run (--input 480x270)",
            at_once="export with --precision fp32" if half else FAULT,
            parting=lambda x: parting(reference.network, package, x),
        )


def tolerance_of(options: CoremlRequest) -> float:
    """How far a program whose weights are not compressed may be off, over the value range."""
    half = options.precision == "fp16"
    return (HALF_TOLERANCE if half else TOLERANCE) + (ONE_LEVEL if options.images else 0)


def compare_runtimes(reference: Reference, package: Path) -> str:
    """How far Core ML itself and the interpreter are apart, in one line; '' without Core ML."""
    if sys.platform != "darwin":
        return ""
    from srdeploy.runtime.coreml.session import CoremlSession

    probe = reference.probes[0]
    with CoremlSession(package) as real, CoremlReferenceSession(package) as interpreted:
        found = real.run(reference.input(probe))
        difference = float(np.abs(found - interpreted.run(reference.input(probe))).max())
    relative = difference / reference.card.value_range
    return f"Core ML on this Mac and the interpreter differ by {relative:.1e} of the value range"


def _pixels(x: NDArray[np.float32], card: Card) -> NDArray[np.float32]:
    per_level = np.float32(card.value_range / 255)
    return np.clip(np.rint(x / per_level), 0, 255) * per_level


def _dimensions(kind: Any) -> list[int | None]:
    """Sizes of a MIL tensor type; None where flexible."""
    return [
        d.constant.size if d.WhichOneof("dimension") == "constant" else None
        for d in kind.dimensions
    ]


def _data_type(precision: str) -> int:
    from coremltools.proto import MIL_pb2

    return MIL_pb2.DataType.Value("FLOAT16" if precision == "fp16" else "FLOAT32")
