"""VDSR pruned at .5 by L1, then recovered: quality after each stage and along the way.

    SRDEPLOY_DATA=DATA python benchmarks/vdsr_recovery.py DATA [--run-dir DIR]

Prunes, fine-tunes by configs/train/vdsr-recover.yaml (about an hour on one core; the same command
resumes it) and reports. A finished run folder is reported without training again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results_io import quiet, srdeploy, table, write

from srdeploy.train.journal import read_metrics

RECIPE = Path(__file__).parents[1] / "configs" / "train" / "vdsr-recover.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/vdsr-recover"))
    options = parser.parse_args()
    weights = str(options.data / "weights" / "vdsr" / "model_epoch_50.pth")
    set5 = str(options.data / "benchmark" / "Set5")
    run = options.run_dir
    compact, tuned = run / "compact.safetensors", run / "tuned.safetensors"
    pruned = srdeploy("prune", weights, "--ratio", "0.5", "--data", set5, "-o", str(compact))
    if not tuned.exists():
        recipe = str(RECIPE)
        srdeploy(
            "finetune", str(compact), "--recipe", recipe, "--run-dir", str(run), "-o", str(tuned)
        )
    artifact = str(run / "tuned.onnx")
    srdeploy("export", str(tuned), "-o", artifact)
    stages: list[tuple[str, Any]] = [
        (
            "bicubic",
            srdeploy("eval", "bicubic", "--data", set5, "--scale", "2", "--protocol", "vdsr"),
        ),
        *pruned["quality"].items(),
        (
            "fine-tuned, exported to ONNX",
            srdeploy("eval", artifact, "--data", set5, "--scale", "2"),
        ),
    ]
    metrics = read_metrics(run)
    curve = [row for row in metrics if "psnr_y" in row]
    seconds = max(row["seconds"] for row in metrics if "seconds" in row)
    text = (
        f"x2, Set5, `{stages[-1][1]['protocol']}`; parameters {pruned['params']['dense']:,} -> "
        f"{pruned['params']['compact']:,}. Recovery: {curve[-1]['iteration']} iterations, "
        f"{seconds / 60:.0f} minutes on one core, recipe `configs/train/vdsr-recover.yaml`.\n\n"
        + table(["stage", "PSNR dB", "SSIM"],
                [[name, f"{q['psnr_y']:.3f}", f"{q['ssim_y']:.4f}"] for name, q in stages])
        + "\n\n## Recovery\n\n"
        + table(["iteration", "PSNR dB (averaged weights)"],
                [[row["iteration"], f"{row['psnr_y']:.3f}"] for row in curve])
    )  # fmt: skip
    write("recovery-vdsr-half-set5-x2", "VDSR pruned by half and recovered", text,
          {"stages": dict(stages), "curve": curve, "seconds": seconds},
          "SRDEPLOY_DATA=DATA python benchmarks/vdsr_recovery.py DATA")  # fmt: skip


if __name__ == "__main__":
    quiet()
    main()
