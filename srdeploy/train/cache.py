"""Decoded images in one memory-mapped file, built once per folder and found again by content.

Decoding a PNG costs more than training on a patch of it, so training reads raw pixels. Grey levels
are kept as ``uint8`` for colour. Luma is kept as ``int16`` in 1/64 of a grey level: VDSR's protocol
rounds nothing, and the error of this rounding (95 dB) is far below any network's. The range of
+-512 grey levels leaves room for bicubic overshoot.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import list_images, modcrop, read_rgb, rgb_to_y
from srdeploy.data.layouts import DataLayout, find_layout
from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path, cache_dir, sha256
from srdeploy.util.progress import track

LUMA_STEPS = 64  # units of int16 luma per grey level
_FORMAT = 1  # raise when the pixels of the same files would come out differently

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PackedImages:
    """Images of many sizes in one flat array; ``packed[i]`` is a view ``[H, W, C]``."""

    pixels: NDArray
    sizes: NDArray[np.int64]  # [n, 2]: height, width
    offsets: NDArray[np.int64]  # [n]
    channels: int

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> NDArray:
        height, width = self.sizes[index]
        start = self.offsets[index]
        count = height * width * self.channels
        return self.pixels[start : start + count].reshape(height, width, self.channels)


@dataclass(frozen=True)
class CachedFolder:
    """A folder's high-resolution images and, per scale, the network's inputs made from them."""

    digest: str  # of the files' names and contents
    targets: PackedImages
    inputs: dict[int, PackedImages]
    files: list[Path]  # the originals, in the order of the targets
    layout: DataLayout


def open_folder(folder: Path, scales: Iterable[int], *, luma: bool, upscaled: bool) -> CachedFolder:
    """Open a folder's decoded images, making what the cache lacks.

    Args:
        folder: as :func:`srdeploy.data.layouts.find_layout` knows them.
        scales: factors of the inputs. For colour they are read where the folder has them; for luma
            (whose protocol rounds nothing) and elsewhere they are made: shrunk by MATLAB's bicubic
            after mod-crop.
        luma: keep MATLAB's Y, never rounded (1/64 grey level), instead of 8-bit RGB.
        upscaled: enlarge the inputs to the targets' size again, with the same rounding.

    Raises:
        UserError: no such folder, no images in it, an image that cannot be read, or an input that
            is missing or does not fit its original.
    """
    layout = find_layout(folder, "train")
    files = list_images(layout.originals)
    digest = _digest(files)
    kind = "y" if luma else "rgb"

    def decode(index: int) -> NDArray:
        image = read_rgb(files[index])
        return _to_luma(rgb_to_y(image)[:, :, None]) if luma else image

    name = f"{digest[:24]}-{kind}"
    targets = _packed(name, len(files), decode, f"Decoding {folder.name}")
    inputs = {}
    for scale in scales:

        def degrade(index: int, scale: int = scale) -> NDArray:
            return _degrade(targets[index], scale, upscaled)

        suffix = f"x{scale}{'up' if upscaled else ''}"
        title = f"Shrinking {folder.name} x{scale}"
        make: Callable[[int], NDArray] = degrade
        if not luma and (small := layout.inputs_for(files, scale)) is not None:
            make = partial(_given, small, files, targets, scale, upscaled)
            given = _digest(small)
            suffix, title = f"{suffix}-{given[:24]}", f"Decoding {small[0].parent.name}"
            digest = hashlib.sha256(f"{digest} {given}".encode()).hexdigest()
        inputs[scale] = _packed(f"{name}-{suffix}", len(files), make, title)
    return CachedFolder(digest, targets, inputs, files, layout)


def _given(
    small: list[Path],
    files: list[Path],
    targets: PackedImages,
    scale: int,
    upscaled: bool,
    index: int,
) -> NDArray:
    """An input that lies on disk, if it fits its original."""
    image = read_rgb(small[index])
    height, width = (int(side) for side in targets.sizes[index])
    if image.shape[:2] != (height // scale, width // scale):
        raise UserError(
            f"'{small[index]}' is {image.shape[1]}x{image.shape[0]}, but its original "
            f"'{files[index]}' ({width}x{height}) needs {width // scale}x{height // scale} at "
            f"scale {scale}; replace the file, or remove the folder to have it made."
        )
    if upscaled:
        return imresize(image, size=(height // scale * scale, width // scale * scale))
    return image


def _degrade(image: NDArray, scale: int, upscaled: bool) -> NDArray:
    if min(image.shape[:2]) < scale:
        return image[:0, :0]
    cropped = modcrop(image, scale)
    values = cropped if cropped.dtype == np.uint8 else cropped / LUMA_STEPS
    small = imresize(values, 1 / scale)
    if upscaled:
        small = imresize(small, size=cropped.shape[:2])
    return small if cropped.dtype == np.uint8 else _to_luma(small)


def _to_luma(values: NDArray) -> NDArray[np.int16]:
    return np.rint(values * LUMA_STEPS).astype(np.int16)


def _digest(files: list[Path]) -> str:
    total = hashlib.sha256(f"format {_FORMAT}".encode())
    for file in files:
        total.update(f"\n{file.name} {sha256(file)}".encode())
    return total.hexdigest()


def _packed(name: str, count: int, make: Callable[[int], NDArray], title: str) -> PackedImages:
    folder = cache_dir() / "patches" / name
    found = _open(folder, count)
    if found is None:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _write(temporary, count, make, title)
        found = _open(folder, count)
        assert found is not None, f"the cache '{folder}' cannot be read back"
    return found


def _write(folder: Path, count: int, make: Callable[[int], NDArray], title: str) -> None:
    sizes: list[tuple[int, int]] = []
    checksum, total, channels, dtype = 0, 0, 1, np.dtype(np.uint8)
    with (
        open(folder / "pixels.npy", "wb") as stream,
        ThreadPoolExecutor(max_workers=available_cores()) as pool,
        track(title, count) as bar,
    ):
        _write_header(stream, np.dtype(np.uint8), 0)
        for image in ahead(pool, make, range(count), depth=2 * available_cores()):
            data = np.ascontiguousarray(image).data.cast("B") if image.size else b""
            stream.write(data)
            checksum = zlib.crc32(data, checksum)
            sizes.append((image.shape[0], image.shape[1]))
            total, channels, dtype = total + image.size, image.shape[2], image.dtype
            bar.update()
        stream.seek(0)
        # numpy pads the header so that a longer first dimension still fits in its place.
        _write_header(stream, dtype, total)
    index = {"sizes": sizes, "channels": channels, "crc32": checksum}
    (folder / "index.json").write_text(json.dumps(index))


def _write_header(stream: BinaryIO, dtype: np.dtype, total: int) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": (total,)}
    np.lib.format.write_array_header_1_0(stream, header)


def _open(folder: Path, count: int) -> PackedImages | None:
    """The stored images, or None if they are absent or damaged."""
    try:
        index = json.loads((folder / "index.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        sizes = np.array(index["sizes"], dtype=np.int64).reshape(-1, 2)
        counts = sizes.prod(axis=1) * index["channels"]
        intact = (
            len(sizes) == count
            and counts.sum() == len(pixels)
            and _checksum(pixels) == index["crc32"]
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    if not intact:
        return None
    return PackedImages(pixels, sizes, np.cumsum(counts) - counts, index["channels"])


def _checksum(pixels: NDArray, step: int = 1 << 24) -> int:
    checksum = 0
    for start in range(0, len(pixels), step):
        checksum = zlib.crc32(pixels[start : start + step].data, checksum)
    return checksum


def available_cores() -> int:
    """Cores this process may run on (fewer than the machine has under ``taskset`` or a cgroup)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(
    pool: ThreadPoolExecutor, make: Callable[[Item], Result], items: Iterable[Item], depth: int
) -> Generator[Result]:
    """``map(make, items)`` in order, with at most ``depth`` results made in advance."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
