"""How far SMSR in tiles is from SMSR on the whole picture.

    python benchmarks/smsr_tiling.py DATA [--pictures 12] [--threads 2]

Its channel attention averages over all that it is given, so a tile has an average of its own: in
the dense ONNX file. The runtime `sparse` gives tiles the averages of the whole picture. Each
picture is upscaled whole and in tiles; the table says how far apart the results are, and what that
costs where the original is known. Pictures are B100's: shrunk by two (their originals are then
known), as they are, and nine at a time side by side. The last is harder than a photograph: a tile
of it holds another scene than the tile beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from results_io import own_command, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import to_uint8
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import plan_image, upscale_rgb
from srdeploy.runtime.session import Session
from srdeploy.runtime.tiling import GLOBAL_OVERLAP, Grid
from srdeploy.util.progress import track

SCALE = 2
SHRUNK, AS_IS, NINE = "shrunk, 240x160", "as they are, 481x321", "nine side by side, 1443x963"
CASES = ((SHRUNK, (160, 208)), (AS_IS, (256, 256)), (NINE, (256, 256)), (NINE, (512, 512)))
"""Pictures and tiles; 256 is the smallest tile that the command makes of SMSR."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--pictures", type=int, default=12)
    options.add_argument("--threads", type=int, default=2)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    weights = asked.data / "weights/smsr/SMSR_X2_model_1000.pt"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        dense = Path(folder) / "dense.onnx"
        export_onnx(load_network(weights), dense, check=False)
        session = stack.enter_context(open_session(dense, threads=asked.threads))
        given = stack.enter_context(open_session(weights, runtime="sparse", threads=asked.threads))
        for pictures, tile in CASES:
            inputs = list(_inputs(asked.data / "benchmark/B100", pictures, asked.pictures))
            with track(f"{pictures}, tiles of {tile[1]}x{tile[0]}", len(inputs)) as bar:
                for name, lr, hr in inputs:
                    row = _compare(session, lr, hr, tile)
                    row["most_levels_given"] = _compare(given, lr, None, tile)["most_levels"]
                    rows.append({"pictures": pictures, "name": name, "tile": list(tile), **row})
                    bar.update(1)
    write(
        "smsr-x2-tiling-error-b100-fp32-cpu",
        "SMSR x2: tiles against the whole picture",
        _text(rows),
        rows,
        own_command(asked.data),
    )


def _inputs(folder: Path, pictures: str, count: int) -> Iterator[tuple[str, NDArray, Any]]:
    """Name, network input and original (or None) of each picture."""
    pairs = open_benchmark(folder, SCALE)
    landscape = [pair for pair in pairs if pair.hr().shape[0] < pair.hr().shape[1]]
    step = len(landscape) / count
    chosen = [landscape[int(n * step)] for n in range(count)]
    if pictures == NINE:
        for start in range(0, count - 8, 9):
            nine = [pair.hr()[:320, :480] for pair in chosen[start : start + 9]]
            rows = [np.concatenate(nine[n : n + 3], axis=1) for n in (0, 3, 6)]
            yield f"{chosen[start].name} and 8 more", np.concatenate(rows), None
    for pair in chosen if pictures != NINE else []:
        yield pair.name, *((pair.lr(), pair.hr()) if pictures == SHRUNK else (pair.hr(), None))


def _compare(session: Session, lr: NDArray, hr: Any, tile: tuple[int, int]) -> dict[str, Any]:
    grid = plan_image(
        session.card,
        lr.shape[:2],
        SCALE,
        tile=tile,
        overlap=GLOBAL_OVERLAP,
        pooling=session.pooling,
    )
    whole, tiled = (upscale_rgb(session, lr, SCALE, cut) for cut in (None, grid))
    apart = np.abs(tiled - whole)
    difference = to_uint8(tiled).astype(int) - to_uint8(whole)
    found: dict[str, Any] = {
        "tiles": len(grid.tiles),
        "psnr_to_whole": psnr(to_uint8(tiled), to_uint8(whole)),
        "mean_levels": float(apart.mean()),
        "most_levels": float(apart.max()),
        "changed": float(np.mean(difference != 0)),
        "seam_levels": _seams(tiled - whole, grid),
    }
    if hr is not None:
        standard = PROTOCOLS["standard"]
        against = standard.planes(hr, SCALE)
        found["psnr_whole"], found["psnr_tiled"] = (
            psnr(standard.planes(result, SCALE), against) for result in (whole, tiled)
        )
    return found


def _seams(error: NDArray[np.float64], grid: Grid) -> float:
    """How far the error jumps where two tiles meet: the mean over the seams, in levels."""
    jumps = [
        np.abs(error[place] - error[place - 1])
        for place in (SCALE * start for _, start, _ in grid.rows[1:])
    ] + [
        np.abs(error[:, place] - error[:, place - 1])
        for place in (SCALE * start for _, start, _ in grid.columns[1:])
    ]
    return float(np.mean(np.concatenate([jump.ravel() for jump in jumps]))) if jumps else 0.0


def _text(rows: list[dict[str, Any]]) -> str:
    header = [
        "pictures",
        "tiles",
        "PSNR to the whole",
        "mean apart",
        "most apart",
        "values changed",
    ]
    header += ["jump at a seam", "PSNR to the original: whole, tiled"]
    header += ["most apart with the whole's averages"]
    cells = []
    for pictures, tile in CASES:
        of = [r for r in rows if r["pictures"] == pictures and r["tile"] == list(tile)]
        low, high = min(r["psnr_to_whole"] for r in of), max(r["psnr_to_whole"] for r in of)
        original = "-"
        if "psnr_whole" in of[0]:
            whole, tiled = (np.mean([r[key] for r in of]) for key in ("psnr_whole", "psnr_tiled"))
            worst = min(r["psnr_tiled"] - r["psnr_whole"] for r in of)
            original = f"{whole:.3f}, {tiled:.3f} dB (worst picture {worst:+.3f})"
        cells.append(
            [
                f"{pictures} ({len(of)})",
                f"{of[0]['tiles']} of {tile[1]}x{tile[0]}",
                f"{median(r['psnr_to_whole'] for r in of):.1f} dB ({low:.1f} to {high:.1f})",
                f"{np.mean([r['mean_levels'] for r in of]):.3f}",
                f"{max(r['most_levels'] for r in of):.1f}",
                f"{np.mean([r['changed'] for r in of]):.1%}",
                f"{np.mean([r['seam_levels'] for r in of]):.3f}",
                original,
                f"{max(r['most_levels_given'] for r in of):.1e}",
            ]
        )
    return (
        f"Published weights, overlap {GLOBAL_OVERLAP}, the dense ONNX file in onnxruntime; in the "
        "last column `--runtime sparse`, which gives tiles the averages of the whole. Distances "
        "are in levels of 0..255, before rounding; PSNR to the whole is of 8-bit RGB and given as "
        "the median of the pictures (lowest to highest), PSNR to the original is "
        "`psnr[y, crop=2, u8, matlab]`. A jump at a seam is how much the error changes from one "
        "tile's last pixel to the next tile's first.\n\n" + table(header, cells)
    )


if __name__ == "__main__":
    main()
