"""Build the native runner: one static program per processor, from published sources.

    python -m srdeploy.devices.build_runner --arch aarch64

Zig, CMake, ninja and ncnn's sources come from PyPI by pip, each of one version and known by its
hash (requirements.txt, sources.txt); nothing else of this machine takes part, and no Android SDK.
The program lands in srdeploy's cache, where `srdeploy bench --device adb` and `ssh://...` find it.
It needs no library on its device: one program serves Android, boards and servers of a processor.

``--vulkan`` builds another program, for GPUs of boards and PCs: a driver is a library, so it is a
dynamic one, for Linux with the GNU C library of 2018 or later. None is built for Android, whose
programs are linked with a C library of its own that only the Android NDK has.

The first build takes about five minutes of two cores and 150 MB of downloads, another processor
two, one with Vulkan ten; nothing is left half-done by breaking off, and a second call goes on where
the first ended.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from srdeploy.devices.native_build import ARCHITECTURES, WITH_VULKAN, runner_path
from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.files import atomic_path, cache_dir
from srdeploy.util.shipped import ASSETS
from srdeploy.util.terminal import plain

NATIVE = (ASSETS / "native").resolve()
"""What the program is made of: in the package, so that `pip install` brings it, too."""

SPARSE = NATIVE.parents[1] / "sparse"
"""SMSR in C, which the program has besides ncnn."""

TARGETS = {
    "aarch64": "aarch64-linux-musl",
    "armv7l": "arm-linux-musleabihf",
    "x86_64": "x86_64-linux-musl",
}
"""Zig's name for each processor; musl links statically."""

GLIBC = "2.27"
"""The oldest GNU C library with which the program with Vulkan starts: that of Ubuntu 18.04."""


def run(command: list[str | Path], what: str, **options: object) -> None:
    """Run a step; its output is shown.

    Raises:
        SrdeployError: it failed.
    """
    ended = subprocess.run([str(word) for word in command], check=False, **options)  # type: ignore[call-overload]
    if ended.returncode:
        raise SrdeployError(f"{what} failed (exit code {ended.returncode}); its words are above.")


def key(*files: str) -> str:
    """A short hash of files among :data:`NATIVE`."""
    digest = hashlib.sha256(b"".join((NATIVE / name).read_bytes() for name in files))
    return digest.hexdigest()[:12]


def tools(root: Path) -> Path:
    """An environment with Zig, CMake and ninja; made once."""
    folder = root / f"tools-{key('requirements.txt')}"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pinned = ["--require-hashes", "--no-deps", "-r", str(NATIVE / "requirements.txt")]
        run([folder / "bin/python", "-m", "pip", "install", "-q", *pinned], "Fetching the tools")
        for name in ("ar", "ranlib"):
            script = folder / f"bin/zig-{name}"
            script.write_text(f'#!/bin/sh\nexec "$ZIG" {name} "$@"\n')
            script.chmod(0o755)
        (folder / "ready").touch()
    return folder


def sources(root: Path, environment: Path) -> Path:
    """The sources of ncnn, unpacked once."""
    folder = root / f"ncnn-{key('sources.txt')}"
    if not folder.exists():
        with atomic_path(folder) as part, tempfile.NamedTemporaryFile() as none:
            # The old resolver breaks off where constraints are configured, whatever they are of.
            alone = {**os.environ, "PIP_CONSTRAINT": none.name}
            run(
                [
                    *(environment / "bin/python", "-m", "pip", "download", "-q", "-d", part),
                    *("--use-deprecated=legacy-resolver", "--no-build-isolation", "--no-deps"),
                    *("--require-hashes", "--no-binary", "ncnn", "-r", NATIVE / "sources.txt"),
                ],
                "Fetching ncnn's sources",
                env=alone,
            )
            (archive,) = part.glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(part, filter="data")
            archive.unlink()
    (unpacked,) = folder.iterdir()
    return unpacked


def build(arch: str, jobs: int, root: Path, *, vulkan: bool = False) -> Path:
    """Build for one processor.

    Args:
        arch: A key of :data:`TARGETS`.
        jobs: Compilers at a time.
        root: Folder for tools, sources and objects.
        vulkan: The program that runs networks on a GPU.

    Returns:
        The program, where srdeploy looks for it.

    Raises:
        UserError: there is none for the processor.
        SrdeployError: a step failed.
    """
    target = runner_path(arch, vulkan=vulkan)
    environment = tools(root)
    ncnn = sources(root, environment)
    # CMake ties a folder to the place of its sources: this checkout, that environment.
    place = hashlib.sha256(os.fsencode(NATIVE)).hexdigest()[:6]
    inputs = key("requirements.txt", "sources.txt", "zig-cc")
    folder = root / f"build-{arch}{'-vulkan' if vulkan else ''}-{inputs}-{place}"
    (zig,) = environment.glob("lib/python*/site-packages/ziglang/zig")
    path = os.pathsep.join((str(environment / "bin"), os.environ["PATH"]))
    env = {
        **os.environ,
        "PATH": path,
        "ZIG": str(zig),
        "ZIG_TARGET": f"{arch}-linux-gnu.{GLIBC}" if vulkan else TARGETS[arch],
        "ZIG_LIBRARIES": "-lc++" if vulkan else "",
        "ZIG_GLOBAL_CACHE_DIR": str(root / "zig"),
    }
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": arch,
        "CMAKE_C_COMPILER": NATIVE / "zig-cc",
        "CMAKE_CXX_COMPILER": NATIVE / "zig-cc",
        "CMAKE_AR": environment / "bin/zig-ar",
        "CMAKE_RANLIB": environment / "bin/zig-ranlib",
        "CMAKE_TRY_COMPILE_TARGET_TYPE": "STATIC_LIBRARY",
        "NCNN_SOURCE": ncnn,
        "SPARSE_SOURCE": SPARSE,
        "NCNN_VERSION": ncnn.name.rpartition(".")[2],
        "RUNNER": target.name,
        "RUNNER_VULKAN": "ON" if vulkan else "OFF",
    }
    given = [f"-D{name}={value}" for name, value in settings.items()]
    run(["cmake", "-G", "Ninja", "-S", NATIVE, "-B", folder, *given], "CMake", env=env)
    run(["ninja", "-C", folder, f"-j{jobs}", target.name], "The build", env=env)
    with atomic_path(target) as part:
        shutil.copy(folder / target.name, part)
    target.chmod(0o755)
    return target


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(
        prog="python -m srdeploy.devices.build_runner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, action="append", help="default: aarch64")
    parser.add_argument(
        "--vulkan", action="store_true", help=f"for GPUs ({', '.join(WITH_VULKAN)})"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    given = parser.parse_args()
    try:
        if os.name != "posix":
            raise UserError("The runner is built on Linux or macOS; copy it from there.")
        for arch in given.arch or ["aarch64"]:
            made = build(arch, given.jobs, cache_dir() / "native", vulkan=given.vulkan)
            print(plain(str(made)))
    except SrdeployError as error:
        print(plain(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
