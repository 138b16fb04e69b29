"""Debian packages of another release or processor, fetched by apt into a folder of their own.

No root and nothing of the system's state: the mirror is the one that apt is set up for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def require(*tools: str) -> None:
    """Skip where a tool is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def fetch(folder: Path, names: tuple[str, ...], *, arch: str, suite: str | None = None) -> None:
    """Unpack packages into ``folder``; skips the test where they cannot be had.

    Args:
        folder: Where to; made, whole or not at all.
        names: The packages. Their dependencies are to be named too.
        arch: Debian's name of the processor.
        suite: Of another Debian release, e.g. ``trixie``; None for this system's sources.
    """
    require("apt-get", "dpkg-deb")
    work = folder.with_name(f"{folder.name}.apt")
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "debs", "x"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    settings: dict[str, object] = {
        "APT::Architecture": arch,
        "APT::Architectures::": arch,
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
    }
    if suite:
        source = work / "sources.list"
        source.write_text(f"deb [signed-by={_KEYS}] {_mirror()} {suite} main\n")
        settings |= {"Dir::Etc::sourcelist": source, "Dir::Etc::sourceparts": "-"}
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", *names]):
        ended = subprocess.run(
            ["apt-get", "-qq", *options, *command],
            cwd=work / "debs",
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            pytest.skip(f"apt-get cannot fetch {names[0]}: {ended.stderr.strip()[-200:]}")
    for package in (work / "debs").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(work / "x")], check=True)
    shutil.move(work / "x", folder)
    shutil.rmtree(work)


def _mirror() -> str:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]
    ended = subprocess.run(command, capture_output=True, text=True)
    found = [line for line in ended.stdout.split() if "security" not in line]
    if not found:
        pytest.skip("apt knows no mirror of Debian (run apt-get update)")
    return found[0]
