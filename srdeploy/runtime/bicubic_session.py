"""Bicubic interpolation as a network that changes nothing: the baseline of every table."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.models.card import Card
from srdeploy.runtime.session import Session

NAME = "bicubic"


class BicubicSession(Session):
    """Returns its input, which arrives upscaled because the card says ``pre_upscaled``."""

    runtime: ClassVar[str] = "numpy"

    def __init__(self) -> None:
        card = Card(
            arch=NAME,
            scale=2,
            scales=tuple(range(2, 17)),
            channels=3,
            value_range=255.0,
            pre_upscaled=True,
            receptive_field=1,
        )
        super().__init__(card, threads=1)

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x
