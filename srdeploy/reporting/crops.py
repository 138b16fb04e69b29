"""What the versions of a network make of the places where they differ most."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, to_uint8
from srdeploy.errors import SrdeployError
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.reporting.run_folder import NETWORKS, RunFolder
from srdeploy.reporting.sources import Evidence
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.upscaling.compare import find_region
from srdeploy.util.progress import track

SHOWN = 2
"""Images on the page: those that the versions differ on most."""

_IMAGES = 8  # of the set that are looked at
_REGION = (128, 192)
_PROTOCOL = PROTOCOLS["standard"]


@dataclass(frozen=True)
class CropVersion:
    """One picture behind the slider; PSNR of Y against the original, None for the original."""

    label: str
    pixels: NDArray[np.uint8]
    psnr_here: float | None
    psnr: float | None


@dataclass(frozen=True)
class Crop:
    """One region of one image in every version.

    Attributes:
        image: Its name.
        size: Height and width of the whole.
        region: Rows and columns shown.
        between: The versions that differ most here.
        versions: From bicubic to the original.
        whole: The original, for the overview.
        protocol: Of the PSNR.
    """

    image: str
    size: tuple[int, int]
    region: tuple[slice, slice]
    between: tuple[str, str]
    versions: list[CropVersion]
    whole: NDArray[np.uint8]
    protocol: str


def find_artifacts(run: RunFolder, evidence: Evidence) -> dict[str, Path]:
    """The versions of a run that are still there: its networks, and its 8-bit artifact."""
    found = {name: path for name in NETWORKS if (path := run.network(name)) is not None}
    for entry in evidence.entries:
        if entry.folder == run.root and "int8" in (entry.row.precision or ""):
            path = next(iter(sorted(run.root.glob(f"*/{entry.row.artifact}"))), None)
            if path is not None:
                found["int8"] = path  # the last version that was rounded
    return found


def make_crops(artifacts: dict[str, Path], data: str | Path) -> list[Crop]:
    """Upscale a set with every version and cut out where dense and tuned differ most.

    Args:
        artifacts: By label, ``dense`` first.
        data: Benchmark set, or ``builtin``.

    Raises:
        UserError: the set cannot be read, or an artifact does not run here.
    """
    labels = list(artifacts)
    results: dict[str, list[NDArray[np.uint8]]] = {}
    pairs: list[Pair] = []
    for label, path in artifacts.items():
        with open_session(path) as session:
            scale = session.card.scale
            pairs = pairs or open_benchmark(data, scale)[:_IMAGES]
            results[label] = []
            with track(f"crops: {label}", total=len(pairs)) as bar:
                for pair in pairs:
                    results[label].append(to_uint8(upscale_rgb(session, pair.lr(), scale)))
                    bar.update(1)
    base = labels[0]
    # What would be shipped: a pruned network that was not tuned yet is broken everywhere.
    other = next((label for label in ("tuned", "pruned") if label in results), labels[-1])
    if other == base:
        return [_crop(pair, n, results, ("bicubic", base)) for n, pair in enumerate(pairs[:SHOWN])]
    distances = []
    for number in range(len(pairs)):
        a, b = results[base][number], results[other][number]
        region = find_region(a, b, _REGION)
        distances.append(float(np.square(rgb_to_y(a[region]) - rgb_to_y(b[region])).mean()))
    chosen = np.argsort(distances)[::-1][:SHOWN]
    return [_crop(pairs[n], int(n), results, (base, other)) for n in chosen]


def _crop(
    pair: Pair, number: int, results: dict[str, list[NDArray[np.uint8]]], between: tuple[str, str]
) -> Crop:
    original = pair.hr()
    bicubic = to_uint8(imresize(pair.lr().astype(np.float64), pair.scale))
    shown = {"bicubic": bicubic} | {label: images[number] for label, images in results.items()}
    region = find_region(shown[between[0]], shown[between[1]], _REGION)
    border = _PROTOCOL.crop(pair.scale)
    inner = tuple(slice(border, n - border) for n in original.shape[:2])
    versions = [
        CropVersion(
            label,
            pixels[region],
            psnr(rgb_to_y(pixels[region]), rgb_to_y(original[region])),
            psnr(rgb_to_y(pixels)[inner], rgb_to_y(original)[inner]),
        )
        for label, pixels in shown.items()
    ]
    versions.append(CropVersion("HR", original[region], None, None))
    return Crop(
        pair.name,
        (original.shape[0], original.shape[1]),
        region,
        between,
        versions,
        original,
        _PROTOCOL.label(pair.scale),
    )


def try_crops(
    runs: Sequence[RunFolder], evidence: Evidence, data: str | Path
) -> tuple[list[Crop], list[str]]:
    """Crops of every run, and sentences on those that could not be made."""
    crops: list[Crop] = []
    told = []
    for run in runs:
        artifacts = find_artifacts(run, evidence)
        if not artifacts:
            continue
        try:
            crops += make_crops(artifacts, data)
        except SrdeployError as error:
            told.append(f"No pictures of '{run.root.name}': {error}")
    return crops, told


def data_uri(image: NDArray[np.uint8], *, width: int | None = None) -> str:
    """A picture inside the page: PNG, exact; as JPEG of this width where it only orients."""
    picture, stream = Image.fromarray(image), io.BytesIO()
    if width is None:
        picture.save(stream, format="PNG", optimize=True)
        kind = "png"
    else:
        picture.resize((width, max(1, round(width * image.shape[0] / image.shape[1])))).save(
            stream, format="JPEG", quality=82
        )
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
