"""What the native runner needs from here: its program, and the network in ncnn's format.

The program is built from published sources by :mod:`srdeploy.devices.build_runner` and kept in the
cache. The network is converted as for any use of ncnn (:mod:`srdeploy.exporting.ncnn.convert`).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from srdeploy.devices.native import PROGRAM, VERSION
from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.ncnn.convert import convert_to_ncnn, pnnx_version
from srdeploy.util.files import atomic_path, cache_dir, sha256

ARCHITECTURES = ("aarch64", "armv7l", "x86_64")
"""Processors that the runner can be built for, in the kernel's words."""

WITH_VULKAN = ("aarch64", "x86_64")
"""Those of them that it can be built for with Vulkan."""


def runner_path(arch: str, *, vulkan: bool = False) -> Path:
    """Where the program for a processor is, or is to be.

    Args:
        arch: The processor.
        vulkan: The program that runs networks on a GPU.

    Raises:
        UserError: there is no such architecture.
    """
    known = WITH_VULKAN if vulkan else ARCHITECTURES
    if arch not in known:
        raise unknown_name("architecture of the native runner", arch, known)
    program = f"{PROGRAM}-vulkan" if vulkan else PROGRAM
    return cache_dir() / "native" / f"v{VERSION}" / arch / program


def runner_binary(arch: str, *, vulkan: bool = False) -> Path:
    """The program for a processor.

    Args:
        arch: As of :func:`runner_path`, and so is
        vulkan: which one.

    Raises:
        UserError: it is not built yet; the sentence says how.
    """
    path = runner_path(arch, vulkan=vulkan)
    if not path.is_file():
        more = " --vulkan" if vulkan else ""
        raise UserError(
            f"The native runner for {arch}{' with Vulkan' if vulkan else ''} is not built yet; run "
            f"`python -m srdeploy.devices.build_runner --arch {arch}{more}` once (minutes, nothing "
            f"but pip is needed), or copy one from another machine to '{path}'."
        )
    return path


def native_model(onnx: Path) -> tuple[Path, Path]:
    """Convert an ONNX file for the runner; done once per content.

    Weights stay float32: the runner's precision is chosen when it runs.

    Args:
        onnx: The file.

    Returns:
        ncnn's two files: structure (``.param``) and weights (``.bin``).

    Raises:
        UserError: pnnx is missing, or the network has a part that ncnn does not know.
        SrdeployError: pnnx failed.
    """
    folder = cache_dir() / "native" / "models" / f"{sha256(onnx)}-{pnnx_version()}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work, atomic_path(folder) as part:
            made = convert_to_ncnn(onnx, Path(work), onnx)
            part.mkdir()
            shutil.move(made.param, part / "net.param")
            shutil.move(made.weights, part / "net.bin")
    return folder / "net.param", folder / "net.bin"
