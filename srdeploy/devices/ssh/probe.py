"""What a Linux machine is, asked with one shell script; nothing of ours is needed there."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from srdeploy.devices.shell.conditions import SAY, gigabytes, pairs
from srdeploy.devices.ssh.trtexec import Trtexec, parse_help
from srdeploy.measure.measurement import DeviceFacts

TRTEXEC_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")

FACTS = """
say home "${{XDG_CACHE_HOME:-$HOME/.cache}}"
say arch "$(uname -m)"
say kernel "$(uname -sr)"
[ -r /etc/os-release ] && say os "$(. /etc/os-release; printf '%s' "$PRETTY_NAME")"
[ -r /proc/device-tree/model ] && say board "$(tr -d '\\0' < /proc/device-tree/model)"
[ -r /proc/device-tree/compatible ] && say chip "$(tr '\\0' ' ' < /proc/device-tree/compatible)"
[ -r /etc/nv_tegra_release ] && say l4t "$(head -n 1 /etc/nv_tegra_release)"
say cpu "$(sed -n -E 's/^(model name|Model|Hardware)[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
say flags "$(sed -n -E 's/^(flags|Features)[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
say cpus "$(nproc 2>/dev/null)"
say memory "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
for place in {trtexec}; do
  found=$(command -v "$place") && break
done
say trtexec "$found"
say tegrastats "$(command -v tegrastats)"
command -v nvidia-smi >/dev/null && say gpu "$(nvidia-smi \\
  --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null | head -n 1)"
echo help=
[ -n "$found" ] && "$found" --help 2>&1
true
"""

_CHIPS = {
    "tegra264": ("Thor", "11.0"),
    "tegra234": ("Orin", "8.7"),
    "tegra194": ("Xavier", "7.2"),
    "tegra186": ("TX2", "6.2"),
    "tegra210": ("Nano", "5.3"),
}
"""NVIDIA's systems on chip by the kernel's name: our word, and the GPU's compute capability."""

_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm", "bf16")


@dataclass(frozen=True)
class Host:
    """What the script found.

    Attributes:
        facts: For the measurement.
        cache: The user's cache folder there.
        trtexec: TensorRT's program, None where there is none.
        tegrastats: Path of the sensors' program, None likewise.
        jetson: It is one of NVIDIA's boards.
        capability: Compute capability of its GPU, None where unknown.
    """

    facts: DeviceFacts
    cache: str
    trtexec: Trtexec | None
    tegrastats: str | None
    jetson: bool
    capability: str | None


def facts_script(trtexec: str | None) -> str:
    """The script; ``trtexec`` is where the user says it is, None to look for it."""
    places = (trtexec,) if trtexec else ("trtexec", *TRTEXEC_PLACES)
    return SAY + FACTS.format(trtexec=" ".join(shlex.quote(place) for place in places))


def read_facts(text: str) -> Host:
    """Read the answer to :func:`facts_script`."""
    head, _, help_text = text.partition("\nhelp=\n")
    told = pairs(head)
    chip = next((name for name in _CHIPS if name in told.get("chip", "")), None)
    gpu, capability = None, None
    if chip:
        word, capability = _CHIPS[chip]
        gpu = f"NVIDIA {word} ({chip})"
    elif gpu_line := told.get("gpu"):
        gpu, capability, *_ = [part.strip() for part in gpu_line.split(",")] + [None]
    trtexec = None
    if path := told.get("trtexec"):
        trtexec = parse_help(path, help_text)
    extra = {}
    if l4t := re.search(r"R(\d+) .*REVISION: ([\d.]+)", told.get("l4t", "")):
        extra["l4t"] = f"{l4t[1]}.{l4t[2]}"
    versions = {"tensorrt": ".".join(map(str, trtexec.version))} if trtexec else {}
    flags = set(told.get("flags", "").split())
    cpu = told.get("cpu") or None
    facts = DeviceFacts(
        kind="ssh",
        model=told.get("board") or cpu or f"{told.get('arch', 'unknown')} machine",
        arch=told.get("arch", "unknown"),
        os=told.get("os") or told.get("kernel", "unknown"),
        cpu=cpu,
        cpus=int(told["cpus"]) if told.get("cpus", "").isdecimal() else None,
        cpu_features=tuple(flag for flag in _TELLING_FLAGS if flag in flags),
        memory_gb=gigabytes(told.get("memory", "")),
        gpu=gpu,
        versions=versions,
        extra=extra,
    )
    return Host(
        facts=facts,
        cache=told["home"],
        trtexec=trtexec,
        tegrastats=told.get("tegrastats") or None,
        jetson=chip is not None or "l4t" in told,
        capability=capability,
    )
