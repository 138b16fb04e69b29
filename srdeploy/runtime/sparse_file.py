"""SMSR networks to the model files that C code runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.inputs import network_inputs
from srdeploy.sparse.calibrate import steps
from srdeploy.sparse.model_file import PRECISIONS, model_bytes, read_model, require_room
from srdeploy.sparse.model_weights import model_weights


def find_grids(network: Network, calibration: str = BUILTIN) -> list[Tensor]:
    """The grids of features in 8 bits (:func:`srdeploy.sparse.calibrate.steps`), on images."""
    assert isinstance(network.module, SMSR)
    images = network_inputs(calibration, network.card)
    return steps(network.module, map(torch.from_numpy, images))


def write_model(
    network: Network,
    path: Path,
    card: Card | None = None,
    *,
    precision: str = "fp32",
    calibration: str = BUILTIN,
    grids: Sequence[Tensor] | None = None,
) -> None:
    """Write a file, without comparing it.

    Args:
        network: An SMSR network; float32, on the CPU.
        path: Where to.
        card: What is to lie in it; None: the network's.
        precision: One of :data:`srdeploy.sparse.model_file.PRECISIONS`.
        calibration: Images that the grids of ``int8`` are found on, as
            :func:`srdeploy.runtime.inputs.network_inputs` takes them.
        grids: Those of ``int8``, where they are known already (:func:`find_grids`).

    Raises:
        UserError: no SMSR network, or one that is too large for the C code; or an unknown
            precision.
        SrdeployError: its weights are no numbers.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision of the runtime sparse", precision, PRECISIONS)
    if not isinstance(network.module, SMSR):
        raise UserError(
            f"The sparse runner runs SMSR networks, this one is {network.card.arch}; export it to "
            "ONNX, which the native runner runs, too."
        )
    if precision != "int8":
        grids = ()
    elif grids is None:
        grids = find_grids(network, calibration)
    sizes, weights = model_weights(network.module, precision, grids)
    require_room(sizes, weights, "This network")
    path.write_bytes(model_bytes(card or network.card, sizes, weights))
    try:
        read_model(path)
    except UserError as error:
        raise SrdeployError("This network has weights that are no finite numbers.") from error
