"""SMSR -> the model file of the C code that skips pixels on phones and boards.

The file holds the weights as they are, split by the channel masks; the runner packs them for the
processor that it meets.
"""

from __future__ import annotations

import time
from pathlib import Path

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.probe import TOLERANCE
from srdeploy.exporting.report import ExportReport, Parity, artifact_facts, tool_versions
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.sparse_file_session import SparseFileSession
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.library import load_library
from srdeploy.sparse.model_file import model_bytes, read_model, require_room
from srdeploy.sparse.model_weights import model_weights
from srdeploy.util.files import atomic_path

TARGET = "sparse-runner"
TOOLS = ("torch",)


def export_sparse_runner(network: Network, path: str | Path) -> ExportReport:
    """Write a float32 ``.smsr`` file for any input size.

    Input float32 [N, 3, H, W] in 0..value_range; output [N, 3, H*s, W*s]. Equal networks give equal
    bytes. The file is compared with the network by the C code that reads it, where there is a C
    compiler; else it is only read back, and a note says so.

    Args:
        network: An SMSR network; float32, on the CPU.
        path: Where to.

    Raises:
        UserError: another network, or one that is too large for the C code.
        SrdeployError: the result differs from torch by more than :data:`TOLERANCE`.
    """
    started = time.perf_counter()
    facts = {"weights_sha256": weights_sha256(network.module.state_dict())}
    card = network.card.step(
        step="export", target=TARGET, precision="fp32", tools=tool_versions(TOOLS), **facts
    )
    parity, notes = None, []
    with atomic_path(path) as temporary:
        write_model(network, temporary, card)
        try:
            load_library()
        except Unavailable as error:
            read_model(temporary)
            notes.append(f"not compared with the network, as it cannot run here: {error}")
        else:
            parity = _compared(network, temporary)
    return ExportReport(
        target=TARGET,
        path=str(path),
        **artifact_facts(Path(path)),
        precision="fp32",
        opset=None,
        parity=parity,
        operators={},
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
    )


def write_model(network: Network, path: Path, card: Card | None = None) -> None:
    """Write the file, without comparing it.

    Args:
        network: What to write.
        path: Where to.
        card: What is to lie in it; None: the network's.

    Raises:
        UserError: no SMSR network, or one that is too large for the C code.
        SrdeployError: its weights are no numbers.
    """
    if not isinstance(network.module, SMSR):
        raise UserError(
            f"The sparse runner runs SMSR networks, this one is {network.card.arch}; export it to "
            "ONNX, which the native runner runs, too."
        )
    sizes, weights = model_weights(network.module)
    require_room(sizes, weights, "This network")
    path.write_bytes(model_bytes(card or network.card, sizes, weights))
    try:
        read_model(path)
    except UserError as error:
        raise SrdeployError("This network has weights that are no finite numbers.") from error


def _compared(network: Network, path: Path) -> Parity:
    reference = Reference.of(network)
    with SparseFileSession(path, threads=1) as session:
        return check_parity_of(reference, session.run, TOLERANCE, what="The model file")
