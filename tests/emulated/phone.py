"""A phone for tests: Debian's real adbd, Android's shell and toybox, and the real client.

Debian 13 packages all of them. They run in namespaces of their own, so no root is needed, adbd
(which listens on every address) can be reached by nobody else, and the client's server is not the
user's. ``getprop`` and ``dumpsys`` replay a phone's answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.devices.adb.stand import REPLAY
from tests.emulated.packages import fetch, require

PACKAGES = (
    "adb",
    "adbd",
    "mksh",
    "toybox",
    *("android-libbase", "android-libboringssl", "android-libcutils", "android-liblog"),
    *("android-libziparchive", "libbrotli1", "libbsd0", "libc6", "libcap2", "libcrypt1"),
    *("libgcc-s1", "liblz4-1", "libmd0", "libprotobuf32t64", "libstdc++6", "libsystemd0"),
    *("libudev1", "libusb-1.0-0", "libxxhash0", "libzstd1", "zlib1g"),
)
PORTS = (6001, 6002)
"""Two phones; never 5555, which every adb server looks at by itself."""

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = f"{_LIBRARIES}/ld-linux-x86-64.so.2"
_PLATFORM_TOOLS = "usr/lib/android-sdk/platform-tools"

# The first process in there: it mounts what a phone has and starts an unplugged adbd again.
_INIT = """
set -e
mount --rbind /dev "$0/dev"; mount --rbind /sys "$0/sys"; mount -t proc proc "$0/proc"
mount -t tmpfs -o size=300k small "$0/data/small"
exec chroot "$0" /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/ sh -c '
ifconfig lo up
for port in "$@"; do
  while :; do ADBD_PORT=$port adbd; sleep 0.5; done &
done
wait' sh "$@"
"""


class Phone:
    """The phones and their client.

    Attributes:
        client: A folder for PATH with ``adb`` in it.
        root: The file system of both phones.
    """

    def __init__(self, packages: Path, folder: Path) -> None:
        self.root = folder / "root"
        shutil.copytree(packages, self.root, symlinks=True)
        self._furnish()
        init = ["unshare", "-rmnp", "--fork", "--kill-child", "sh", "-c", _INIT]
        with open(folder / "adbd.log", "wb") as log:
            self._init = subprocess.Popen(
                [*init, str(self.root), *map(str, PORTS)], stdout=log, stderr=log
            )
        self._inside = self._first_child()
        self.client = folder / "client"
        self.client.mkdir()
        (self.client / "home").mkdir()
        libraries = f"{self.root / _LIBRARIES}:{self.root / _LIBRARIES}/android"
        program = self.client / "adb"
        program.write_text(
            f"#!/bin/sh\nexec nsenter --preserve-credentials -U -n -t {self._inside} env "
            f"HOME={self.client / 'home'} {self.root / _LOADER} --library-path {libraries} "
            f'{self.root / _PLATFORM_TOOLS / "adb"} "$@"\n'
        )
        program.chmod(0o755)
        with open(folder / "server.log", "wb") as log:
            self._server = subprocess.Popen(
                [str(program), "nodaemon", "server"], stdout=log, stderr=log
            )
        try:
            for port in PORTS:
                self._connect(port)
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def serial(port: int) -> str:
        """Of the phone behind a port."""
        return f"127.0.0.1:{port}"

    def adb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the client."""
        return subprocess.run(
            [str(self.client / "adb"), *words], capture_output=True, text=True, timeout=60
        )

    def unplug(self, port: int) -> None:
        """Kill the daemon of one phone; it is plugged in again half a second later."""
        for stat in Path("/proc").glob("[0-9]*/environ"):
            try:
                mine = f"ADBD_PORT={port}".encode() in stat.read_bytes().split(b"\0")
                program = (stat.parent / "comm").read_text().strip()
                inside = os.readlink(stat.parent / "ns/pid") == self._namespace
            except OSError:
                continue
            if mine and inside and program == "adbd":
                os.kill(int(stat.parent.name), signal.SIGKILL)

    def program(self, name: str, text: str) -> None:
        """Replace a program of the phones."""
        path = self.root / "usr/bin" / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def stop(self) -> None:
        """End server and phones."""
        for process in (self._server, self._init):
            process.kill()
            process.wait()

    def _furnish(self) -> None:
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.root / name).symlink_to(f"usr/{name}")
        for name in ("data/local/tmp", "data/small", "proc", "dev", "sys", "tmp", "etc"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        programs = self.root / "usr/bin"
        (programs / "sh").symlink_to("mksh")
        listed = subprocess.run(
            [
                *(str(self.root / _LOADER), "--library-path", str(self.root / _LIBRARIES)),
                str(programs / "toybox"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.split():
            if not (programs / name).exists():
                (programs / name).symlink_to("toybox")
        for name in ("getprop", "dumpsys", "settings"):
            shutil.copy(REPLAY / name, programs)

    def _first_child(self) -> int:
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._init.poll() is None:
            if found := children.read_text().split():
                self._namespace = os.readlink(f"/proc/{found[0]}/ns/pid")
                return int(found[0])
            time.sleep(0.05)
        pytest.skip("this system does not let users make namespaces (unshare -rmnp)")

    def _connect(self, port: int) -> None:
        deadline = time.monotonic() + 60
        while "connected to" not in (said := self.adb("connect", self.serial(port)).stdout):
            assert time.monotonic() < deadline, said
            time.sleep(0.2)


def fetch_phone(folder: Path) -> Path:
    """The packages, fetched once."""
    require("unshare", "nsenter", "mount", "chroot")
    if os.uname().machine != "x86_64":
        pytest.skip("the phone is an x86_64 one")
    unpacked = folder / "phone"
    if not unpacked.exists():
        fetch(unpacked, PACKAGES, arch="amd64", suite="trixie")
    return unpacked
