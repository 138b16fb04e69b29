"""What a CoreML export can be asked for, checked together; and where Core ML will run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srdeploy.errors import UserError, unknown_name
from srdeploy.models.card import Card
from srdeploy.runtime.sizes import InputSizes, Size

SMALLEST, LARGEST, TYPICAL = 16, 2048, 256
"""Bounds of the input's height and width, and the size CoreML plans for, unless told.
mlprograms need an upper bound; at x4 this one already means 67 megapixels out."""

DEPLOYMENTS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
"""Systems that know mlprograms; macOS 12, 13, 14, 15 and 26 are their contemporaries."""

PRECISIONS = ("fp32", "fp16")
PALETTE_BITS = (8, 6, 4, 2, 1)
QUANTIZATIONS = ("w8", "a8", "w8a8")
MOST_SHAPES = 128  # enumerated shapes; Core ML's limit


@dataclass(frozen=True)
class CoremlRequest:
    """One export's choices, as :func:`check_options` completes them.

    Attributes:
        precision: ``fp32`` or ``fp16``: what the program computes in.
        images: 8-bit images in and out, instead of tensors.
        sizes: Input sizes.
        palettize: Bits per weight of a palette (k-means), or None.
        quantize: 8-bit integers for weights (``w8``), activations (``a8``) or both, or None.
        minimum_deployment: The oldest system that shall run it.
    """

    precision: str
    images: bool
    sizes: InputSizes
    palettize: int | None
    quantize: str | None
    minimum_deployment: str

    @property
    def activations(self) -> bool:
        """Whether activations are quantised."""
        return self.quantize in ("a8", "w8a8")

    @property
    def weights(self) -> bool:
        """Whether weights are quantised linearly."""
        return self.quantize in ("w8", "w8a8")

    @property
    def label(self) -> str:
        """The precision that reports show: ``fp16``, ``fp16, 6-bit palette, a8``..."""
        parts = [self.precision]
        if self.palettize:
            parts.append(f"{self.palettize}-bit palette")
        if self.quantize:
            parts.append(self.quantize)
        return ", ".join(parts)

    def recorded(self) -> dict[str, Any]:
        """What the card remembers."""
        chosen: dict[str, Any] = {
            "precision": self.precision,
            "ends": "images" if self.images else "tensors",
            "sizes": str(self.sizes),
            "minimum_deployment": self.minimum_deployment,
        }
        if self.palettize:
            chosen["palettize"] = self.palettize
        if self.quantize:
            chosen["quantize"] = self.quantize
        return chosen


def check_options(
    card: Card,
    *,
    precision: str,
    images: bool,
    sizes: str | InputSizes | None,
    palettize: int | None,
    quantize: str | None,
    minimum_deployment: str | None,
) -> CoremlRequest:
    """The options of one export, completed.

    Raises:
        UserError: a value that does not exist, values that exclude each other, or sizes that do
            not suit the network.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision of CoreML programs", precision, PRECISIONS)
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise unknown_name("quantisation of CoreML programs", quantize, QUANTIZATIONS)
    if palettize is not None and palettize not in PALETTE_BITS:
        raise UserError(f"A palette of {palettize} bits does not exist; choose 8, 6, 4, 2 or 1.")
    if palettize and quantize in ("w8", "w8a8"):
        raise UserError(
            "Weights can have a palette or 8-bit integers, not both; leave out --palettize, or "
            "quantise activations alone with --quantise a8."
        )
    if images and card.channels not in (1, 3):
        raise UserError(f"A network of {card.channels} channels has no image ends.")
    lowest = "iOS17" if quantize in ("a8", "w8a8") else "iOS16"
    system = minimum_deployment or lowest
    if system not in DEPLOYMENTS:
        raise unknown_name("deployment target", system, DEPLOYMENTS)
    compressed = palettize or quantize
    if compressed and DEPLOYMENTS.index(system) < DEPLOYMENTS.index(lowest):
        what = "Quantised activations need" if lowest == "iOS17" else "Compressed weights need"
        raise UserError(f"{what} {lowest} or later; raise --minimum-deployment.")
    return CoremlRequest(precision, images, _sizes(card, sizes), palettize, quantize, system)


def _sizes(card: Card, sizes: str | InputSizes | None) -> InputSizes:
    multiple = card.size_multiple
    if sizes is None:
        low = -(-SMALLEST // multiple) * multiple
        return InputSizes(low=(low, low), high=(LARGEST, LARGEST))
    found = InputSizes.parse(sizes) if isinstance(sizes, str) else sizes
    for height, width in found.listed or (found.low,):
        if height % multiple or width % multiple:
            raise UserError(
                f"The network cannot take {width}x{height} pixels; give multiples of {multiple}."
            )
    if len(found.listed) > MOST_SHAPES:
        raise UserError(
            f"Core ML takes {MOST_SHAPES} sizes at most, not {len(found.listed)}; give a range."
        )
    return found


def default_size(sizes: InputSizes, multiple: int) -> Size:
    """The size that Core ML plans for: the first listed, or a typical one of a range."""
    if sizes.listed:
        return sizes.listed[0]
    typical = -(-TYPICAL // multiple) * multiple
    height, width = (
        min(max(typical, low), high // multiple * multiple)
        for low, high in zip(sizes.low, sizes.high, strict=True)
    )
    return height, width


def compute_units(options: CoremlRequest) -> tuple[str, str]:
    """The compute units to ask Core ML for (as Swift spells them), and why.

    The facts are Apple's: the Neural Engine computes in float16 only; with enumerated sizes each
    of them can run there, with a range only the default size does, the others run on GPU or CPU
    (coremltools' guide on flexible inputs; Apple's answer in developer forum thread 724930).
    """
    if options.precision == "fp32":
        return "cpuAndGPU", (
            "a float32 program never runs on the Neural Engine; --precision fp16 does"
        )
    if options.sizes.ranged:
        height, width = default_size(options.sizes, 1)
        return "cpuAndGPU", (
            f"of a range of sizes the Neural Engine serves {width}x{height} alone, others would "
            "change the compute unit; for the Neural Engine list the sizes (--input "
            "480x270,640x360)"
        )
    each = "its size" if options.sizes.fixed else "each listed size"
    why = f"float16 and {each} planned in advance, so the Neural Engine can run it"
    if options.activations:
        why += "; 8-bit activations are faster from A17 Pro and M4 on, elsewhere they save memory"
    return "all", why
