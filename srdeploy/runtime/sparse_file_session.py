"""Model files of SMSR (``.smsr``), run here by the C code that runs them on devices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.smsr.reach import pooled_field
from srdeploy.models.whole_means import Pooling
from srdeploy.runtime.session import Session
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.library import LoadedModel
from srdeploy.sparse.model_file import SUFFIX, read_model
from srdeploy.sparse.told import masks_told


class SparseFileSession(Session):
    """One model file, loaded and ready. torch is not imported."""

    runtime: ClassVar[str] = "sparse"

    def __init__(
        self, path: str | Path, *, threads: int | None = None, kernel: str | None = None
    ) -> None:
        """Load a file.

        Args:
            path: A ``.smsr`` that :func:`srdeploy.exporting.sparse_runner.export_sparse_runner`
                wrote.
            threads: CPU threads; default as in :func:`srdeploy.runtime.session.default_threads`.
            kernel: One of :func:`srdeploy.sparse.library.kernels_here`; None for the quickest.

        Raises:
            UserError: there is no C compiler; or no such file, or not a sound one.
        """
        card, sizes = read_model(Path(path))
        super().__init__(card, threads)
        n_modules, n_layers = len(sizes.modules), len(sizes.modules[0][3])
        self._pooling = Pooling(pooled_field(n_modules, n_layers) // 2, n_modules)
        try:
            self._model = LoadedModel(path, self.threads, kernel)
        except Unavailable as error:
            raise UserError(
                f"Running '{path}' here needs a C compiler ({error}); install gcc, or give the "
                "network that it was exported from, and leave the precision out."
            ) from None
        self.precision = self._model.precision
        self._told = ""

    @property
    def densities(self) -> list[float]:
        """Of each module: share of the latest images' pixels inside its mask, 0..1."""
        return [density for density, _ in self._model.choices]

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What computes, and what was inside the masks of the latest images."""
        computes = f"sparse form in C, kernel {self._model.kernel}"
        return (computes, self._told) if self._told else (computes,)

    @property
    def pooling(self) -> Pooling | None:
        """The attention of every module."""
        return self._pooling

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = self._model.run(x) if self._means is None else self._model.run_part(x, self._means)
        self._told = masks_told(self._model.choices)
        return y

    def close(self) -> None:
        """Free it."""
        self._model.close()


def open_compiled(network: Network, threads: int | None, precision: str) -> SparseFileSession:
    """A network as the C code runs it in a precision, without a file that stays.

    Args:
        network: An SMSR network; float32, on the CPU.
        threads: As of :class:`SparseFileSession`.
        precision: One of :data:`srdeploy.sparse.model_file.PRECISIONS`; grids of ``int8`` are found
            on the shipped images.

    Raises:
        UserError: as of :func:`srdeploy.runtime.sparse_file.write_model` and
            :class:`SparseFileSession`.
    """
    from srdeploy.runtime.sparse_file import write_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{SUFFIX}"
        write_model(network, path, precision=precision)
        return SparseFileSession(path, threads=threads)
