"""A tiny aarch64 Linux userland, emulated: Debian's static busybox under qemu-user and proot.

It takes no root and a few seconds: apt fetches one package of 1 MB into a folder of its own, which
pytest's cache keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_TOOLS = ("proot", "qemu-aarch64-static", "apt-get", "dpkg-deb")
_BUSYBOX = "bin/busybox"


def require_tools() -> None:
    """Skip where the emulator is missing."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: proot, qemu-user-static, apt, dpkg)")


def fetch_busybox(folder: Path) -> Path:
    """Debian's static busybox for arm64, fetched by apt without touching the system's state."""
    target = folder / "busybox-aarch64"
    if target.exists():
        return target
    work = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", "busybox-static"]):
        ended = subprocess.run(
            ["apt-get", "-qq", *options, *command], cwd=work, capture_output=True, text=True
        )
        if ended.returncode:
            pytest.skip(f"apt-get cannot fetch busybox for arm64: {ended.stderr.strip()[-200:]}")
    (package,) = work.glob("busybox-static*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(work / "x")], check=True)
    shutil.move(work / "x" / _BUSYBOX, target)
    shutil.rmtree(work)
    return target


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
