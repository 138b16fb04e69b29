"""Fine-tuning for 8 bits: what an int8 export would round, learned around.

The float32 graph decides which layers run on 8 bits, and calibration on it where the intervals
begin (exactly as an export without fine-tuning would); training goes on in torch; what was learned
comes back on the card, from where :func:`srdeploy.exporting.onnx.export.export_onnx` takes it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import layers_of, with_outputs
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_names import from_card, to_card
from srdeploy.exporting.precision.quantise_ranges import runner, watch
from srdeploy.exporting.precision.quantise_search import ranges_of, usual_layers
from srdeploy.exporting.probe import OUTPUT
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.models.probes import run
from srdeploy.runtime.inputs import network_inputs
from srdeploy.train.fake_quant import Rounding, fixed, rounding
from srdeploy.train.loop import train
from srdeploy.train.quantise import QuantiseHook
from srdeploy.train.recipe import Quantise, TrainRecipe
from srdeploy.util.strict import expand

_ALIKE = 1.01
"""Steps that torch and the graph may be apart, given equal inputs."""


def finetune_int8(
    network: Network,
    recipe: TrainRecipe,
    run_dir: str | Path,
    *,
    resume: bool = True,
) -> Network:
    """Fine-tune a network for 8 bits; resumable like any training run.

    Args:
        network: Trained in float32; left as it is. Also the teacher, where the recipe distils and
            names none.
        recipe: Every setting; has a ``quantise`` section.
        run_dir: The run's own folder.
        resume: Go on from a checkpoint found there.

    Returns:
        The network, in float32, with ``quantised`` on its card.

    Raises:
        UserError: as :func:`srdeploy.train.loop.train`, unreadable calibration images, or a
            network with nothing to round.
        SrdeployError: the network does not round in torch as its graph does.
    """
    assert recipe.quantise is not None
    start = calibrated(folded(network), recipe.quantise)
    assert start.card.quantised is not None
    hook = QuantiseHook(start.card.quantised, recipe)
    return train(
        start,
        recipe,
        run_dir,
        resume=resume,
        hooks=[hook],
        step="finetune",
        teacher=network,
    )


def calibrated(network: Network, settings: Quantise) -> Network:
    """The network with the layers and intervals on its card that an int8 export would choose.

    One that was fine-tuned for the same grid before keeps what it has.

    Raises:
        UserError: the images cannot be read, or the network has nothing to round.
        SrdeployError: as :func:`finetune_int8`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        export_onnx(network, path, check=False)
        model = onnx.load(path)
    layers = set(usual_layers(model))
    if all(layer.is_sum for layer in layers_of(model) if layer.name in layers):
        raise UserError(
            "The network has no convolution between its ends, so there is nothing to fine-tune for "
            "8 bits."
        )
    images = BUILTIN if settings.calibration is None else str(expand(settings.calibration))
    inputs = network_inputs(images, network.card)
    before = from_card(model, network)
    if before and before.activations == settings.activations and settings.calibration is None:
        found = network
    else:
        ranges = ranges_of(
            model,
            watch(
                model,
                [t for x in layers_of(model) if x.name in layers for t in (*x.inputs, x.output)],
                inputs,
            ),
            settings.method,
            symmetric=settings.activations == "int8",
            value_range=network.card.value_range,
        )
        quantised = to_card(model, network, layers, ranges, settings.activations)
        found = replace(network, card=network.card.model_copy(update={"quantised": quantised}))
    _prove_alike(found, model, inputs[0])
    return found


class _Followed(Rounding):
    """Rounds as told, compares with what the graph made of the same, and goes on with that.

    So that no difference grows: a value that lies between two steps may fall to either side.
    """

    expected: dict[str, Tensor]
    apart: dict[str, float]

    def of(self, name: str, x: Tensor) -> Tensor:
        """The graph's tensor; how many steps torch's is away goes to ``apart``."""
        y = super().of(name, x)
        if name not in self.expected:
            return y
        wanted = self.expected[name]
        self.apart[name] = float((y - wanted).abs().max() / self.grids[name][0])
        return wanted


def steps_apart(network: Network, model: onnx.ModelProto, x: np.ndarray) -> dict[str, float]:
    """How far torch rounds from the exported graph, tensor by tensor, given equal inputs.

    Args:
        network: With ``quantised`` on its card.
        model: float32, exported from it.
        x: float32 [1, C, H, W].

    Returns:
        For every tensor on the card the largest |difference| in steps of its grid; infinite for
        one that torch never rounds. 1 is a value between two steps that fell to the other side.
    """
    trained = from_card(model, network)
    assert trained is not None
    assert network.card.quantised is not None
    graph = quantise(model, trained.layers, trained.ranges, activations=trained.activations)
    rounded = {tensor: f"{tensor}_dq" for tensor in trained.names if tensor != OUTPUT}
    found = runner(with_outputs(graph, rounded.values()), fuse=False)(x)
    follow = _Followed(**vars(fixed(network.card.quantised)))
    follow.apart = dict.fromkeys(trained.names.values(), float("inf"))
    follow.expected = {
        trained.names[tensor]: torch.from_numpy(found[result] / trained.factors[tensor])
        for tensor, result in reversed(rounded.items())  # before its pixels are moved
    }
    module = network.copy().module.eval()
    with rounding(module, lambda: follow):
        run(module, torch.from_numpy(x))
    return follow.apart


def _prove_alike(network: Network, model: onnx.ModelProto, x: np.ndarray) -> None:
    """The network rounds in torch what its graph rounds in onnxruntime."""
    apart = steps_apart(network, model, x)
    worst = max(apart, key=lambda name: apart[name])
    if not apart[worst] <= _ALIKE:
        raise SrdeployError(
            f"In torch this network rounds otherwise than its exported graph does (at '{worst}'), "
            "so it cannot be fine-tuned for 8 bits; export it with --precision mixed, and report "
            "this network."
        )
