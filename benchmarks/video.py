"""Videos: what is kept, memory over ten minutes, and frames per second against the network alone.

    python -m benchmarks.video --stage kept
    python -m benchmarks.video --stage memory
    python -m benchmarks.video --stage time [NETWORK ...]

The videos are made by script (a moving pattern, sound, subtitles). ``kept`` plays source and result
back and compares them; ``memory`` upscales one minute and ten; ``time`` is the scenario ``video``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.results_io import own_command, quiet, shown, srdeploy, table, write
from tests.video import clips

NETWORK = "edsr-s-x2-p70"
EVERY = 1.0  # seconds between two looks at the memory

UNEVEN = [0, 40, 63, 149, 189, 209, 272, 312, 335, 421]  # ms; repeated every 480
TIMES = [480 * (n // 10) + UNEVEN[n % 10] for n in range(210)]
BASE = Fraction(1, 1000)

KINDS: dict[str, dict[str, Any]] = {
    "BT.709, limited, 8 bits, 4:2:0": {},
    "BT.601 (625), limited, 4:2:0": {"kr": 0.299, "kb": 0.114, "tags": (5, 5, 6, 1)},
    "BT.601 (525), full (yuvj420p)": {
        "kr": 0.299, "kb": 0.114, "full": True, "tags": (6, 6, 6, 2),
    },
    "BT.2020 PQ, 10 bits, 4:2:0": {
        "name": "yuv420p10le", "kr": 0.2627, "kb": 0.0593, "tags": (9, 9, 16, 1),
    },
    "BT.709, 4:4:4": {"name": "yuv444p"},
    "BT.709, 10 bits, 4:2:2": {"name": "yuv422p10le"},
    "BT.709, odd size 161x97": {"size": (97, 161), "codec": "ffv1", "options": {"level": "3"}},
    "pixels 4:3": {"aspect": Fraction(4, 3)},
}  # fmt: skip


def upscale(*arguments: str) -> dict[str, Any]:
    """What ``srdeploy upscale`` reports of one video."""
    return srdeploy("upscale", NETWORK, *arguments)["videos"][0]


def kept(folder: Path) -> None:
    """Every kind of video, ten seconds with a variable frame rate, sound and subtitles."""
    rows = []
    for name, kind in KINDS.items():
        source = clips.make(
            folder / "in.mkv",
            **{"size": (96, 160), **kind}, times=TIMES, time_base=BASE, sound=True, subtitles=True,
        )  # fmt: skip
        target = folder / "out.mkv"
        told = upscale(str(source), "-o", str(target), "--overwrite")
        old, new = clips.facts(source), clips.facts(target)
        rows.append({
            "video": name,
            "encoder": told["encoder"],
            "frames": f"{len(new['frames'])} of {len(old['frames'])}",
            "times": new["times"] == old["times"],
            "tags": new["tags"] == old["tags"],
            "shape of pixels": new["aspect"] == old["aspect"],
            **{
                kind: clips.packets(source, kind) == clips.packets(target, kind)
                for kind in ("audio", "subtitle")
            },
            "notes": told["notes"],
        })  # fmt: skip
    keys = ("times", "tags", "shape of pixels", "audio", "subtitle")
    body = [
        [row["video"], row["encoder"], row["frames"], *("equal" if row[k] else "NOT" for k in keys)]
        for row in rows
    ]
    header = ["video", "written with", "frames", "times", "pixel format and tags"]
    header += ["shape of pixels", "packets of sound", "of subtitles"]
    text = (
        f"Videos of {TIMES[-1] / 1e3:.1f} s with {len(TIMES)} frames at a variable rate, AAC and "
        f"SubRip, in Matroska, upscaled with {NETWORK} and default options, then played back frame "
        "by frame. *times* compares the times of all frames, *tags* the pixel format, matrix, "
        "primaries, transfer and range of all decoded frames, *packets* their times and bytes.\n\n"
        + table(header, body)
    )
    write("video-kept", "Videos: what the result keeps", text, rows, own_command())


def memory(folder: Path) -> None:
    """The process's memory over one minute of video and over ten."""
    rows = []
    for minutes in (1, 10):
        source = clips.make(
            folder / f"{minutes}.mkv", frames=1500 * minutes, size=(96, 160),
            options={"preset": "ultrafast"}, sound=True,
        )  # fmt: skip
        rows.append({"minutes": minutes, **watched(source, folder / f"{minutes}_x2.mkv")})
    header = ["video", "frames", "after a tenth", "at half", "at nine tenths", "peak"]
    body = [
        [
            f"{row['minutes']} min",
            row["frames"],
            *(f"{row['mb'][int(len(row['mb']) * at)]:.0f} MB" for at in (0.1, 0.5, 0.9)),
            f"{row['peak_mb']:.0f} MB",
        ]
        for row in rows
    ]
    text = (
        f"Videos of 160x96 at 25 frames per second with sound, upscaled with {NETWORK} in torch, "
        f"{rows[0]['encoder']}. The memory is what the kernel counts for the process (resident), "
        f"read every {EVERY:g} s; the peak is the kernel's, too (VmHWM).\n\n" + table(header, body)
    )
    write(f"video-memory-{NETWORK}-160x96-cpu", "Videos: memory over ten minutes", text, rows,
          own_command())  # fmt: skip


def watched(source: Path, target: Path) -> dict[str, Any]:
    """Upscale in a process of its own, and look at its memory meanwhile."""
    command = [sys.executable, "-m", "srdeploy", "--quiet", "upscale", NETWORK, str(source)]
    readings: list[float] = []
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen([*command, "-o", str(target), "--json"], stdout=stdout)
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            readings.append(pages * page / 1e6)
            try:
                process.wait(EVERY)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.returncode:
            sys.exit("upscaling failed")
        stdout.seek(0)
        report = json.load(stdout)
    told = report["videos"][0]
    return {
        "frames": told["frames"],
        "encoder": told["encoder"],
        "mb": [round(one, 1) for one in readings],
        "peak_mb": report["peak_memory"] / 1e6,
    }


def speed(networks: list[str], seconds: float) -> None:
    """Frames per second end to end and alone."""
    arguments = ["bench", *networks, "--scenario", "video", "--seconds", f"{seconds:g}"]
    rows = srdeploy(*arguments)
    threads = rows[0]["threads"]
    header = ["network", "runtime", "end to end", "network alone", "of alone", "drift"]
    header += ["dropped at 30 fps"]
    body = [
        [
            row["artifact"],
            row["runtime"],
            f"{row['fps']:.2f} fps",
            f"{row['fps_alone']:.2f} fps",
            f"{100 * row['fps'] / row['fps_alone']:.1f} %",
            "-" if row["drift"] is None else f"{row['drift']:.2f}",
            f"{100 * row['dropped']:.0f} %",
        ]
        for row in rows
    ]
    text = (
        f"`{shown(*(Path(one).name for one in arguments))}`: a video of 640x360 (H.264, 4:2:0) is "
        "decoded, upscaled to 1280x720 and encoded (libx264, crf 16, preset medium), and in every "
        f"turn the network alone runs as often on the same frame; {threads} threads. Decoder, "
        "colour conversion and encoder run on the same processors as the network. *Drift*: times "
        "slower in the last tenth than in the first. *Dropped*: what a live video of 30 frames a "
        "second would lose.\n\n" + table(header, body)
    )
    write(
        f"video-fps-640x360-x2-cpu-{threads}threads",
        "Videos: frames per second against the network alone",
        text,
        rows,
        own_command(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["edsr-s-x2-p70", "edsr-s-x2"])
    parser.add_argument("--stage", choices=("kept", "memory", "time"), required=True)
    parser.add_argument("--seconds", type=float, default=60, help="of frames, for each network")
    given = parser.parse_args()
    if given.stage == "time":
        quiet()
        speed(given.networks, given.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        {"kept": kept, "memory": memory}[given.stage](Path(folder))


if __name__ == "__main__":
    main()
