"""Make the shipped networks: train the dense ones, prune and recover, measure, fill the cards.

    SRDEPLOY_DATA=DATA python benchmarks/make_zoo.py DATA [--scale 2 ...] [--from-shipped]

The dense networks take about 70 minutes (x2) and 20 minutes each (x3, x4, which begin with x2's
body) on one core, a pruned one about 20; the same command resumes. A finished run is measured, not
repeated. ``--from-shipped`` leaves the dense networks as they are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_io import quiet, srdeploy, table, write

from srdeploy.models.count import count
from srdeploy.models.store import read_network, save_network
from srdeploy.util.files import atomic_path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SHIPPED = ROOT / "srdeploy" / "assets" / "networks"
SCALES = (2, 3, 4)
RATIOS = (0.3, 0.5, 0.7)
BLOCK = 8  # channels: CPUs compute in blocks of them, so that other widths buy nothing
CALIBRATION = "train/DIV2K_LRx4"
SETS = {"Set5": "benchmark/Set5", "B100": "benchmark/B100"}
REPEAT = "make zoo SRDEPLOY_DATA=DATA"
LIMIT = 5_000_000  # bytes, of all networks together
RUNS = 3  # of the bench: what shares the machine changes over minutes, and not alike for all


@dataclass(frozen=True)
class Entry:
    """A network of the zoo; a ratio of 0 is the dense one."""

    scale: int
    ratio: float = 0.0

    @property
    def dense(self) -> str:
        return f"edsr-s-x{self.scale}"

    @property
    def name(self) -> str:
        return self.dense + (f"-p{round(100 * self.ratio)}" if self.ratio else "")

    @property
    def shipped(self) -> Path:
        return SHIPPED / f"{self.name}.safetensors"


def entries(scales: list[int]) -> Iterator[Entry]:
    """Dense before pruned, x2 before what begins with its body."""
    for scale in sorted(scales):
        yield Entry(scale)
    for scale in sorted(scales):
        yield from (Entry(scale, ratio) for ratio in RATIOS)


def make(entry: Entry, data: Path, runs: Path, from_shipped: bool) -> None:
    """Train or prune one network into its run's folder, then ship it with its figures."""
    folder = runs / entry.name
    trained = folder / f"{entry.name}.safetensors"
    there = ("--run-dir", str(folder), "-o", str(trained))
    if entry.ratio:
        dense, start = str(Entry(entry.scale).shipped), folder / "start.safetensors"
        if not start.exists():
            folder.mkdir(parents=True, exist_ok=True)
            images = ("--calibration", str(data / CALIBRATION), "--no-quality")
            sizes = ("--ratio", str(entry.ratio), "--round-to", str(BLOCK))
            run = ("--run-dir", str(folder / "pruning"))
            srdeploy("prune", dense, *sizes, *images, *run, "-o", str(start))
        recipe = ("--recipe", str(CONFIGS / "train" / "zoo.yaml"))
        scale = ("--set", f"scales=[{entry.scale}]", "--set", f"validation.scale={entry.scale}")
        srdeploy("finetune", str(start), *recipe, *scale, "--teacher", dense, *there)
    elif from_shipped:
        trained = entry.shipped
    else:
        srdeploy("train", str(CONFIGS / "train" / f"{entry.dense}.yaml"), *there)
    network = read_network(trained)
    sets = {name: str(data / place) for name, place in SETS.items()} | {"builtin": "builtin"}
    measured = {name: srdeploy("eval", str(trained), "--data", sets[name]) for name in sets}
    wanted = ("psnr_y", "ssim_y", "n_images", "protocol")
    quality = {name: {key: m[key] for key in wanted} for name, m in measured.items()}
    network.card = network.card.model_copy(update={"quality": quality})
    with atomic_path(entry.shipped) as temporary:
        save_network(network, temporary)
    if not entry.ratio and not from_shipped:
        training_page(
            entry, folder, measured, {n: bicubic(s, entry.scale) for n, s in sets.items()}
        )


def bicubic(data: str, scale: int) -> dict[str, Any]:
    """Quality of plain bicubic upscaling on a set."""
    found: dict[str, Any] = srdeploy("eval", "bicubic", "--scale", str(scale), "--data", data)
    return found


def training_page(
    entry: Entry, folder: Path, measured: dict[str, Any], plain: dict[str, Any]
) -> None:
    """How a dense network was trained: its curve, and where it ended beside bicubic."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    curve = [record for record in records if "psnr_y" in record]
    steps = [record for record in records if "images_per_s" in record]
    speed = statistics.median(record["images_per_s"] for record in steps)
    ends = [
        [name, m["n_images"], f"{plain[name]['psnr_y']:.2f} / {plain[name]['ssim_y']:.4f}",
         f"{m['psnr_y']:.2f} / {m['ssim_y']:.4f}", f"`{m['protocol']}`"]
        for name, m in measured.items()
    ]  # fmt: skip
    text = (
        f"8 residual blocks of 32 channels with the lite tail, x{entry.scale}, trained by "
        f"`configs/train/{entry.dense}.yaml` for {steps[-1]['iteration']} iterations (median "
        f"{speed:.0f} patches/s).\n\n"
        + table(["set", "images", "bicubic PSNR / SSIM", f"{entry.name} PSNR / SSIM", "protocol"],
                ends)
        + "\n\n## Along the way (Set5, averaged weights)\n\n"
        + table(["iteration", "PSNR dB"], [[r["iteration"], f"{r['psnr_y']:.3f}"] for r in curve])
    )  # fmt: skip
    write(f"shipped-{entry.name}", f"A shipped network: {entry.name}", text,
          {"quality": measured, "bicubic": plain, "curve": curve}, REPEAT)  # fmt: skip


def report() -> None:
    """The page of the zoo, from the shipped files themselves; each scale timed in one run."""
    planned = list(entries(list(SCALES)))
    shipped = [entry for entry in planned if entry.shipped.exists()]
    missing = [entry.name for entry in planned if entry not in shipped]
    size = sum(e.shipped.stat().st_size for e in shipped)
    if size > LIMIT:
        raise SystemExit(f"The networks take {size / 1e6:.1f} MB; {LIMIT / 1e6:.0f} is the limit.")
    families = {s: family for s in SCALES if (family := [e for e in shipped if e.scale == s])}
    runs = [{s: time_family(family) for s, family in families.items()} for _ in range(RUNS)]
    parts, everything = [], {}
    for scale, family in families.items():
        timed = [run[scale] for run in runs]
        rows, everything[f"x{scale}"] = family_rows(family, timed), timed
        heading = "PSNR / SSIM"
        parts += [f"## x{scale}", "", table(
            ["network", "KB", "params", "MACs 720p", f"Set5 {heading}", f"B100 {heading}",
             "onnxruntime ms", "times faster"], rows), ""]  # fmt: skip
    text = (
        f"{len(shipped)} networks, {size / 1e6:.2f} MB. 8 residual blocks of 32 channels with the "
        "lite tail; dense ones trained by `configs/train/`, pruned ones as their cards say "
        "(`srdeploy explain`). Latency: the exported ONNX, 2 threads, one shipped image, all "
        f"networks of a scale in turns, {RUNS} times, minutes apart: the median of the medians, "
        "and of the times faster than the dense one, with the least and the most of all runs' 95 % "
        "intervals. Quality: of the networks as shipped, `psnr[y, crop=scale, u8, matlab]`.\n\n"
        + (f"Not made yet: {', '.join(missing)}.\n\n" if missing else "")
        + "\n".join(parts)
    )
    write("zoo-onnxruntime-cpu-2threads", "The networks that come with srdeploy", text,
          everything, REPEAT)  # fmt: skip


def time_family(family: list[Entry]) -> list[dict[str, Any]]:
    """One run of the bench over one scale's networks, exported."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx = [f"{scratch}/{entry.name}.onnx" for entry in family]
        for entry, path in zip(family, onnx, strict=True):
            srdeploy("export", str(entry.shipped), "--target", "onnx", "-o", path)
        measured: list[dict[str, Any]] = srdeploy(
            "bench", *onnx, "--no-quality", "--scale", str(family[0].scale),
            "--threads", "2", "--input", "240x160",
        )  # fmt: skip
    return measured


def family_rows(family: list[Entry], timed: list[list[dict[str, Any]]]) -> list[list[Any]]:
    """Table rows of one scale's networks, from several runs over them."""
    rows = []
    for entry, *times in zip(family, *timed, strict=True):
        network = read_network(entry.shipped)
        size, quality = count(network), network.card.quality
        figures = [f"{quality[s]['psnr_y']:.2f} / {quality[s]['ssim_y']:.4f}" for s in SETS]
        rows.append([entry.name, f"{entry.shipped.stat().st_size / 1000:.0f}",
                     f"{size.params / 1000:.0f}K", f"{size.macs_720p / 1e9:.1f}G", *figures,
                     f"{statistics.median(t['p50_ms'] for t in times):.1f}",
                     faster(times)])  # fmt: skip
    return rows


def faster(runs: list[dict[str, Any]]) -> str:
    """``2.62 [2.42, 3.02]``, or a dash for the first."""
    if runs[0]["speedup"] is None:
        return "-"
    middle = statistics.median(row["speedup"] for row in runs)
    low, high = min(r["speedup_low"] for r in runs), max(r["speedup_high"] for r in runs)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / "zoo")
    parser.add_argument("--scale", type=int, nargs="+", default=list(SCALES), choices=SCALES)
    parser.add_argument("--from-shipped", action="store_true")
    parser.add_argument("--report", action="store_true", help="make nothing, measure what is there")
    options = parser.parse_args()
    if not options.report:
        for entry in entries(options.scale):
            make(entry, options.data, options.run_dir, options.from_shipped)
    report()


if __name__ == "__main__":
    quiet()
    main()
