"""The table of runtimes: what can turn an artifact into pixels, and whether it can here.

Looking a row up costs nothing: availability is read from the installed distributions' metadata,
and no runtime is imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from srdeploy.errors import unknown_name
from srdeploy.runtime.onnx.providers import REMEDIES
from srdeploy.util.plugins import Table
from srdeploy.util.synonyms import meaning


@dataclass(frozen=True)
class Availability:
    """Whether something can be used on this machine, and in one sentence why (not).

    Attributes:
        ready: It can be used now.
        reason: What was found, or what is missing and how to get it.
        remedies: What to do for it, a command where there is one; empty where nothing helps here.
    """

    ready: bool
    reason: str
    remedies: tuple[str, ...] = field(default=(), compare=False)

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
            missing = f"{self.name} is not installed: {self.install}"
            return Availability(False, missing, (self.install,))
        return Availability(True, f"{self.name} {self.version()}")

    def _importable(self) -> bool:
        try:
            return importlib.util.find_spec(self.name) is not None
        except (ImportError, ValueError):
            return False


TORCH = Module("torch", ("torch",), "pip install torch")
ONNX = Module("onnx", ("onnx",), "pip install onnx")
ONNXSIM = Module("onnxsim", ("onnxsim",), "pip install onnxsim")
ONNXRUNTIME = Module(
    "onnxruntime",
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "pip install onnxruntime",
)
COREMLTOOLS = Module("coremltools", ("coremltools",), "pip install coremltools")
TENSORRT = Module(
    "tensorrt",
    ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "pip install 'srdeploy[trt]' (needs NVIDIA's package index)",
)
TENSORRT_RTX = Module(
    "tensorrt_rtx", ("tensorrt-rtx", "tensorrt_rtx"), "pip install 'srdeploy[trt-rtx]'"
)
LITERT = Module("ai_edge_litert", ("ai-edge-litert",), "pip install 'srdeploy[litert]'")

PNNX = Module("pnnx", ("pnnx",), "pip install 'srdeploy[native]'")
NCNN = Module("ncnn", ("ncnn",), "pip install 'srdeploy[native]'")

TRITON = Module("triton", ("triton", "pytorch-triton"), "pip install 'srdeploy[sparse-cuda]'")

OPENVINO = Module("openvino", ("openvino",), "pip install 'srdeploy[openvino]'")

NVIDIA_PLATFORMS = ("linux", "win32")


@functools.cache
def nvidia_driver() -> Availability:
    """Whether NVIDIA's driver can be loaded here (asked once per process)."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return Availability(
            False, "no NVIDIA driver here: run on a machine with an NVIDIA GPU, or install it"
        )
    return Availability(True, "NVIDIA driver")


@functools.cache
def vulkan_loader() -> Availability:
    """Whether Vulkan's loader can be loaded here (asked once per process)."""
    library = {"win32": "vulkan-1.dll", "darwin": "libvulkan.1.dylib"}.get(
        sys.platform, "libvulkan.so.1"
    )
    try:
        ctypes.CDLL(library)
    except OSError:
        remedy = "install the GPU's driver, or Debian's mesa-vulkan-drivers for one in software"
        return Availability(False, f"no Vulkan here: {remedy}", (remedy,))
    return Availability(True, "Vulkan")


def provider_availability(name: str) -> Availability:
    """Whether the installed onnxruntime was built with an execution provider. Imports nothing.

    Args:
        name: One of :data:`srdeploy.runtime.onnx.providers.PROVIDERS`, not the CPU's.
    """
    if not (found := ONNXRUNTIME.availability()):
        missing = f"{found.reason}; for this provider {REMEDIES[name]}"
        return Availability(False, missing, (REMEDIES[name],))
    if name == "coreml" and sys.platform == "darwin":
        return found  # part of onnxruntime itself there
    spec = importlib.util.find_spec("onnxruntime")
    library = "DirectML" if name == "directml" else f"onnxruntime_providers_{name}"
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else Path()
    if not any(library in file.name for file in folder.glob("*")):
        missing = f"{found.reason} has no {name} provider: {REMEDIES[name]}"
        return Availability(False, missing, (REMEDIES[name],))
    return found


def platform_availability(platforms: tuple[str, ...]) -> Availability:
    """Whether this operating system is one of ``platforms`` (empty: all are)."""
    if platforms and sys.platform not in platforms:
        where = " or ".join(_PLATFORM_NAMES.get(p, p) for p in platforms)
        return Availability(False, f"runs on {where} only")
    return Availability(True, sys.platform)


@dataclass(frozen=True)
class Runtime:
    """One row of the table.

    Attributes:
        name: What ``--runtime``, cards and measurements call it.
        title: One line for lists.
        module: What must be installed.
        suffixes: Endings of the artifacts it runs (none where it opens networks only).
        session: ``module:class`` of its session, or None while srdeploy has none.
        platforms: Values of ``sys.platform`` it exists on; empty for all.
        nvidia: It needs an NVIDIA GPU and its driver.
        vulkan: It needs Vulkan's loader.
        foreign: It runs files without a card, whose ``scale`` and ``value_range`` can be told.
        timed: Its speed is the artifact's; an interpreter that only gives results has none.
        provider: Of onnxruntime's execution providers, the one that must take the network.
        card: ``module:function`` that reads the card of such an artifact without running it; None
            where another row of that ending has one.
    """

    name: str
    title: str
    module: Module
    suffixes: tuple[str, ...] = ()
    session: str | None = None
    platforms: tuple[str, ...] = ()
    nvidia: bool = False
    vulkan: bool = False
    foreign: bool = False
    timed: bool = True
    provider: str | None = None
    card: str | None = None

    def availability(self) -> Availability:
        """Whether a session can be opened here. Imports nothing."""
        if not (here := platform_availability(self.platforms)):
            return here
        if self.session is None:  # don't send anyone to install what would not be used
            found = f" ({self.module.name} {v} found)" if (v := self.module.version()) else ""
            return Availability(False, f"srdeploy opens no session in it yet{found}")
        if self.provider is None:
            found_module = self.module.availability()
        else:
            found_module = provider_availability(self.provider)
        if not found_module or not (self.nvidia or self.vulkan):
            return found_module
        if not (driver := nvidia_driver() if self.nvidia else vulkan_loader()):
            reason = f"{found_module.reason}, but {driver.reason}"
            return Availability(False, reason, driver.remedies)
        return found_module


def _provider_row(name: str, title: str, **facts: Any) -> Runtime:
    return Runtime(
        f"{ONNXRUNTIME.name}-{name}",
        f"ONNX Runtime, {title}",
        ONNXRUNTIME,
        suffixes=(".onnx",),
        foreign=True,
        session=f"srdeploy.runtime.onnx.session:Onnx{name.title()}Session",
        provider=name,
        **facts,
    )


_PLATFORM_NAMES = {"darwin": "macOS", "linux": "Linux", "win32": "Windows"}

RUNTIMES: Table[Runtime] = Table(
    "runtimes",
    (
        Runtime(
            "torch",
            "PyTorch, eager",
            TORCH,
            session="srdeploy.runtime.torch_session:TorchSession",
        ),
        Runtime(
            "sparse",
            "SMSR networks, computing inside their masks only (CPU)",
            TORCH,
            suffixes=(".smsr",),
            session="srdeploy.runtime.sparse_file_session:SparseFileSession",
            card="srdeploy.runtime.card_of:card_of_smsr",
        ),
        Runtime(
            "dispatch",
            "SMSR networks in the form that is fastest for each image (CPU)",
            TORCH,
            suffixes=(".dispatch",),
            session="srdeploy.runtime.dispatch_session:DispatchSession",
            card="srdeploy.runtime.dispatch:card_of_dispatch",
        ),
        Runtime(
            "sparse-cuda",
            "SMSR networks on an NVIDIA GPU, computing inside their masks only",
            TRITON,
            session="srdeploy.runtime.sparse_cuda_session:SparseCudaSession",
            platforms=NVIDIA_PLATFORMS,
            nvidia=True,
        ),
        Runtime(
            "onnxruntime",
            "ONNX Runtime",
            ONNXRUNTIME,
            suffixes=(".onnx",),
            foreign=True,
            session="srdeploy.runtime.onnx.session:OnnxSession",
            card="srdeploy.runtime.card_of:card_of_onnx",
        ),
        Runtime(
            "openvino",
            "OpenVINO on the CPU",
            OPENVINO,
            suffixes=(".onnx",),
            foreign=True,
            session="srdeploy.runtime.openvino_session:OpenvinoSession",
        ),
        Runtime(
            "onnx-reference",
            "bf16 ONNX files, interpreted: results without speed",
            ONNXRUNTIME,
            suffixes=(".onnx",),
            foreign=True,
            session="srdeploy.runtime.onnx.reference:OnnxReferenceSession",
            timed=False,
        ),
        _provider_row("cuda", "NVIDIA GPUs", platforms=NVIDIA_PLATFORMS, nvidia=True),
        _provider_row("tensorrt", "through TensorRT", platforms=NVIDIA_PLATFORMS, nvidia=True),
        _provider_row("openvino", "through OpenVINO"),
        _provider_row("coreml", "through Core ML", platforms=("darwin",)),
        _provider_row("directml", "through DirectX 12", platforms=("win32",)),
        Runtime(
            "coreml",
            "Core ML",
            COREMLTOOLS,
            suffixes=(".mlpackage",),
            session="srdeploy.runtime.coreml.session:CoremlSession",
            card="srdeploy.runtime.card_of:card_of_package",
            platforms=("darwin",),
        ),
        Runtime(
            "coreml-reference",
            "CoreML programs, interpreted: results without speed",
            COREMLTOOLS,
            suffixes=(".mlpackage",),
            session="srdeploy.runtime.coreml.reference:CoremlReferenceSession",
            timed=False,
        ),
        Runtime(
            "tensorrt",
            "TensorRT engines",
            TENSORRT,
            suffixes=(".engine",),
            session="srdeploy.runtime.tensorrt.session:TensorrtSession",
            card="srdeploy.runtime.card_of:card_of_engine",
            platforms=NVIDIA_PLATFORMS,
            nvidia=True,
        ),
        Runtime(
            "tensorrt_rtx",
            "TensorRT-RTX engines",
            TENSORRT_RTX,
            suffixes=(".engine",),
            session="srdeploy.runtime.tensorrt.session:TensorrtRtxSession",
            card="srdeploy.runtime.card_of:card_of_engine",
            platforms=NVIDIA_PLATFORMS,
            nvidia=True,
        ),
        Runtime(
            "litert",
            "LiteRT (TensorFlow Lite)",
            LITERT,
            suffixes=(".tflite",),
            session="srdeploy.runtime.litert_session:LitertSession",
            card="srdeploy.runtime.card_of:card_of_tflite",
        ),
        Runtime(
            "ncnn",
            "ncnn on the CPU",
            NCNN,
            suffixes=(".param",),
            foreign=True,
            session="srdeploy.runtime.ncnn.session:NcnnSession",
            card="srdeploy.runtime.ncnn.pair:card_of_pair",
        ),
        Runtime(
            "ncnn-vulkan",
            "ncnn through Vulkan, on any GPU",
            NCNN,
            suffixes=(".param",),
            vulkan=True,
            foreign=True,
            session="srdeploy.runtime.ncnn.session:NcnnVulkanSession",
        ),
    ),
    check=lambda row: row.availability(),
)


def split_runtime(artifact: str) -> tuple[str, str | None]:
    """An artifact and the runtime it was named with: ``net.onnx@openvino``.

    Returns:
        The name without its runtime, and the runtime, or None where none was named.

    Raises:
        UserError: what stands after the sign is no runtime.
    """
    name, sign, runtime = artifact.rpartition("@")
    if not sign or Path(artifact).exists():
        return artifact, None
    if meant := meaning(runtime, RUNTIMES):
        return name, meant
    if Path(name).exists():
        raise unknown_name("runtime", runtime, RUNTIMES)
    return artifact, None
