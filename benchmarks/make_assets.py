"""Make the images shipped in srdeploy/assets/images from those inside scikit-image's wheel.

Only photographs that scikit-image documents as CC0 or public domain are taken. Each is reduced with
our bicubic, which also removes the source's compression artefacts, and cut to a textured part whose
sides are multiples of 12, so that x2, x3 and x4 use the whole image.

    pip install scikit-image && pip download --no-deps scipy==1.9.3
    python benchmarks/make_assets.py scipy-1.9.3-*.whl

The raccoon is inside that wheel of SciPy, and in no later one.
"""

from __future__ import annotations

import bz2
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from numpy.typing import NDArray

import srdeploy
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import read_rgb, write_png
from srdeploy.util.files import atomic_path

SOURCE = Path(skimage.__file__).parent / "data"
TARGET = Path(srdeploy.__file__).parent / "assets" / "images"
CC0 = "CC0 1.0"
PUBLIC = "public domain"


class Asset(NamedTuple):
    """One shipped image: ``height x width`` pixels at ``(top, left)`` of the reduced source."""

    folder: str
    name: str
    source: str
    reduce: int
    top: int
    left: int
    height: int
    width: int
    licence: str
    origin: str


ASTRONAUT = "NASA, Eileen Collins, 1992"
COFFEE = "Rachel Michetti, Pikolo Espresso Bar"
HUBBLE = "NASA, ESA, Hubble XDF"
RETINA = "Mikael Haggstrom, 2014"
ROCKET = "SpaceX, launch of DSCOVR, 2015"
BRICK = "CC0Textures, Bricks25 (grey)"
GRAVEL = "CC0Textures, Gravel04 (grey)"
CORNER = "Wikipedia, Corner.png (grey)"
RACCOON = "public-domain-image.com, raccoon-procyon-lotor.jpg"
FACE = "scipy/misc/face.dat"

ASSETS = [
    Asset("benchmark", "astronaut", "astronaut.png", 2, 0, 4, 252, 252, PUBLIC, ASTRONAUT),
    Asset("benchmark", "camera", "camera.png", 2, 0, 0, 252, 252, CC0, "Lav Varshney (grey)"),
    Asset("benchmark", "chelsea", "chelsea.png", 1, 24, 96, 204, 240, CC0, "Stefan van der Walt"),
    Asset("benchmark", "coffee", "coffee.png", 2, 0, 0, 192, 288, CC0, COFFEE),
    Asset("train", "brick", "brick.png", 2, 0, 0, 252, 252, CC0, BRICK),
    Asset("train", "gravel", "gravel.png", 2, 0, 0, 252, 252, CC0, GRAVEL),
    Asset("train", "hubble", "hubble_deep_field.jpg", 2, 60, 60, 252, 252, PUBLIC, HUBBLE),
    Asset("train", "retina", "retina.jpg", 4, 60, 60, 204, 204, CC0, RETINA),
    Asset("train", "rocket", "rocket.jpg", 2, 0, 0, 204, 312, PUBLIC, ROCKET),
    Asset("calibration", "raccoon", FACE, 2, 0, 0, 384, 504, PUBLIC, RACCOON),
    Asset("train", "text", "text.png", 1, 0, 0, 168, 444, PUBLIC, CORNER),
]

HEADER = """\
# Images shipped with srdeploy

Reduced and cut from images inside the scikit-image wheel (`skimage/data`), whose documentation
(`skimage.data`) states the licences below; the raccoon from SciPy's wheel (1.9.3), whose
documentation (`scipy.misc.face`) states its. Made by `benchmarks/make_assets.py`.

| file | source in `skimage/data`, or SciPy's | origin | licence |
|---|---|---|---|
"""


def read_face(wheel: str) -> NDArray[np.uint8]:
    with zipfile.ZipFile(wheel) as file:
        return np.frombuffer(bz2.decompress(file.read(FACE)), np.uint8).reshape(768, 1024, 3)


def main() -> None:
    rows = []
    for asset in ASSETS:
        own = asset.source == FACE
        image = read_face(sys.argv[1]) if own else read_rgb(SOURCE / asset.source)
        if asset.reduce > 1:
            image = imresize(image, 1 / asset.reduce)
        part = image[asset.top : asset.top + asset.height, asset.left : asset.left + asset.width]
        assert part.shape[:2] == (asset.height, asset.width), asset.name
        grey = np.ptp(part, axis=2).max() == 0
        path = TARGET / asset.folder / f"{asset.name}.png"
        write_png(path, part[..., 0] if grey else part)
        cells = (f"`{asset.folder}/{path.name}`", f"`{asset.source}`", asset.origin, asset.licence)
        rows.append(f"| {' | '.join(cells)} |")
        print(f"{path.name:16} {asset.width}x{asset.height} {path.stat().st_size // 1024:4} KiB")
    with atomic_path(TARGET / "LICENSES.md") as temporary:
        temporary.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
