"""This machine's processor: what decides how fast convolutions run on it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)


def cpu_features() -> list[str]:
    """The instruction sets that decide how fast convolutions run."""
    for key in ("flags", "Features"):
        for value in cpuinfo(key):
            present = set(value.split())
            return [flag for flag in _TELLING_FLAGS if flag in present]
    return []


def cpu_model() -> str:
    """The processor's own name for itself."""
    for key in ("model name", "Model", "Hardware"):
        for value in cpuinfo(key):
            return value
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def cpuinfo(key: str) -> Iterable[str]:
    """What Linux tells of each of its processors under a key; nothing elsewhere."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key and value.strip():
                yield value.strip()
