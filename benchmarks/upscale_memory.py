"""What `srdeploy upscale` holds in memory for a 24-megapixel photograph, and how long it takes.

python benchmarks/upscale_memory.py [--memory 2GB,1GB] [NETWORK...]

The picture is a shipped one, enlarged bicubically to 6000x4000. Peak memory is the kernel's figure
for the finished process (ru_maxrss), libraries included. Time is the wall's, from reading the
picture to the finished PNG, and the processors'.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from results_io import quiet, shown, table, write

from srdeploy.data.benchmark import BENCHMARK_IMAGES
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import read_rgb, write_png

SIZE = (4000, 6000)


def measure(network: str, picture: Path, out: Path, memory: str) -> dict:
    """One run in a process of its own: what it reports, and its peak as the kernel counts it."""
    arguments = ["upscale", network, str(picture), "-o", str(out), "--memory", memory, "--json"]
    command = [sys.executable, "-m", "srdeploy", "--quiet", *arguments]
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen(command, stdout=stdout)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{shown(*arguments)} failed")
        stdout.seek(0)
        report = json.load(stdout)
    row = report["pictures"][0]
    return {
        "network": Path(network).name,
        "memory": memory,
        "runtime": report["runtime"],
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
        "threads": report["threads"],
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        **{key: row[key] for key in ("seconds", "tiles", "tile", "overlap", "work")},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=["edsr-s-x2"])
    parser.add_argument("--memory", default="2GB,1GB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        picture = Path(name) / "photo.png"
        write_png(picture, imresize(read_rgb(BENCHMARK_IMAGES / "coffee.png"), size=SIZE))
        rows = [
            measure(network, picture, Path(name) / f"{index}.png", memory)
            for index, (network, memory) in enumerate(
                (network, memory)
                for network in given.networks
                for memory in given.memory.split(",")
            )
        ]
    text = (
        "A 6000x4000 picture, 8-bit RGB, to PNG. The bound is `--memory`; the peak is what the "
        "kernel counted for the process, libraries, picture and results included.\n\n"
    )
    header = ["network", "runtime", "--memory", "peak", "tiles", "of", "overlap", "work"]
    header += ["threads", "wall", "processors"]
    text += table(
        header,
        [
            [
                row["network"],
                row["runtime"],
                row["memory"],
                f"{row['peak_gb']:.2f} GB",
                row["tiles"],
                "x".join(str(n) for n in reversed(row["tile"])),
                row["overlap"],
                f"{row['work']:.2f}",
                row["threads"],
                f"{row['seconds']:.0f} s",
                f"{row['cpu_seconds']:.0f} s",
            ]
            for row in rows
        ],
    )
    write(
        f"upscale-memory-6000x4000-{Path(given.networks[0]).stem}-cpu",
        "Memory of upscaling a 6000x4000 picture",
        text,
        rows,
        "python benchmarks/upscale_memory.py " + " ".join(Path(n).name for n in given.networks),
    )


if __name__ == "__main__":
    quiet()
    main()
