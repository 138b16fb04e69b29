"""The mean absolute error, in grey levels."""

import numpy as np

from srdeploy.quality.metrics import Metric, Planes


def mean_absolute_error(result: Planes, original: Planes) -> float:
    """Of two images of one shape in 0..255."""
    if result.shape != original.shape:
        raise ValueError(f"cannot compare images of shapes {result.shape} and {original.shape}")
    return float(np.abs(result - original).mean())


MAE = Metric("mae", "MAE", "", 2, mean_absolute_error, low=0.0, high=255.0, higher_is_better=False)
