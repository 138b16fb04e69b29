"""The weight of SMSR's sparsity loss: less computed for less quality, on the small twin.

    python benchmarks/smsr_sparsity.py DATA [--weights 0 0.1 ...] [--run-dir DIR]

Trains configs/recipes/smsr-small.yaml once per weight (about a minute each on one undisturbed core;
the same command resumes) and measures each network on Set5 and on the shipped images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from results_io import srdeploy, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.models.load import load_network
from srdeploy.models.smsr.network import SMSR
from srdeploy.train.journal import read_metrics
from srdeploy.train.sparsity import hard_density

RECIPE = Path(__file__).parents[1] / "configs" / "recipes" / "smsr-small.yaml"


def density(network: str, folder: Path) -> float:
    """Mean computed fraction over a benchmark set's images, under the masks of inference."""
    module = load_network(network).module
    assert isinstance(module, SMSR)
    shares = []
    for pair in open_benchmark(folder, 2):
        x = torch.from_numpy(pair.lr()).permute(2, 0, 1)[None].float()
        shares.append(float(hard_density(module, x).mean()))
    return sum(shares) / len(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", nargs="+", default=["0", "0.01", "0.03", "0.06", "0.1", "1"])
    parser.add_argument("--run-dir", type=Path, default=Path("runs/smsr-sparsity"))
    options = parser.parse_args()
    set5 = options.data / "benchmark" / "Set5"
    rows: list[dict[str, Any]] = []
    for weight in options.weights:
        run = options.run_dir / weight
        network = str(run / "network.safetensors")
        srdeploy("train", str(RECIPE), "--set", f"sparsity.weight={weight}",
                 "--run-dir", str(run), "-o", network)  # fmt: skip
        journal = [row for row in read_metrics(run) if "density" in row]
        rows.append(
            {
                "weight": float(weight),
                "density_set5": density(network, set5),
                "set5": srdeploy("eval", network, "--data", str(set5))["psnr_y"],
                "builtin": srdeploy("eval", network, "--data", "builtin")["psnr_y"],
                "curve": [(row["iteration"], row["density"]) for row in journal],
                "iterations": journal[-1]["iteration"],
            }
        )
    text = (
        f"SMSR x2 with 3 modules of 16 channels, `configs/recipes/smsr-small.yaml`, "
        f"{rows[0]['iterations']} iterations from scratch on the six shipped training images, one "
        "seed. Density is the computed fraction of the masked layers under the binary masks of "
        "inference (dense channels count everywhere, sparse ones inside the mask), mean over the "
        "images and layers. Bicubic reaches 33.69 dB on Set5.\n\n"
        + table(
            ["sparsity weight", "density, Set5", "PSNR Set5, dB", "PSNR shipped images, dB"],
            [
                [
                    f"{row['weight']:g}",
                    f"{row['density_set5']:.3f}",
                    f"{row['set5']:.3f}",
                    f"{row['builtin']:.3f}",
                ]
                for row in rows
            ],
        )
        + "\n\nDensity on the training patches along the way:\n\n"
        + table(
            ["iteration", *[f"weight {row['weight']:g}" for row in rows]],
            [
                [step, *[f"{row['curve'][i][1]:.3f}" for row in rows]]
                for i, (step, _) in enumerate(rows[0]["curve"])
                if step % 200 == 0
            ],
        )
    )
    write(
        "smsr-small-x2-sparsity-weight-set5",
        "SMSR: what the weight of the sparsity loss buys",
        text,
        rows,
        f"python benchmarks/smsr_sparsity.py DATA --weights {' '.join(options.weights)}",
    )


if __name__ == "__main__":
    main()
