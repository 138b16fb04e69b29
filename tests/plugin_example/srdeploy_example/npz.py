"""Networks as .npz files: the weights in numpy's archive, and the card as one more array."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np
import torch

from srdeploy.errors import UserError
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.probe import TOLERANCE
from srdeploy.exporting.report import ExportReport, artifact_facts, tool_versions
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.network import Network
from srdeploy.models.store import empty_module
from srdeploy.runtime.torch_session import TorchSession
from srdeploy.util.files import atomic_path


def export_npz(network: Network, path: str | Path) -> ExportReport:
    """Write an .npz file."""
    started = time.perf_counter()
    card = network.card.step(step="export", target="npz", precision="fp32")
    weights = {name: value.numpy() for name, value in network.module.state_dict().items()}
    reference = Reference.of(network)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **weights, **{CARD_KEY: np.array(card.to_json())})
        with NpzSession(temporary, threads=1) as session:
            parity = check_parity_of(reference, session.run, TOLERANCE, what="The .npz file")
    return ExportReport(
        target="npz",
        path=str(path),
        **artifact_facts(Path(path)),
        precision="fp32",
        opset=None,
        parity=parity,
        operators={},
        tools=tool_versions(("torch", "numpy")),
        seconds=time.perf_counter() - started,
    )


def read_npz(path: str | Path) -> Network:
    """The network in an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        card = Card.from_json(str(arrays.pop(CARD_KEY)), f"'{path}'")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' is no .npz file of a network, or a truncated one.") from error
    module = empty_module(card)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    module.load_state_dict(tensors, assign=True)
    return Network(module.eval(), card)


def card_of_npz(path: Path) -> Card:
    """For `srdeploy explain`."""
    return read_npz(path).card


class NpzSession(TorchSession):
    """One .npz file, loaded and ready."""

    runtime = "npz"
    precision = "fp32"

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        super().__init__(read_npz(path), threads)
