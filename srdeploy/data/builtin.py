"""The images that come with srdeploy: what the word ``builtin`` means as a folder.

Training never sees what is measured: as training data it means one set, as a benchmark another.
"""

from __future__ import annotations

from srdeploy.util.shipped import ASSETS

BUILTIN = "builtin"
BENCHMARK_IMAGES = ASSETS / "images" / "benchmark"
TRAINING_IMAGES = ASSETS / "images" / "train"
CALIBRATION_IMAGES = (TRAINING_IMAGES, ASSETS / "images" / "calibration")
"""What pruning without training runs a network on: the training images hardly show fur and leaves,
without which it would be fitted to textures and text."""
