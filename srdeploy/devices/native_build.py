"""What the native runner needs from here: its program, and the network in ncnn's format.

The program is built from published sources by :mod:`srdeploy.devices.build_runner` and kept in the
cache. The network is converted by pnnx, the converter of ncnn's own authors
(https://github.com/pnnx/pnnx), whose native program reads ONNX without torch.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from srdeploy.devices.native import PROGRAM, VERSION
from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.util.files import atomic_path, cache_dir, sha256

ARCHITECTURES = ("aarch64", "armv7l", "x86_64")
"""Processors that the runner can be built for, in the kernel's words."""

INSTALL_PNNX = "pip install 'srdeploy[native]'"


def runner_path(arch: str) -> Path:
    """Where the program for a processor is, or is to be.

    Raises:
        UserError: there is no such architecture.
    """
    if arch not in ARCHITECTURES:
        raise unknown_name("architecture of the native runner", arch, ARCHITECTURES)
    return cache_dir() / "native" / f"v{VERSION}" / arch / PROGRAM


def runner_binary(arch: str) -> Path:
    """The program for a processor.

    Args:
        arch: One of :data:`ARCHITECTURES`.

    Raises:
        UserError: it is not built yet; the sentence says how.
    """
    path = runner_path(arch)
    if not path.is_file():
        raise UserError(
            f"The native runner for {arch} is not built yet; run `python -m srdeploy.devices"
            f".build_runner --arch {arch}` once (minutes, nothing but pip is needed), "
            f"or copy one from another machine to '{path}'."
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
    folder = cache_dir() / "native" / "models" / f"{sha256(onnx)}-{_pnnx_version()}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as work, atomic_path(folder) as part:
            param, weights = _convert(onnx, Path(work))
            part.mkdir()
            shutil.move(param, part / "net.param")
            shutil.move(weights, part / "net.bin")
    return folder / "net.param", folder / "net.bin"


def _convert(onnx: Path, work: Path) -> tuple[Path, Path]:
    shutil.copy(onnx, work / "net.onnx")
    ended = subprocess.run(
        [str(_pnnx_program()), "net.onnx", "fp16=0"],
        cwd=work,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    param, weights = work / "net.ncnn.param", work / "net.ncnn.bin"
    if ended.returncode or not (param.is_file() and weights.is_file()):
        said = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise SrdeployError(f"pnnx could not convert '{onnx}' (its last words: {said[:200]}).")
    if foreign := foreign_layers(param.read_text(encoding="utf-8")):
        raise UserError(
            f"'{onnx}' cannot run in ncnn, which has no {', '.join(foreign)}; export it in fp32 "
            "(the runner takes its precision from the device's URI) or use another runtime."
        )
    return param, weights


def foreign_layers(param: str) -> list[str]:
    """What pnnx could not express in ncnn's layers, of the text of a ``.param`` file.

    It leaves such parts under the names of ONNX or PyTorch, which hold a dot or a colon; ncnn's
    own have neither.
    """
    kinds = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
    return sorted(kind for kind in kinds if not re.fullmatch(r"\w+", kind))


def _pnnx_program() -> Path:
    # Found, not imported: its package imports torch for ways in that are not used here.
    found = importlib.util.find_spec("pnnx")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for name in ("pnnx", "pnnx.exe"):
            if (program := Path(folder) / name).is_file():
                return program
    raise UserError(f"Networks are converted for the native runner by pnnx: {INSTALL_PNNX}.")


def _pnnx_version() -> str:
    _pnnx_program()
    return version("pnnx")
