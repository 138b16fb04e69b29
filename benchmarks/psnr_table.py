"""Reproduce the PSNR of published weights on Set5, each under its authors' protocol.

python benchmarks/psnr_table.py DATA     # DATA holds benchmark/Set5 and weights/
"""

from __future__ import annotations

import sys
from pathlib import Path

from results_io import srdeploy, table, write

# Network, scale, protocol, PSNR and SSIM to reproduce (SSIM where published).
ROWS: list[tuple[str, int, str, float, float | None]] = [
    ("bicubic", 2, "vdsr", 33.69, None),
    ("bicubic", 3, "vdsr", 30.41, None),
    ("bicubic", 4, "vdsr", 28.43, None),
    ("bicubic", 2, "srcnn", 33.66, 0.9299),
    ("weights/vdsr/model_epoch_50.pth", 2, "vdsr", 37.65, None),
    ("weights/vdsr/model_epoch_50.pth", 3, "vdsr", 33.77, None),
    ("weights/vdsr/model_epoch_50.pth", 4, "vdsr", 31.45, None),
    ("weights/vdsr/model_epoch_50.pth", 2, "srcnn", 37.53, 0.9587),
    ("weights/vdsr/model_epoch_50.pth", 2, "standard", 37.61, None),
    ("weights/vdsr/model_epoch_50.pth", 3, "standard", 33.76, None),
    ("weights/vdsr/model_epoch_50.pth", 4, "standard", 31.44, None),
    ("weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt", 2, "standard", 37.38, None),
    ("weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt", 2, "standard", 37.65, None),
]


def main() -> None:
    data = Path(sys.argv[1])
    rows, raw = [], []
    for file, scale, protocol, psnr, ssim in ROWS:
        source = file if file == "bicubic" else str(data / file)
        found = srdeploy("eval", source, "--data", str(data / "benchmark" / "Set5"),
                         "--scale", str(scale), "--protocol", protocol)  # fmt: skip
        name = Path(file).stem
        raw.append({"network": name, **found, "file": name, "data": "Set5", "reference": psnr})
        rows.append([name, f"x{scale}", f"{psnr:.2f}", f"{found['psnr_y']:.3f}",
                     f"{found['psnr_y'] - psnr:+.3f}", ssim or "", f"{found['ssim_y']:.4f}",
                     f"`{found['protocol']}`"])  # fmt: skip
    header = ["network", "scale", "reference dB", "measured dB", "difference",
              "published SSIM", "measured SSIM", "protocol"]  # fmt: skip
    text = (
        "Mean over the five images. The reference of the `srcnn` rows is the papers' own table; "
        "the published VDSR weights are a later training of the same network and score a little "
        "higher than the paper's.\n\n" + table(header, rows)
    )
    write("psnr-set5-published-weights", "Published weights on Set5", text, raw,
          "python benchmarks/psnr_table.py DATA")  # fmt: skip


if __name__ == "__main__":
    main()
