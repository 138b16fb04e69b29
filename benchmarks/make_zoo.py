"""Make the shipped network: train by its recipe, measure, put the figures on its card.

    SRDEPLOY_DATA=DATA python benchmarks/make_zoo.py DATA [--run-dir DIR]

About an hour on one core; the same command resumes. A finished run is measured, not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from results_io import srdeploy, table, write

from srdeploy.models.store import read_network, save_network
from srdeploy.train.journal import read_metrics

ROOT = Path(__file__).parents[1]
NAME = "edsr-s-x2"
RECIPE = ROOT / "configs" / "train" / f"{NAME}.yaml"
SHIPPED = ROOT / "srdeploy" / "assets" / "networks" / f"{NAME}.safetensors"
SETS = {"Set5": "benchmark/Set5", "B100": "benchmark/B100"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / NAME)
    options = parser.parse_args()
    trained = options.run_dir / f"{NAME}.safetensors"
    srdeploy("train", str(RECIPE), "--run-dir", str(options.run_dir), "-o", str(trained))

    sets = {name: str(options.data / place) for name, place in SETS.items()} | {
        "builtin": "builtin"
    }
    quality, rows = {}, []
    for name, place in sets.items():
        ours = srdeploy("eval", str(trained), "--data", place)
        bicubic = srdeploy("eval", "bicubic", "--data", place, "--scale", "2")
        quality[name] = {k: ours[k] for k in ("psnr_y", "ssim_y", "n_images", "protocol")}
        rows.append([name, ours["n_images"], f"{bicubic['psnr_y']:.2f} / {bicubic['ssim_y']:.4f}",
                     f"{ours['psnr_y']:.2f} / {ours['ssim_y']:.4f}",
                     f"`{ours['protocol']}`"])  # fmt: skip
    network = read_network(trained)
    network.card = network.card.model_copy(update={"quality": quality})
    save_network(network, SHIPPED)

    metrics = read_metrics(options.run_dir)
    curve = [row for row in metrics if "psnr_y" in row]
    timed = [row for row in metrics if "seconds" in row]
    speeds = sorted(row["images_per_s"] for row in timed)
    text = (
        f"8 residual blocks of 32 channels with the lite tail, x2, trained by "
        f"`configs/train/{NAME}.yaml` for {timed[-1]['iteration']} iterations "
        f"({timed[-1]['seconds'] / 60:.0f} minutes on one core, median "
        f"{speeds[len(speeds) // 2]:.0f} patches/s, the loader waited for "
        f"{100 * sum(row['loader_wait'] for row in timed) / len(timed):.1f} % of the time).\n\n"
        + table(["set", "images", "bicubic PSNR / SSIM", f"{NAME} PSNR / SSIM", "protocol"], rows)
        + "\n\n## Along the way (Set5, averaged weights)\n\n"
        + table(["iteration", "PSNR dB"], [[r["iteration"], f"{r['psnr_y']:.3f}"] for r in curve])
    )
    write(f"shipped-{NAME}", f"The shipped network, {NAME}", text,
          {"quality": quality, "curve": curve}, "make zoo SRDEPLOY_DATA=DATA")  # fmt: skip


if __name__ == "__main__":
    main()
