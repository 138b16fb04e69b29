"""SMSR -> the model file of the C code that skips pixels on phones and boards.

The file holds the weights as they are, split by the channel masks; the runner rounds and packs them
for the processor that it meets.
"""

from __future__ import annotations

import time
from pathlib import Path

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.write import TOLERANCES
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.report import ExportReport, Parity, artifact_facts, tool_versions
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.runtime.sparse_file import write_model
from srdeploy.runtime.sparse_file_session import SparseFileSession
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.library import load_library
from srdeploy.sparse.model_file import read_model
from srdeploy.util.files import atomic_path

TARGET = "sparse-runner"
TOOLS = ("torch",)


def export_sparse_runner(
    network: Network,
    path: str | Path,
    *,
    precision: str = "fp32",
    calibration: str | None = None,
) -> ExportReport:
    """Write a ``.smsr`` file for any input size.

    Input float32 [N, 3, H, W] in 0..value_range; output [N, 3, H*s, W*s]. Equal networks give equal
    bytes. The file is compared with the network by the C code that reads it, where there is a C
    compiler; else it is only read back, and a note says so.

    Args:
        network: An SMSR network; float32, on the CPU.
        path: Where to.
        precision: What it is computed in.
        calibration: Images that the grids of ``int8`` are found on; default: the shipped ones.

    Raises:
        UserError: another network, or one that is too large for the C code.
        SrdeployError: the result differs from torch by more than the precision explains.
    """
    started = time.perf_counter()
    if calibration is not None and precision != "int8":
        raise UserError("--calibration goes with --precision int8; leave it out.")
    facts = {"weights_sha256": weights_sha256(network.module.state_dict())}
    card = network.card.step(
        step="export", target=TARGET, precision=precision, tools=tool_versions(TOOLS), **facts
    )
    parity, notes = None, []
    with atomic_path(path) as temporary:
        images = calibration or BUILTIN
        write_model(network, temporary, card, precision=precision, calibration=images)
        try:
            load_library()
        except Unavailable as error:
            read_model(temporary)
            notes.append(f"not compared with the network, as it cannot run here: {error}")
        else:
            parity = _compared(network, temporary, precision)
    return ExportReport(
        target=TARGET,
        path=str(path),
        **artifact_facts(Path(path)),
        precision=precision,
        opset=None,
        parity=parity,
        operators={},
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
    )


def _compared(network: Network, path: Path, precision: str) -> Parity:
    reference = Reference.of(network)
    with SparseFileSession(path, threads=1) as session:
        return check_parity_of(reference, session.run, TOLERANCES[precision], what="The model file")
