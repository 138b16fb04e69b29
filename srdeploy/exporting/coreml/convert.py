"""Network -> CoreML model in memory: ends as asked, range folded, traced, converted, compressed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.coreml.lower import Unconvertible, mended
from srdeploy.exporting.coreml.options import CoremlRequest, default_size
from srdeploy.exporting.pixel_reads import READS, pixel_read
from srdeploy.exporting.portable import Portable
from srdeploy.exporting.probe import INPUT, OUTPUT
from srdeploy.exporting.range_folding import change_range, fold_range
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph

SMALL_WEIGHT = 2048
"""Weights of no more elements are left as they are: coremltools' own threshold. In SR networks
these are the first and last layers, which need their precision most."""

Stats = dict[str, dict[str, float]]
"""Smallest and largest value (``rmin``, ``rmax``) of each named result."""


class _Image(nn.Module):
    """Ends as 8-bit images need them: clamped and rounded inside the program.

    Core ML does not say whether it rounds or truncates on the way to a pixel buffer; whole
    numbers come out the same either way.
    """

    def __init__(self, network: nn.Module, per_level: float) -> None:
        super().__init__()
        self.network = network
        self.per_level = per_level

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] in 0..255 to whole numbers in 0..255."""
        if self.per_level == 1:
            return self.network(x).clamp(0, 255).round()
        return (self.network(x * self.per_level) / self.per_level).clamp(0, 255).round()


def prepare(network: Network, options: CoremlRequest) -> tuple[Network, list[str]]:
    """The module to convert, and what was done to it.

    Half precision gets the value range folded away (:func:`fold_range`); image ends work in
    0..255 (folded in as well, where possible) and round inside.
    """
    notes: list[str] = []
    if options.precision == "fp16" and network.card.value_range > 1:
        folded = fold_range(network)
        network = folded.network
        notes.append(folded.note())
    if not options.images:
        return network, notes
    per_level = 1.0
    if network.card.value_range != 255:
        pixels = change_range(network, 255.0)
        network = pixels.network
        if not pixels:
            per_level = network.card.value_range / 255
    return Network(_Image(network.module, per_level).eval(), network.card), notes


def convert(network: Network, options: CoremlRequest, example: Size) -> Any:
    """A ``coremltools`` model, not loaded.

    Args:
        network: What :func:`prepare` made.
        options: As asked.
        example: Height and width at which the network's code is followed.

    Raises:
        Unconvertible: coremltools cannot convert the network.
    """
    import coremltools as ct

    card, sizes = network.card, options.sizes
    default = default_size(sizes, card.size_multiple)
    if sizes.ranged:
        bounds = zip(sizes.low, sizes.high, default, strict=True)
        shape: Any = (1, card.channels, *(ct.RangeDim(*bound) for bound in bounds))
    else:
        shapes = [(1, card.channels, *size) for size in sizes.listed]
        shape = shapes[0] if sizes.fixed else ct.EnumeratedShapes(shapes, default=shapes[0])
    ends: list[Any]
    if options.images:
        layouts = ct.colorlayout
        colour = layouts.GRAYSCALE if card.channels == 1 else layouts.RGB
        ends = [
            ct.ImageType(INPUT, shape=shape, color_layout=colour),
            ct.ImageType(OUTPUT, color_layout=colour),
        ]
    else:
        ends = [ct.TensorType(INPUT, shape=shape), ct.TensorType(OUTPUT)]
    x = torch.from_numpy(photograph(card, example))
    if read := pixel_read(network.module, x):
        raise Unconvertible(*read, READS, remedy="replace it in the network's code")
    precision = ct.precision.FLOAT16 if options.precision == "fp16" else ct.precision.FLOAT32
    with mended():
        with Portable():
            traced = torch.jit.trace(network.module, (x,), check_trace=False)
        return ct.convert(
            traced,
            convert_to="mlprogram",
            inputs=ends[:1],
            outputs=ends[1:],
            compute_precision=precision,
            minimum_deployment_target=ct.target[options.minimum_deployment],
            skip_model_load=True,
        )


def compress_weights(model: Any, options: CoremlRequest) -> Any:
    """The model with a palette or 8-bit integers for its larger weights."""
    import coremltools.optimize.coreml as cto

    if options.palettize:
        palette = cto.OpPalettizerConfig(
            mode="kmeans", nbits=options.palettize, weight_threshold=SMALL_WEIGHT
        )
        return cto.palettize_weights(model, cto.OptimizationConfig(global_config=palette))
    if options.weights:
        integers = cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", weight_threshold=SMALL_WEIGHT
        )
        return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=integers))
    return model


def quantize_activations(model: Any, stats: Stats, layers: Sequence[str]) -> Any:
    """The model with 8-bit inputs for the convolutions of ``layers``.

    This is ``coremltools.optimize.coreml.linear_quantize_activations`` without its calibration,
    which predicts and hence needs macOS (and there keeps the range of the last sample only,
    coremltools 9.0): the ranges come from outside.

    Args:
        model: An iOS 17 program, weights not compressed.
        stats: Range of every result.
        layers: Names of the convolutions.

    Raises:
        SrdeployError: coremltools left one of them out.
    """
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.frontend.milproto.load import load
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models.utils import _apply_graph_pass

    integers = cto.OpLinearQuantizerConfig(mode="linear_symmetric")
    config = cto.OptimizationConfig(op_name_configs=dict.fromkeys(layers, integers))
    insert = PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"]
    insert.set_options([PassOption("config", config), PassOption("activation_stats", stats)])
    quantized = _apply_graph_pass(
        model, [insert], spec_version=8, pymil_load_func=load, skip_model_load=True
    )
    function = quantized.get_spec().mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    restored = {op.outputs[0].name for op in block.operations if op.type == "dequantize"}
    found = sum(  # convolutions, as several may read one of them
        op.type.startswith("conv") and op.inputs["x"].arguments[0].name in restored
        for op in block.operations
    )
    if found != len(layers):
        raise SrdeployError(
            f"coremltools quantised the input of {found} of {len(layers)} convolutions; report "
            "this, and export with --quantise w8."
        )
    return quantized
