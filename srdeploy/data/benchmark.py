"""Benchmark sets: folders of original images, and the low-resolution inputs that belong to them.

Where they lie in a folder, :mod:`srdeploy.data.layouts` knows. Where there are no inputs for a
scale, they are made by our own bicubic and kept in the cache.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.data.builtin import BENCHMARK_IMAGES, BUILTIN
from srdeploy.data.images import list_images, modcrop, read_rgb, write_png
from srdeploy.data.layouts import find_layout
from srdeploy.errors import UserError
from srdeploy.util.files import cache_dir, sha256

_CACHE_VERSION = 1  # raise when the degradation changes, so that older files are not read again


@dataclass(frozen=True)
class Pair:
    """One original and its low-resolution input; both are read when asked for.

    Attributes:
        name: The original's file name without suffix.
        scale: Size of the original over size of the input.
        hr_path: The original's file.
        lr_path: The input's file, or None where it is made.
    """

    name: str
    scale: int
    hr_path: Path
    lr_path: Path | None = None

    def hr(self) -> NDArray[np.uint8]:
        """The original, ``uint8 [H, W, 3]``, cut to a multiple of the scale.

        Raises:
            UserError: it cannot be read, or is smaller than the scale.
        """
        image = read_rgb(self.hr_path)
        if min(image.shape[:2]) < self.scale:
            raise UserError(f"'{self.hr_path}' is too small for scale {self.scale}; remove it.")
        return modcrop(image, self.scale)

    def lr(self) -> NDArray[np.uint8]:
        """The input, ``uint8 [H / scale, W / scale, 3]``.

        Raises:
            UserError: it cannot be read, or its size does not match the original's.
        """
        if self.lr_path is None:
            return self._made()
        image = read_rgb(self.lr_path)
        (height, width), (hr_height, hr_width) = image.shape[:2], self.hr().shape[:2]
        if (height * self.scale, width * self.scale) != (hr_height, hr_width):
            raise UserError(
                f"'{self.lr_path}' is {width}x{height}, but its original '{self.hr_path}' "
                f"({hr_width}x{hr_height} after cropping) needs "
                f"{hr_width // self.scale}x{hr_height // self.scale} at scale {self.scale}; "
                "replace the file, or remove the folder to have it made."
            )
        return image

    def _made(self) -> NDArray[np.uint8]:
        key = f"{sha256(self.hr_path)[:32]}x{self.scale}.png"
        cached = cache_dir() / "bicubic" / f"v{_CACHE_VERSION}" / key
        if cached.is_file():
            with suppress(UserError):  # a damaged file is made anew
                return read_rgb(cached)
        image = imresize(self.hr(), 1 / self.scale)
        with suppress(UserError, OSError):  # a cache that cannot be written only costs time
            write_png(cached, image)
        return image


@dataclass(frozen=True)
class Middle(Pair):
    """The middle of a pair: of a large image enough to tell one network from another.

    Attributes:
        side: Largest height and width of the input.
    """

    side: int = 192

    def hr(self) -> NDArray[np.uint8]:
        """The middle of the original, cut to a multiple of the scale."""
        return _middle(super().hr(), self.side * self.scale, self.scale)

    def lr(self) -> NDArray[np.uint8]:
        """The middle of the input, or what the middle of the original gives.

        Raises:
            UserError: as :meth:`Pair.lr`.
        """
        if self.lr_path is None:
            made: NDArray[np.uint8] = imresize(self.hr(), 1 / self.scale)
            return made
        whole = Pair(self.name, self.scale, self.hr_path, self.lr_path)
        return _middle(whole.lr(), self.side, 1)


def _middle(image: NDArray[np.uint8], side: int, unit: int) -> NDArray[np.uint8]:
    """At most ``side`` pixels each way, beginning at a multiple of ``unit``."""
    top, left = (max(0, length - side) // (2 * unit) * unit for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def open_benchmark(folder: str | Path, scale: int) -> list[Pair]:
    """The pairs of a benchmark set, in the natural order of their names.

    Args:
        folder: a folder in any of the layouts, or ``"builtin"``: the images shipped with srdeploy.
        scale: the upscaling factor.

    Raises:
        UserError: no such folder, no images in it, several sets in it, or a folder of inputs that
            lacks the one of an original.
    """
    layout = find_layout(BENCHMARK_IMAGES if str(folder) == BUILTIN else folder, "measure")
    originals = list_images(layout.originals)
    inputs = layout.inputs_for(originals, scale)
    if inputs is None:
        return [Pair(path.stem, scale, path) for path in originals]
    return [Pair(o.stem, scale, o, i) for o, i in zip(originals, inputs, strict=True)]
