"""A loaded model that is timed in another way and is itself in all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.protocol import Loaded, LoadedModel

if TYPE_CHECKING:
    from typing_extensions import Self


class Wrapped:
    """Passes on everything of :class:`srdeploy.devices.protocol.LoadedModel` but ``turn``."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    @property
    def loaded(self) -> Loaded:
        """What is known of it."""
        return self._model.loaded

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Hand over the tensor that is run."""
        return self._model.prepare(x, runs=runs, seconds=seconds)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for a tensor, as it is."""
        return self._model.run(x)

    def peak_mb(self) -> float | None:
        """Peak memory of what runs it."""
        return self._model.peak_mb()

    def close(self) -> None:
        """Free it."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
