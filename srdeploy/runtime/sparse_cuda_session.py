"""SMSR on an NVIDIA GPU with pixels skipped: :mod:`srdeploy.sparse.gpu` behind a session."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from srdeploy.errors import UserError, unknown_name
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import RUNTIMES

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}


class SparseCudaSession(Session):
    """Runs an SMSR network in Triton's kernels; ``run`` returns when the GPU has finished."""

    runtime: ClassVar[str] = "sparse-cuda"

    def __init__(
        self, network: Network, threads: int | None = None, *, precision: str | None = None
    ) -> None:
        """Move the packed weights to the GPU.

        Args:
            network: An SMSR network; it is not changed.
            threads: CPU threads; nothing is computed there.
            precision: ``fp32`` (default) or ``fp16``.

        Raises:
            UserError: another network or precision, or no GPU that torch can use. Where the
                variable TRITON_INTERPRET is 1, Triton's interpreter runs it on the CPU.
        """
        super().__init__(network.card, threads)
        if not isinstance(network.module, SMSR):
            raise UserError(
                f"The runtime sparse-cuda runs SMSR networks, this one is {network.card.arch}; "
                "leave the runtime out."
            )
        self.precision = precision or "fp32"
        if self.precision not in PRECISIONS:
            raise unknown_name("precision of the runtime sparse-cuda", self.precision, PRECISIONS)
        self._device = torch.device(_where())
        from srdeploy.sparse.gpu import GpuSMSR

        self._kind = PRECISIONS[self.precision]
        self._module = GpuSMSR(network.module).to(self._device, self._kind)
        computes = (
            torch.cuda.get_device_name(self._device)
            if self._device.type == "cuda"
            else "Triton's interpreter, whose speed says nothing"
        )
        self.notes = (f"sparse form in Triton on {computes}",)

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = torch.from_numpy(x).to(self._device, self._kind)
            return self._module(given).float().contiguous().cpu().numpy()

    def close(self) -> None:
        """Let the weights go."""
        del self._module


def _where() -> str:
    """Where it runs.

    Raises:
        UserError: nowhere here.
    """
    row = RUNTIMES[SparseCudaSession.runtime]
    if os.environ.get("TRITON_INTERPRET") == "1":
        if not (found := row.module.availability()):
            raise UserError(f"Triton's interpreter is not here: {found.reason}.")
        return "cpu"
    if not (found := row.availability()):
        raise UserError(f"The runtime sparse-cuda cannot run here: {found.reason}.")
    if not torch.cuda.is_available():
        raise UserError(
            f"The runtime sparse-cuda needs a torch that is built for CUDA, this is "
            f"{torch.__version__}; install one from https://pytorch.org."
        )
    return "cuda"
