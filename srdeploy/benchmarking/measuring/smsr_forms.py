"""SMSR in every form that this machine has: skipping pixels, and dense in every runtime."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.runtime.sparse_session import SparseSession
from srdeploy.runtime.table import RUNTIMES
from srdeploy.sparse.breakeven import crossing
from srdeploy.util.progress import track

DENSE: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "torch": (None, ("fp32",)),
    "onnxruntime": ("onnx", ("fp32", "int8")),
    "openvino": ("onnx", ("fp32", "bf16", "int8")),
    "ncnn": ("ncnn", ("fp32", "int8")),
}
"""Runtimes of dense forms: the target that writes their files (None: the network itself), and the
precisions in which they compute on a CPU."""

ENGINE = "sparse fp32, Python engine"
REFERENCE = "torch fp32"
PAUSE = 0.04
"""Seconds before a turn, in which the threads of the one before come to rest."""


@dataclass(frozen=True)
class Form:
    """One way to run the network.

    Attributes:
        name: For instance ``openvino bf16``.
        runtime: Its runtime.
        precision: What it computes in.
        file: The artifact; None where the network itself is run.
        sparse: Whether it skips pixels.
        backend: Of the Python engine: what computes at listed pixels.
    """

    name: str
    runtime: str
    precision: str
    file: Path | None = None
    sparse: bool = False
    backend: str | None = None

    def open(self, network: Network, threads: int) -> Session:
        """A session; the network is used where there is no file."""
        if self.backend is not None:
            return SparseSession(network, threads, backend=self.backend)
        return open_session(self.file or network, runtime=self.runtime, threads=threads)


@dataclass(frozen=True)
class SizeResult:
    """All forms on square images of one size.

    Attributes:
        side: Pixels along a side.
        densities: Shares of pixels inside the masks.
        sparse_ms: By form, median for every density.
        dense_ms: By form, median.
    """

    side: int
    densities: list[float]
    sparse_ms: dict[str, list[float]]
    dense_ms: dict[str, float]

    def fastest_dense(self, allowed: Sequence[str]) -> str:
        """The name of the fastest of the dense forms that count."""
        return min((f for f in self.dense_ms if f in allowed), key=self.dense_ms.__getitem__)

    def pays_below(self, form: str, allowed: Sequence[str]) -> float:
        """Density up to which a sparse form is quicker than all dense ones: 0 never, 1 always."""
        dense = self.dense_ms[self.fastest_dense(allowed)]
        return crossing(self.densities, self.sparse_ms[form], dense)


def sparse_precisions() -> tuple[str, ...]:
    """What the C code computes in here, of 16 bits the format that processors like this have."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    return ("fp32", "fp16" if arm else "bf16", "int8")


def write_forms(
    network: Network, folder: Path, *, runtimes: Sequence[str] | None = None, backend: str = "auto"
) -> tuple[list[Form], dict[str, str]]:
    """Export a network for all forms that run here.

    Args:
        network: SMSR.
        folder: Where the files go.
        runtimes: Of dense forms, besides torch; default: all.
        backend: Of the Python engine.

    Returns:
        The forms; and, of those that could not be made, the reasons by name.
    """
    found = [Form(ENGINE, "sparse", "fp32", None, True, backend)]
    missing: dict[str, str] = {}
    wanted = [("sparse", "sparse-runner", one) for one in sparse_precisions()]
    for runtime, (target, precisions) in DENSE.items():
        if target is None:
            found += [Form(f"{runtime} {one}", runtime, one) for one in precisions]
        elif runtimes is None or runtime in runtimes:
            if not (here := RUNTIMES[runtime].availability()):
                missing[runtime] = here.reason
                continue
            wanted += [(runtime, target, one) for one in precisions]
    suffixes = {"onnx": "onnx", "ncnn": "param", "sparse-runner": "smsr"}
    with track("export", len(wanted)) as bar:
        for runtime, target, precision in wanted:
            file = folder / f"{target}-{precision}.{suffixes[target]}"
            name = f"{runtime} {precision}"
            try:
                if not file.exists():
                    export(network, target, file, precision=precision)
                found.append(Form(name, runtime, precision, file, target == "sparse-runner"))
            except (UserError, SrdeployError) as error:
                missing[name] = str(error)
            bar.update()
    return found, missing


def in_turns(
    sessions: Mapping[str, Session], inputs: Mapping[str, NDArray[np.float32]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per session and input, one figure per round, after a round that is not counted.

    Sessions take turns on every input, in an order that is turned round every round.
    """
    times: dict[str, dict[str, list[float]]] = {s: {i: [] for i in inputs} for s in sessions}
    for number in range(-1, rounds):
        for name, x in inputs.items():
            for form in list(sessions) if number % 2 == 0 else list(sessions)[::-1]:
                time.sleep(PAUSE)
                begun = time.perf_counter()
                sessions[form].run(x)
                if number >= 0:
                    times[form][name].append((time.perf_counter() - begun) * 1e3)
    return times
