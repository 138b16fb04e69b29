"""Small pictures in place of those that ``builtin`` measures on, for tests of other things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def write_middles(folder: Path) -> Path:
    """Write the middles of the images that ``builtin`` measures on, 96x72 pixels of each.

    Returns:
        The folder.
    """
    from PIL import Image

    from srdeploy.data.builtin import BENCHMARK_IMAGES

    for path in sorted(BENCHMARK_IMAGES.glob("*.png")):
        with Image.open(path) as image:
            left, top = (image.width - 96) // 2, (image.height - 72) // 2
            image.crop((left, top, left + 96, top + 72)).save(folder / path.name)
    return folder


@contextmanager
def measured_on(folder: Path) -> Iterator[None]:
    """``builtin`` measures on the images of a folder meanwhile."""
    from srdeploy.quality.evaluate import bicubic_psnr

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srdeploy.data.benchmark.BENCHMARK_IMAGES", folder)
        bicubic_psnr.cache_clear()
        yield
    bicubic_psnr.cache_clear()
