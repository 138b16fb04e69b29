"""Eight bits under two kinds of names: those of an exported graph, and those of the card.

The card's (:mod:`srdeploy.models.quantised`) hold for the network in torch and for whatever is
exported from it. Where simplification has multiplied a convolution's weights (a residual scaling),
what it makes is as many times larger in the graph than in torch, and so are its intervals.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from srdeploy.errors import SrdeployError
from srdeploy.exporting.precision.graph import constant, layers_of
from srdeploy.exporting.probe import INPUT
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import INPUT as CARD_INPUT
from srdeploy.models.quantised import Activations, Quantised, Range


@dataclass(frozen=True)
class TrainedRanges:
    """What 8-bit fine-tuning found, for a graph.

    Attributes:
        layers: The graph's names of the layers that run on 8 bits.
        ranges: Of every tensor that they read or write.
        activations: The grid of the activations.
        names: The card's name of each of these tensors; moved pixels keep the name.
        factors: How many times larger each is in the graph than in torch.
    """

    layers: list[str]
    ranges: dict[str, Range]
    activations: Activations
    names: dict[str, str]
    factors: dict[str, float]


def to_card(
    model: onnx.ModelProto,
    network: Network,
    layers: Collection[str],
    ranges: Mapping[str, Range],
    activations: Activations,
) -> Quantised:
    """For the card of a network: layers and intervals that a graph of it was given.

    Args:
        model: float32, exported from the network.
        network: Weights as in the graph.
        layers: Of the graph.
        ranges: Of every tensor that they read or write.
        activations: The grid of the activations.

    Raises:
        SrdeployError: a layer whose weights in the graph are not its own in torch.
    """
    names = _layer_names(model)
    tensors, moved = _tensor_names(model, layers)
    factors = _factors(model, network, layers)
    found = {
        name: ranges[tensor].times(1 / factors[tensor])
        for tensor, name in tensors.items()
        if tensor not in moved
    }
    return Quantised(
        activations=activations,
        layers=tuple(names[layer] for layer in names if layer in layers),
        ranges={name: (interval.low, interval.high) for name, interval in found.items()},
        weights_sha256=weights_sha256(network.module.state_dict()),
    )


def from_card(model: onnx.ModelProto, network: Network) -> TrainedRanges | None:
    """For a graph of a network: what its card holds; None where that is nothing, or out of date.

    Arguments and errors as :func:`to_card`; also:

    Raises:
        SrdeployError: the graph has not the layers or tensors that the card names.
    """
    quantised = network.card.quantised
    if quantised is None or is_stale(network):
        return None
    names = _layer_names(model)
    layers = [layer for layer, name in names.items() if name in quantised.layers]
    tensors, moved = _tensor_names(model, layers)
    missing = {*quantised.layers} - set(names.values()) | {*tensors.values()} - {*quantised.ranges}
    if missing:
        raise SrdeployError(
            f"The exported graph does not match what was fine-tuned for 8 bits (at "
            f"{sorted(missing)[0]}); use the exporter 'trace', or calibrate with --calibration."
        )
    made = _factors(model, network, layers)
    factors = {tensor: made[moved.get(tensor, tensor)] for tensor in tensors}
    ranges = {
        tensor: Range(*quantised.ranges[name]).times(factors[tensor])
        for tensor, name in tensors.items()
    }
    return TrainedRanges(layers, ranges, quantised.activations, tensors, factors)


def is_stale(network: Network) -> bool:
    """Whether the weights have changed since they were fine-tuned for 8 bits."""
    quantised = network.card.quantised
    return quantised is not None and quantised.weights_sha256 != weights_sha256(
        network.module.state_dict()
    )


def _layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """The card's name of every layer, in graph order."""
    layers = layers_of(model)
    sums = iter(range(len(layers)))
    return {layer.name: f"sum.{next(sums)}" if layer.is_sum else layer.name for layer in layers}


def _tensor_names(
    model: onnx.ModelProto, chosen: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The card's name of every tensor that the chosen layers read or write.

    Also, for those that are rounded tensors with their pixels moved, which: they share intervals.
    """
    names = _layer_names(model)
    layers = layers_of(model)
    makers = {INPUT: CARD_INPUT} | {layer.output: names[layer.name] for layer in layers}
    rounded = {layer.output for layer in layers if layer.name in chosen}
    moved: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "DepthToSpace" and (source := node.input[0]) in rounded | moved.keys():
            moved[node.output[0]] = moved.get(source, source)
    found: dict[str, str] = {}
    for layer in layers:
        if layer.name not in chosen:
            continue
        for position, tensor in enumerate(layer.inputs):
            own = makers.get(moved.get(tensor, tensor), f"{names[layer.name]}:{position}")
            found.setdefault(tensor, own)
        found[layer.output] = names[layer.name]
    return found, moved


def _factors(model: onnx.ModelProto, network: Network, chosen: Collection[str]) -> dict[str, float]:
    """How many times larger each tensor is in the graph than in torch."""
    found: dict[str, float] = {}
    parameters = dict(network.module.named_parameters())
    for layer in layers_of(model):
        for tensor in (*layer.inputs, layer.output):
            found.setdefault(tensor, 1.0)
        if layer.is_sum or layer.name not in chosen:
            continue
        own = parameters.get(f"{layer.name}.weight")
        there = constant(model.graph, layer.weight)
        here = np.zeros(()) if own is None else own.detach().numpy()
        factor = float(np.abs(there).max() / max(np.abs(here).max(), 1e-30))
        if here.shape != there.shape or not np.allclose(there, factor * here, rtol=1e-4):
            raise SrdeployError(
                f"The weights of '{layer.name}' in the exported graph are not those of a layer in "
                "torch (it is used twice, or another operation is folded into it), so the network "
                "cannot be fine-tuned for 8 bits; export it with --precision mixed."
            )
        found[layer.output] = factor
    return found
