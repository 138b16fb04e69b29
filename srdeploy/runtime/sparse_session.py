"""SMSR on the CPU with pixels skipped: the sparse form of :mod:`srdeploy.sparse`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.whole_means import Pooling
from srdeploy.runtime.session import Session
from srdeploy.runtime.torch_session import lend_threads
from srdeploy.sparse.engine import SparseEngine


class SparseSession(Session):
    """Runs an SMSR network in fp32, skipping what its masks say.

    Attributes:
        engine: What runs it; ``engine.choices`` tells what each layer of the latest run did.
    """

    runtime: ClassVar[str] = "sparse"

    precision = "fp32"

    def __init__(
        self, network: Network, threads: int | None = None, *, backend: str = "auto"
    ) -> None:
        """Pack the weights and time the forms of a layer.

        Args:
            network: An SMSR network; it is not changed.
            threads: CPU threads; default as in :func:`srdeploy.runtime.session.default_threads`.
            backend: One of :data:`srdeploy.sparse.backend.BACKENDS`.

        Raises:
            UserError: another network, or one that the kernel cannot run.
        """
        super().__init__(network.card, threads)
        if not isinstance(network.module, SMSR):
            raise UserError(
                f"The runtime sparse runs SMSR networks, this one is {network.card.arch}; leave "
                "the runtime out."
            )
        try:
            with lend_threads(self.threads):
                self.engine = SparseEngine(network.module, backend=backend)
        except ValueError as error:
            raise UserError(f"The runtime sparse cannot run this network: {error}.") from None
        self._pooling = Pooling(network.module.pooled_field // 2, len(self.engine.modules))

    @property
    def pooling(self) -> Pooling | None:
        """The attention of every module."""
        return self._pooling

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What computes, and what the masked layers of the latest run did."""
        choices = self.engine.choices
        found = [f"sparse form: {self.engine.backend.reason}"]
        if choices:
            listed = sum(choice.form == "rows" for choice in choices)
            density = sum(choice.density for choice in choices) / len(choices)
            found.append(
                f"latest image: {listed} of {len(choices)} masked layers computed inside their "
                f"masks only, the others everywhere; {density:.0%} of pixels inside"
            )
        return tuple(found)

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        with lend_threads(self.threads):
            return self.engine(torch.from_numpy(x), self._means).numpy()

    def close(self) -> None:
        """Let weights and features go."""
        del self.engine
