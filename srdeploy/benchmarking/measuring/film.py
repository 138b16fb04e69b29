"""Networks in a video: frames end to end, the network alone, and what a live video would lose."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.benchmarking.measuring.wrapped import Wrapped
from srdeploy.devices.protocol import Films, LoadedModel, Turn
from srdeploy.measure.measurement import Measurement
from srdeploy.video.film import write_film
from srdeploy.video.overlap import DEPTH


class Filmed(Wrapped):
    """A loaded model whose samples are frames of a video, from decoding to encoding.

    Everything but the samples is the model's own; see
    :class:`srdeploy.devices.protocol.LoadedModel`.
    """

    def __init__(self, model: LoadedModel, lr: NDArray[np.uint8], rate: float) -> None:
        """Write the video.

        Args:
            model: On a device that has videos (:class:`srdeploy.devices.protocol.Films`).
            lr: The image that moves in it, ``uint8 [h, w, 3]``.
            rate: Frames per second.

        Raises:
            UserError: PyAV is missing.
        """
        super().__init__(model)
        assert isinstance(model, Films), "the gate of every device has it, and refuses"
        self._films: Films = model
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "film.mkv"
        write_film(self._path, lr, rate)

    def turn(self, seconds: float) -> Turn:
        """Frames end to end, then as many runs of the network alone."""
        return self._films.film(self._path, seconds)

    def close(self) -> None:
        """Free it."""
        super().close()
        self._folder.cleanup()


def film_figures(measurement: Measurement) -> dict[str, Any]:
    """Frames per second end to end and of the network alone, and the share that comes too late.

    Empty where no video was measured.
    """
    rate = measurement.scenario.frame_rate
    samples, alone = measurement.samples_ms, measurement.compute_ms
    if rate is None or not samples or not alone:
        return {}
    return {
        "fps": 1e3 * len(samples) / sum(samples),
        "fps_alone": 1e3 * len(alone) / sum(alone),
        "dropped": dropped(samples, rate),
    }


def dropped(samples_ms: Sequence[float], rate: float, waiting: int = DEPTH) -> float:
    """The share of frames that a live video would lose, whose frames do not wait.

    Frames come at a constant rate. One that comes while as many as may wait are waiting is lost;
    the others are taken in turn, and take as long as the samples say.

    Args:
        samples_ms: Times that frames take, in order; the video ends when they are used up.
        rate: Frames per second.
        waiting: Frames that may wait.
    """
    line: deque[float] = deque()  # when each that is being made or waits will be finished
    came = lost = 0
    times = iter(samples_ms)
    while True:
        now = came * 1e3 / rate
        while line and line[0] <= now:
            line.popleft()
        came += 1
        if len(line) > waiting:
            lost += 1
            continue
        took = next(times, None)
        if took is None:
            return lost / max(came - 1, 1)
        line.append((line[-1] if line else now) + took)
