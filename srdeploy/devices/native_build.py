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
from srdeploy.exporting.ncnn.export import export_ncnn
from srdeploy.models.card import Card
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


def native_model(onnx: Path, eight_bits: Card | None = None) -> tuple[Path, Path]:
    """Convert an ONNX file for the runner; done once per content.

    Weights stay float32 unless they are to have 8 bits: what else the runner computes in is chosen
    when it runs.

    Args:
        onnx: The file; float32.
        eight_bits: The network's card, for inner convolutions in 8 bits.

    Returns:
        ncnn's two files: structure (``.param``) and weights (``.bin``).

    Raises:
        UserError: pnnx is missing, or the network has a part that ncnn does not know.
        SrdeployError: pnnx failed.
    """
    kind = f"{pnnx_version()}{'' if eight_bits is None else '-int8'}"
    folder = cache_dir() / "native" / "models" / f"{sha256(onnx)}-{kind}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work, atomic_path(folder) as part:
            part.mkdir()
            if eight_bits is None:
                made = convert_to_ncnn(onnx, Path(work), onnx)
                shutil.move(made.param, part / "net.param")
                shutil.move(made.weights, part / "net.bin")
            else:
                export_ncnn(
                    onnx, part / "net.param", precision="int8",
                    value_range=eight_bits.value_range, scale=eight_bits.scale,
                )  # fmt: skip
    return folder / "net.param", folder / "net.bin"
