"""A saved CoreML package held against the network: its structure, its card, its results."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError
from srdeploy.export.coreml_options import CoremlOptions
from srdeploy.export.diverge import parting
from srdeploy.export.probe import (
    INPUT,
    OUTPUT,
    TOLERANCE,
    Gap,
    Trace,
    gap_between,
    missing,
    probe_input,
    probe_sizes,
    run_torch,
)
from srdeploy.export.report import Parity, parity_of
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.runtime.coreml_package import read_package
from srdeploy.runtime.coreml_reference import CoremlReferenceSession
from srdeploy.runtime.coreml_session import PackageSession
from srdeploy.runtime.sizes import InputSizes, Size

HALF_TOLERANCE = 2e-2
"""Largest |difference| over the value range that float16 arithmetic may cause. A structural
mistake is far larger; healthy networks stay near 1e-3, very deep ones higher."""

ONE_LEVEL = 1 / 255
"""Rounding to pixels may turn the smallest difference into one level."""


def check_structure(
    package: Path, card: Card, trace: Trace, options: CoremlOptions
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
            raise SrdeployError(
                f"'{name}' of the CoreML program has sizes {end.sizes}, not {sizes}."
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


def check_results(
    network: Network, package: Path, options: CoremlOptions, *, lossy: bool
) -> Parity:
    """Interpret the package at two of its sizes (one, if it has one) and compare with torch.

    Args:
        network: The reference, in float32.
        package: A saved package with its card.
        options: How it was made.
        lossy: Weights or activations were compressed, so any difference is a matter of quality.

    Raises:
        SrdeployError: values that are not finite, or a larger difference than the precision
            explains.
    """
    with CoremlReferenceSession(package, threads=1) as session:
        overflown: list[str] = []

        def watch(name: str, operation: str, values: Any) -> None:
            if not overflown and not bool(np.isfinite(values.numpy()).all()):
                overflown.append(f"{operation} '{name}'")

        session.watch = watch
        sizes = parity_sizes(network.card, options.sizes)
        gaps = compare(network, session, sizes)
    parity = parity_of(gaps, sizes)
    if overflown:
        raise SrdeployError(
            f"The {options.precision} program overflows in {overflown[0]}; export with "
            "--precision fp32."
        )
    tolerance = TOLERANCE if options.precision == "fp32" else HALF_TOLERANCE
    if options.images:
        tolerance += ONE_LEVEL
    if not lossy and not all(gap.within(tolerance, network.card) for gap in gaps):
        where = parting(network, package, probe_input(network.card, parity.sizes[0]))
        remedy = "export with --precision fp32" if options.precision == "fp16" else "report this"
        raise SrdeployError(
            f"The CoreML program differs from the network by {parity.relative:.1e} of the value "
            f"range, more than {options.precision} explains ({tolerance:.0e}){where}; {remedy}."
        )
    return parity


def compare_runtimes(network: Network, package: Path, options: CoremlOptions) -> str:
    """How far Core ML itself and the interpreter are apart, in one line; '' without Core ML."""
    if sys.platform != "darwin":
        return ""
    from srdeploy.runtime.coreml_session import CoremlSession

    size = parity_sizes(network.card, options.sizes)[0]
    x = probe_input(network.card, size)
    with CoremlSession(package) as real, CoremlReferenceSession(package) as reference:
        difference = float(np.abs(real.run(x) - reference.run(x)).max())
    relative = difference / network.card.value_range
    return f"Core ML on this Mac and the interpreter differ by {relative:.1e} of the value range"


def compare(network: Network, session: PackageSession, sizes: list[Size]) -> list[Gap]:
    """How far a session is from torch at each of the sizes.

    For packages with image ends torch gets the same 8-bit pixels, and its answer is rounded to
    pixels too.
    """
    card = network.card
    gaps = []
    for size in sizes:
        x = probe_input(card, size)
        if session.package.input.image:
            x = _pixels(x, card)
        expected = run_torch(network, x)
        if session.package.output.image:
            expected = _pixels(expected, card)
        gaps.append(gap_between(expected, session.run(x), card))
    return gaps


def parity_sizes(card: Card, sizes: InputSizes) -> list[Size]:
    """Two small sizes that the package takes."""
    if sizes.listed:
        return sorted(sizes.listed, key=lambda size: size[0] * size[1])[:2]
    multiple = card.size_multiple
    low = [-(-n // multiple) * multiple for n in sizes.low]
    return [
        (min(max(h, low[0]), sizes.high[0]), min(max(w, low[1]), sizes.high[1]))
        for h, w in probe_sizes(card)
    ]


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
