"""A device's loaded model as a session: quality is then computed as for every runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.protocol import LoadedModel
from srdeploy.runtime.session import Session


class DeviceSession(Session):
    """Runs on the device that the model is loaded on; the pixels around it are made here.

    Closing it leaves the model loaded.
    """

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.loaded.card, model.loaded.threads or 1)
        self._model = model
        self.runtime = model.loaded.runtime  # type: ignore[misc]

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._model.run(x)
