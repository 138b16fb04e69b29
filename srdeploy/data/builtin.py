"""The images that come with srdeploy: what the word ``builtin`` means as a folder.

Training never sees what is measured: as training data it means one set, as a benchmark another.
"""

from __future__ import annotations

from pathlib import Path

import srdeploy

BUILTIN = "builtin"
_FOLDER = Path(srdeploy.__file__).parent / "assets" / "images"
BENCHMARK_IMAGES = _FOLDER / "benchmark"
TRAINING_IMAGES = _FOLDER / "train"
