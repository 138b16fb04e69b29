"""The table of runtimes: what can turn an artifact into pixels, and whether it can here.

Looking a row up costs nothing: availability is read from the installed distributions' metadata,
and no runtime is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Availability:
    """Whether something can be used on this machine, and in one sentence why (not).

    Attributes:
        ready: It can be used now.
        reason: What was found, or what is missing and how to get it.
    """

    ready: bool
    reason: str

    def __bool__(self) -> bool:
        return self.ready


@dataclass(frozen=True)
class Module:
    """A Python module that a runtime or a target needs.

    Attributes:
        name: Import name.
        distributions: Distributions that bring it, the usual one first.
        install: What to type to get it.
    """

    name: str
    distributions: tuple[str, ...]
    install: str

    def version(self) -> str | None:
        """Installed version, or None. Never imports the module."""
        for distribution in self.distributions:
            try:
                return version(distribution)
            except PackageNotFoundError:
                continue
        return "unknown version" if self._importable() else None

    def availability(self) -> Availability:
        """Ready when it can be imported; the reason names the version or the remedy."""
        if not self._importable():
            return Availability(False, f"{self.name} is not installed: {self.install}")
        return Availability(True, f"{self.name} {self.version()}")

    def _importable(self) -> bool:
        try:
            return importlib.util.find_spec(self.name) is not None
        except (ImportError, ValueError):
            return False


TORCH = Module("torch", ("torch",), "pip install torch")
ONNX = Module("onnx", ("onnx",), "pip install onnx")
ONNXSIM = Module("onnxsim", ("onnxsim",), "pip install onnxsim")
ONNXRUNTIME = Module("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "pip install onnxruntime")
COREMLTOOLS = Module("coremltools", ("coremltools",), "pip install coremltools")
TENSORRT = Module(
    "tensorrt",
    ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "pip install 'srdeploy[trt]' (needs NVIDIA's package index)",
)
TENSORRT_RTX = Module("tensorrt_rtx", ("tensorrt-rtx", "tensorrt_rtx"), "pip install tensorrt-rtx")


@dataclass(frozen=True)
class Runtime:
    """One row of the table.

    Attributes:
        name: What ``--runtime``, cards and measurements call it.
        title: One line for lists.
        module: What must be installed.
        session: ``module:class`` of its session, or None while srdeploy has none.
        platforms: Values of ``sys.platform`` it exists on; empty for all.
    """

    name: str
    title: str
    module: Module
    session: str | None = None
    platforms: tuple[str, ...] = ()

    def availability(self) -> Availability:
        """Whether a session can be opened here. Imports nothing."""
        if self.platforms and sys.platform not in self.platforms:
            where = " or ".join(_PLATFORM_NAMES.get(p, p) for p in self.platforms)
            return Availability(False, f"runs on {where} only")
        if self.session is None:  # don't send anyone to install what would not be used
            found = f" ({self.module.name} {v} found)" if (v := self.module.version()) else ""
            return Availability(False, f"srdeploy opens no session in it yet{found}")
        return self.module.availability()


_PLATFORM_NAMES = {"darwin": "macOS", "linux": "Linux", "win32": "Windows"}

RUNTIMES: dict[str, Runtime] = {
    row.name: row
    for row in (
        Runtime(
            "torch",
            "PyTorch, eager",
            TORCH,
            session="srdeploy.runtime.torch_session:TorchSession",
        ),
        Runtime(
            "onnxruntime",
            "ONNX Runtime",
            ONNXRUNTIME,
            session="srdeploy.runtime.onnx_session:OnnxSession",
        ),
        Runtime("coreml", "Core ML", COREMLTOOLS, platforms=("darwin",)),
        Runtime("tensorrt", "TensorRT engines", TENSORRT, platforms=("linux", "win32")),
        Runtime("tensorrt_rtx", "TensorRT-RTX engines", TENSORRT_RTX, platforms=("linux", "win32")),
    )
}


def onnx_providers() -> list[str]:
    """Execution providers of the installed onnxruntime (imports it), best first; [] without it."""
    if not ONNXRUNTIME.availability():
        return []
    import onnxruntime

    return list(onnxruntime.get_available_providers())
