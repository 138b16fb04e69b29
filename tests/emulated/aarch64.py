"""A tiny aarch64 Linux userland, emulated: Debian's static busybox under qemu-user and proot.

It takes no root and a few seconds: apt fetches one package of 1 MB into a folder of its own, which
pytest's cache keeps.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.emulated.packages import fetch, require

_TOOLS = ("proot", "qemu-aarch64-static")
_BUSYBOX = "bin/busybox"


def require_tools() -> None:
    """Skip where the emulator is missing."""
    require(*_TOOLS)


def fetch_busybox(folder: Path) -> Path:
    """Debian's static busybox for arm64."""
    unpacked = folder / "userland-aarch64"
    if not unpacked.exists():
        fetch(unpacked, ("busybox-static",), arch="arm64")
    return unpacked / _BUSYBOX


def make_root(folder: Path, busybox: Path) -> Path:
    """A file system with busybox's programs, and a Jetson's release file."""
    root = folder / "root"
    for name in ("bin", "etc", "cache", "replay", "usr/src/tensorrt/bin"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / _BUSYBOX)
    subprocess.run([*enter(root), "/bin/busybox", "--install", "-s", "/bin"], check=True)
    (root / "etc/os-release").write_text('PRETTY_NAME="Busybox on aarch64"\n')
    (root / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    )
    return root


def enter(root: Path) -> list[str]:
    """The command before a command that runs it in there."""
    return [
        *("proot", "-q", "qemu-aarch64-static", "-r", str(root)),
        *("-b", "/proc", "-b", "/dev", "-w", "/"),
    ]
