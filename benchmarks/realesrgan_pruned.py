"""Real-ESRGAN's networks pruned without training: how near do they stay, and how fast are they?

    python benchmarks/realesrgan_pruned.py DATA [--pieces N]   # DATA: weights/ and benchmark/

These networks are trained with a GAN, so that PSNR to the originals says little of them. What is
compared is the pruned network's picture with the dense one's. The large network is refitted on N
pieces of images: with as many as ``srdeploy prune`` takes (112), the page takes half an hour.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from reconstruct import quality, upscaled
from results_io import RESULTS, own_command, quiet, shown, srdeploy, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN
from srdeploy.data.images import to_uint8
from srdeploy.models.load import load_network
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.reconstruct.calibration import PATCHES, SIDE, Calibration
from srdeploy.reconstruct.run import prune_by_cost
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb

NAME = "realesrgan-pruned"
RATIOS = ("0.3", "0.5")
THREADS = "2"
SETS = {"Set5": "benchmark/Set5", "shipped": BUILTIN}
CROP = (2, 60, 70, 96)  # of the shipped images: which, its top and left, and the side


@dataclass(frozen=True)
class Case:
    """A published network.

    Attributes:
        name: For the page.
        file: Its weights.
        patches: How many pieces of the shipped images it is refitted on.
        size: The LR image on which it is timed.
    """

    name: str
    file: str
    patches: int
    size: str

    def weights(self, data: Path) -> str:
        """Its file."""
        return str(data / "weights" / "realesrgan" / self.file)


CASES = [
    Case("realesr-animevideov3", "realesr-animevideov3.pth", PATCHES, "160x120"),
    Case("RealESRGAN_x4plus_anime_6B", "RealESRGAN_x4plus_anime_6B.pth", PATCHES, "96x72"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--pieces", type=int, default=28, help="for the large network")
    asked = parser.parse_args()
    rows, raw, crops = [], [], []
    for case in (CASES[0], replace(CASES[1], patches=asked.pieces)):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(case, asked.data, Path(folder))
        crops.append(np.hstack(found.pop("crops")))
        raw.append({"network": case.name, **found})
        rows += lines(case, found)
    picture = f"{NAME}.png"
    Image.fromarray(np.vstack(crops)).save(RESULTS / picture, optimize=True)
    header = ["network", "ratio", "parameters", "MACs at 720p", "pieces", "Set5", "shipped",
              "LR size", "p50 ms", "times faster [95 %]"]  # fmt: skip
    text = (
        f"Pruned by `reconstruct`, proven, and not trained. *Pieces*: how many, of {SIDE}x{SIDE} "
        "LR pixels, of the shipped images a network was refitted on; `srdeploy prune` takes "
        f"{PATCHES}, which for the large one takes minutes longer. *Set5* and "
        "*shipped*: PSNR of Y, in dB, of a network's picture to the dense network's, for the LR "
        "images of Set5 x4 and for the four images that come with srdeploy, reduced four times; "
        "that of bicubic upscaling shows what the networks add. Latency: onnxruntime, "
        f"{THREADS} threads, a process per artifact, in turns; the ratio is the median over rounds "
        "of paired medians, with its bootstrap interval.\n\n" + table(header, rows) + "\n\n"
        f"![crops]({picture})\n\n"
        "*A part of a shipped image: dense, pruned at "
        f"{' and at '.join(RATIOS)}; above {CASES[0].name}, below {CASES[1].name}.* Whole images, "
        "side by side:\n\n"
        f"`{shown('prune', CASES[0].file, '-o', 'small.safetensors')}`<br>"
        f"`{shown('upscale', 'small.safetensors', 'coffee.png', '-o', 'seen')} "
        f"--compare --with {CASES[0].file}`"
    )
    write(NAME, "Real-ESRGAN pruned without training", text, raw,
          own_command(asked.data))  # fmt: skip


def measure(case: Case, data: Path, folder: Path) -> dict[str, Any]:
    """Prune, export, compare and time one network."""
    networks = {"dense": load_network(case.weights(data))}
    found: dict[str, Any] = {"pruned": {}, "agreement": {}}
    for ratio in RATIOS:
        networks[ratio], report = prune_by_cost(
            networks["dense"],
            PruneOptions(ratio=float(ratio)),
            Calibration(patches=case.patches),
            rotate=True,
        )
        sizes = [[one.params, one.macs_720p] for one in (report.before, report.after)]
        found["pruned"][ratio] = {"dense": sizes[0], "size": sizes[1], "proof": report.proof}
    scale, shown_pictures = networks["dense"].card.scale, {}
    for name, place in SETS.items():
        pairs = list(open_benchmark(place if place == BUILTIN else data / place, scale))
        pictures = {key: upscaled(network, pairs) for key, network in networks.items()}
        with open_session("bicubic") as session:
            pictures["bicubic"] = [upscale_rgb(session, pair.lr(), scale) for pair in pairs]
        found["agreement"][name] = {
            key: quality(some, pictures["dense"], scale)
            for key, some in pictures.items()
            if key != "dense"
        }
        shown_pictures = pictures
    found["crops"] = [crop(shown_pictures[key]) for key in networks]
    artifacts = []
    for key, network in networks.items():
        save_network(network, folder / f"{key}.safetensors")
        artifacts.append(str(folder / f"{key}.onnx"))
        srdeploy("export", str(folder / f"{key}.safetensors"), "-o", artifacts[-1])
    found["bench"] = srdeploy(
        "bench", *artifacts, "--scale", str(scale), "--input", case.size, "--runs", "20",
        "--seconds", "10", "--threads", THREADS, "--no-quality", "--runtime", "onnxruntime",
    )  # fmt: skip
    return found


def crop(images: list[NDArray]) -> NDArray[np.uint8]:
    """The part of a shipped image that is shown."""
    number, top, left, side = CROP
    return to_uint8(images[number])[top : top + side, left : left + side]


def lines(case: Case, found: dict[str, Any]) -> list[list[str]]:
    """A network's rows of the table: dense, pruned, and what bicubic upscaling is worth."""
    size = {ratio: facts["size"] for ratio, facts in found["pruned"].items()}
    size["dense"] = found["pruned"][RATIOS[0]]["dense"]
    rows = []
    for key, row in zip(("dense", *RATIOS), found["bench"], strict=True):
        agreement = [
            f"{found['agreement'][name][key]:.2f}" if key in RATIOS else "" for name in SETS
        ]
        faster = (
            f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]"
            if key in RATIOS
            else ""
        )
        params, macs = size[key]
        rows.append(
            [
                case.name,
                key,
                f"{params / 1e3:,.0f} K",
                f"{macs / 1e9:.1f} G",
                str(case.patches) if key in RATIOS else "",
                *agreement,
                case.size,
                f"{row['p50_ms']:.1f} (iqr {row['iqr_ms']:.1f})",
                faster,
            ]
        )
    bicubic = [f"{found['agreement'][name]['bicubic']:.2f}" for name in SETS]
    return [*rows, [case.name, "bicubic", "", "", "", *bicubic, "", "", ""]]


if __name__ == "__main__":
    quiet()
    main()
