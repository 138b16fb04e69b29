"""What networks make of one picture, side by side, where they differ most."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize_part
from srdeploy.data.images import eight_bits, list_images, rgb_to_y, to_uint8
from srdeploy.data.picture import Picture, read_picture
from srdeploy.errors import UserError
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.upscaling.image import Upscaler, hidden_bytes
from srdeploy.upscaling.sheet import Panel, draw_sheet
from srdeploy.util.files import atomic_path

REGION = (120, 160)
"""Height and width of the region shown, in pixels of the result."""

_PROTOCOL = PROTOCOLS["standard"]
_ON_DISK = 256_000_000  # results beyond this size wait in a file
_CELL = 8  # the region is sought on a grid of this many pixels
_STRIP = 512  # rows that are compared at a time


@dataclass(frozen=True)
class PictureVersion:
    """A network in the comparison.

    Attributes:
        label: ``dense`` or ``pruned``.
        name: The file, as the user knows it.
        upscaler: The network; None for the one that is being run anyway.
    """

    label: str
    name: str
    upscaler: Upscaler | None


class PictureComparison:
    """The networks that are compared, and where originals are to be found.

    Attributes:
        identity: What tells this comparison from another.
    """

    def __init__(
        self, versions: Sequence[PictureVersion], originals: Path | None, identity: str
    ) -> None:
        """Prepare to compare.

        Args:
            versions: In the order they are shown; exactly one has no upscaler of its own.
            originals: A folder of high-resolution originals with the pictures' names, one such
                file, or None: they are looked for where EDSR's layout has them.
            identity: Of the networks.
        """
        self.versions, self._originals = list(versions), originals
        self.identity = f"{identity} {originals}"

    def sheet(self, target: Path) -> Path:
        """Where the side-by-side of a result goes."""
        return target.with_name(f"{target.stem}_compare.png")

    @contextmanager
    def begin(
        self, source: Path, picture: Picture, scale: int, room: float | None = None
    ) -> Iterator[Compared]:
        """Compare on one picture; frees what it held at the end.

        Args:
            source: The picture's file.
            picture: The picture.
            scale: Output size over its size.
            room: Bytes of memory that reading the original may take; default: what is free.

        Raises:
            UserError: the original is of another size, cannot be read, or is too large.
        """
        with ExitStack() as stack:
            original = self._original(source, picture, scale, room)
            yield Compared(self.versions, picture, scale, original, stack)

    def _original(
        self, source: Path, picture: Picture, scale: int, room: float | None
    ) -> NDArray[np.uint8] | None:
        """The original ``[H, W, 3]``, or None where there is none.

        Raises:
            UserError: the file named as original is of another size.
        """
        path = find_original(source, scale, self._originals)
        if path is None:
            return None
        pixels = _eight_bits(read_picture(path, room).colour)
        height, width = picture.size[0] * scale, picture.size[1] * scale
        over = pixels.shape[0] - height, pixels.shape[1] - width
        if not all(0 <= n < scale for n in over):  # what mod-crop cuts off
            raise UserError(
                f"'{path}' is {pixels.shape[1]}x{pixels.shape[0]}, so it is not the original of "
                f"'{source}' at x{scale} ({width}x{height}); name the right one with --hr."
            )
        return pixels[:height, :width]


def find_original(source: Path, scale: int, where: Path | None) -> Path | None:
    """The high-resolution original of a picture.

    Args:
        source: The picture, ``babyx2.png`` or ``baby.png``.
        scale: The factor.
        where: A file or folder; None: ``HR/`` of the data set in EDSR's layout that holds
            ``source``, if it lies in one.

    Raises:
        UserError: ``where`` does not exist or holds no images.
    """
    if where is not None and where.is_file():
        return where
    if where is None:
        where = source.resolve().parent.parent.parent / "HR"
        if source.resolve().parent.parent.name != "LR_bicubic" or not where.is_dir():
            return None
    names = {source.stem, source.stem.removesuffix(f"x{scale}")}
    return next((path for path in list_images(where) if path.stem in names), None)


class Compared:
    """One picture's results so far.

    Attributes:
        held: Bytes of memory that they will take.
    """

    def __init__(
        self,
        versions: Sequence[PictureVersion],
        picture: Picture,
        scale: int,
        original: NDArray[np.uint8] | None,
        stack: ExitStack,
    ) -> None:
        self._versions, self._picture, self._scale = versions, picture, scale
        self._original = original
        self._size = picture.size[0] * scale, picture.size[1] * scale
        self._folder: Path | None = None
        canvas = 3 * self._size[0] * self._size[1]
        self.held = (len(versions) + 1) * canvas  # and one of bicubic
        if canvas > _ON_DISK:
            self.held, self._folder = 0, Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._own = self._canvas()
        self._rows = 0

    def add(self, band: NDArray, has_alpha: bool) -> None:
        """The next rows of the result that is being written anyway."""
        rows = slice(self._rows, self._rows + len(band))
        self._own[rows] = _eight_bits(band[..., :-1] if has_alpha else band)
        self._rows = rows.stop

    def finish(self, sheet: Path) -> dict[str, Any]:
        """Run the other networks, find the region and draw; returns the figures."""
        shown = [("bicubic", "", self._bicubic())]
        for version in self._versions:
            pixels = self._own if version.upscaler is None else self._run(version.upscaler)
            shown.append((version.label, version.name, pixels))
        # What pruning changed is the question; without a second network, what the network did.
        pair = shown[1:] if len(shown) > 2 else shown
        region = find_region(pair[0][2], pair[-1][2])
        panels = [self._panel(*row, region, pair[0][2], pair[0][0]) for row in shown]
        if self._original is not None:
            panels.append(Panel("HR", "", self._original[region], ""))
        if len(shown) > 2:
            panels.append(_difference(panels[1], panels[len(shown) - 1]))
        label = _PROTOCOL.label(self._scale)
        caption = (
            f"{label} of the whole picture; of the region, nothing is cut off"
            if self._original is not None
            else f"{label} to {pair[0][0]}, as there is no original"
        )
        best = pair[0][2] if self._original is None else self._original
        image = draw_sheet(panels, best, region, caption)
        with atomic_path(sheet) as temporary:
            image.save(temporary, format="PNG")
        rows, columns = region
        return {
            "sheet": str(sheet),
            "region": [columns.start, rows.start, columns.stop, rows.stop],
            "protocol": label,
            "versions": [
                {"label": panel.label, "name": panel.name, **panel.figures}
                for panel in panels[: len(shown)]
            ],
        }

    def _panel(
        self,
        label: str,
        name: str,
        pixels: NDArray[np.uint8],
        region: tuple[slice, slice],
        first: NDArray[np.uint8],
        first_label: str,
    ) -> Panel:
        if self._original is None:
            figures = (
                {} if pixels is first else {f"psnr_to_{first_label}": self._psnr(pixels, first)}
            )
            text = "".join(f"{value:.2f} dB to {first_label}" for value in figures.values())
        else:
            here = _psnr(pixels[region], self._original[region], 0)
            figures = {"psnr_region": here, "psnr": self._psnr(pixels, self._original)}
            text = f"{here:.2f} dB here, {figures['psnr']:.2f} dB in all"
        return Panel(label, name, pixels[region], text, figures)

    def _psnr(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        return _psnr(a, b, _PROTOCOL.crop(self._scale))

    def _bicubic(self) -> NDArray[np.uint8]:
        colour = self._picture.colour
        levels = 257.0 if colour.dtype == np.uint16 else 1.0
        canvas = self._canvas()
        height, width = self._size
        for top in range(0, height, _STRIP):
            rows = slice(top, min(top + _STRIP, height))
            canvas[rows] = to_uint8(
                imresize_part(
                    lambda y, x: colour[y, x] / levels,
                    colour.shape[:2],
                    self._scale,
                    rows,
                    slice(0, width),
                )
            )
        return canvas

    def _run(self, upscaler: Upscaler) -> NDArray[np.uint8]:
        canvas, top = self._canvas(), 0
        row_bytes = self._size[1] * self._scale * 3
        grid = upscaler.plan(self._picture.size, row_bytes, hidden_bytes(self._picture))
        for band in upscaler.bands(self._picture, np.uint8, grid, alpha=False):
            canvas[top : top + len(band)] = band
            top += len(band)
        return canvas

    def _canvas(self) -> NDArray[np.uint8]:
        """Room for one result, RGB: in memory, or in a file where it is large."""
        shape = (*self._size, 3)
        if self._folder is None:
            return np.empty(shape, np.uint8)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            return np.memmap(file.name, np.uint8, "w+", shape=shape)


def _difference(a: Panel, b: Panel) -> Panel:
    """What sets two versions apart: |difference of Y|, made visible."""
    difference = np.abs(rgb_to_y(a.pixels) - rgb_to_y(b.pixels))
    room = 255 / max(float(difference.max()), 1.0)
    gain = next(gain for gain in (32, 16, 8, 4, 2, 1) if gain <= room)
    shown = np.repeat(to_uint8(gain * difference)[..., None], 3, axis=2)
    return Panel("difference", f"of {a.label} and {b.label}, {gain} times", shown, "")


def find_region(
    a: NDArray[np.uint8], b: NDArray[np.uint8], size: tuple[int, int] = REGION
) -> tuple[slice, slice]:
    """Where two results differ most: the window with the largest sum of squared differences of Y.

    Args:
        a: ``[H, W, 3]``.
        b: The same shape.
        size: Of the window; cut to the picture.
    """
    height, width = a.shape[:2]
    tall, wide = min(size[0], height), min(size[1], width)
    cells = np.zeros((-(-height // _CELL), -(-width // _CELL)))
    for top in range(0, height, _STRIP):
        error = np.square(rgb_to_y(a[top : top + _STRIP]) - rgb_to_y(b[top : top + _STRIP]))
        padded = np.pad(error, ((0, -error.shape[0] % _CELL), (0, -width % _CELL)))
        blocks = padded.reshape(-1, _CELL, padded.shape[1] // _CELL, _CELL).sum(axis=(1, 3))
        start = top // _CELL
        cells[start : start + len(blocks)] = blocks
    n_rows, n_columns = max(tall // _CELL, 1), max(wide // _CELL, 1)
    total = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = (
        total[n_rows:, n_columns:]
        - total[:-n_rows, n_columns:]
        - total[n_rows:, :-n_columns]
        + total[:-n_rows, :-n_columns]
    )
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    top, left = min(int(row) * _CELL, height - tall), min(int(column) * _CELL, width - wide)
    return slice(top, top + tall), slice(left, left + wide)


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], border: int) -> float:
    """PSNR of Y, a strip at a time, of 8-bit pictures ``[H, W, 3]``."""
    inner = tuple(slice(border, n - border) for n in a.shape[:2])
    a, b, total = a[inner], b[inner], 0.0
    for top in range(0, a.shape[0], _STRIP):
        difference = rgb_to_y(a[top : top + _STRIP]) - rgb_to_y(b[top : top + _STRIP])
        total += float(np.square(difference).sum())
    mean = total / (a.shape[0] * a.shape[1]) if a.size else 0.0
    return float("inf") if mean == 0 else float(10 * np.log10(255.0**2 / mean))


def _eight_bits(pixels: NDArray) -> NDArray[np.uint8]:
    """Grey or RGB of 8 or 16 bits as RGB of 8; grey is repeated where it is stored."""
    if pixels.dtype == np.uint16:
        pixels = eight_bits(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels
