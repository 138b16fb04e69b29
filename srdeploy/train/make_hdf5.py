"""Write the training file of VDSR as its authors' generator does: patches of luma, in HDF5.

    python -m srdeploy.train.make_hdf5 T91 BSD200 -o train.h5

Each image is shrunk to 1, .7 and .5 of its size; of each, for the scales 2, 3 and 4, the luma is
cut to a multiple of the scale, shrunk and enlarged again by bicubic interpolation. Patches of 41
pixels, side by side, become ``data`` (enlarged) and ``label`` (original): float32
``[N, 1, 41, 41]`` in 0..1. The generator flips and turns the images as well; here the training does
that (``augment``), so that the file is a twelfth as large.

Source: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
CVPR 2016, section 5; the down-sizing of the training images follows its followers' published code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import list_images, modcrop, read_rgb, rgb_to_y, to_uint8
from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.files import atomic_path
from srdeploy.util.progress import track
from srdeploy.util.terminal import plain

SCALES, DOWNSIZES = (2, 3, 4), (1.0, 0.7, 0.5)
PATCH = 41
EPOCHS = 50


def write_hdf5(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    scales: Sequence[int] = SCALES,
    downsizes: Sequence[float] = DOWNSIZES,
    patch: int = PATCH,
    stride: int | None = None,
) -> int:
    """Write the file.

    Args:
        folders: Of images.
        output: The HDF5 file.
        scales: Factors that the network shall serve.
        downsizes: Sizes at which each image is taken, relative to its own, in (0, 1].
        patch: Side of a patch in pixels.
        stride: From one patch to the next; default: their side.

    Returns:
        How many patches it holds.

    Raises:
        UserError: h5py is not installed, there are no images or only smaller ones than a patch, or
            the file cannot be written.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "Writing HDF5 patches needs h5py; install it with `pip install 'srdeploy[hdf5]'`."
        ) from error
    paths = [path for folder in folders for path in list_images(folder)]
    count = 0
    with atomic_path(output) as temporary, h5py.File(temporary, "w") as file:
        sides = (1, patch, patch)
        stored = [
            file.create_dataset(
                name, (0, *sides), np.float32, maxshape=(None, *sides), chunks=(64, *sides)
            )
            for name in ("data", "label")
        ]
        with track("write patches", len(paths)) as bar:
            for path in paths:
                for pair in _pairs(read_rgb(path), scales, downsizes):
                    cut = [_patches(plane, patch, stride or patch) for plane in pair]
                    if not len(cut[0]):
                        continue
                    for dataset, patches in zip(stored, cut, strict=True):
                        dataset.resize(count + len(patches), axis=0)
                        dataset[count:] = patches
                    count += len(cut[0])
                bar.update()
        if not count:
            raise UserError(f"No image holds a patch of {patch} pixels; choose a smaller --patch.")
    return count


def _pairs(
    image: NDArray[np.uint8], scales: Sequence[int], downsizes: Sequence[float]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Luma enlarged again, and as it was, in 0..1."""
    for size in downsizes:
        luma8 = to_uint8(rgb_to_y(image if size == 1 else imresize(image, size)))
        for scale in (one for one in scales if one <= min(luma8.shape)):
            luma = modcrop(luma8, scale).astype(np.float64) / 255
            yield imresize(imresize(luma, 1 / scale), scale), luma


def _patches(plane: NDArray[np.float64], side: int, stride: int) -> NDArray[np.float32]:
    """``[N, 1, side, side]``, by rows; what is left over at the far ends is left out."""
    if min(plane.shape) < side:
        return np.empty((0, 1, side, side), np.float32)
    every = np.lib.stride_tricks.sliding_window_view(plane, (side, side))[::stride, ::stride]
    return every.reshape(-1, 1, side, side).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m srdeploy.train.make_hdf5",
        description=(__doc__ or "").splitlines()[0],
        epilog="Then: srdeploy train configs/recipes/vdsr-hdf5.yaml --set data.hdf5=train.h5 "
        "-o vdsr.safetensors",
    )
    parser.add_argument("folders", nargs="+", metavar="DIR", help="training images")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.h5")
    parser.add_argument("--scales", type=int, nargs="+", default=SCALES, choices=range(2, 9))
    parser.add_argument("--downsizes", type=float, nargs="+", default=DOWNSIZES)
    parser.add_argument("--patch", type=int, default=PATCH)
    parser.add_argument("--stride", type=int, help="default: the patch's side")
    asked = parser.parse_args(arguments)
    if not all(0 < size <= 1 for size in asked.downsizes):
        parser.error("--downsizes are fractions of an image's size, above 0 and at most 1")
    if asked.patch < 1 or (asked.stride is not None and asked.stride < 1):
        parser.error("--patch and --stride are whole numbers of pixels, 1 and more")
    try:
        count = write_hdf5(
            asked.folders, asked.output, scales=asked.scales, downsizes=asked.downsizes,
            patch=asked.patch, stride=asked.stride,
        )  # fmt: skip
    except SrdeployError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return error.exit_code
    told = f"{EPOCHS} epochs at batch 128: {EPOCHS * (count // 128)} iterations"
    print(plain(f"{count} patches written to {asked.output}\n{told}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
