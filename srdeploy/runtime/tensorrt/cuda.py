"""The few calls of CUDA's driver that running an engine takes, through ctypes.

They have not changed since CUDA 4, come with every NVIDIA driver, and spare a user who only wants
to run an engine a CUDA build of torch (2 GB) or the cuda-python packages.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, UserError

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability, e.g. ``8.9``.
        driver: The newest CUDA version its driver serves, e.g. ``12.4``.
        memory_mb: Its memory, MiB.
    """

    name: str
    capability: str
    driver: str
    memory_mb: int


class Cuda:
    """The first visible GPU: its primary context, one stream, and memory.

    A context manager's duty lies with its user: call :meth:`close`.
    """

    def __init__(self, library: Any = None) -> None:
        """Start the driver.

        Args:
            library: What :func:`ctypes.CDLL` would return; for tests.

        Raises:
            UserError: no driver or no GPU.
        """
        self._cuda = library or _load()
        self._memory: dict[int, int] = {}
        if self._cuda.cuInit(0):
            raise UserError("NVIDIA's driver finds no GPU that it could use on this machine.")
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self._stream = stream

    @property
    def stream(self) -> int:
        """Handle of the stream all copies run on."""
        return self._stream.value or 0

    def gpu(self) -> Gpu:
        """What the GPU is."""
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, 256, self._device)
        major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, self._device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, self._device)
        self._call("cuDriverGetVersion", ctypes.byref(version))
        total = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), self._device)
        return Gpu(
            name.value.decode(errors="replace"),
            f"{major.value}.{minor.value}",
            f"{version.value // 1000}.{version.value % 1000 // 10}",
            total.value >> 20,
        )

    def allocate(self, size: int) -> int:
        """Address of ``size`` new bytes of GPU memory.

        Raises:
            UserError: there are not so many left.
        """
        address = ctypes.c_uint64()
        if self._cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(size, 1))):
            raise UserError(
                f"The GPU has no {size >> 20} MiB left; use a smaller image, or free its memory."
            )
        self._memory[address.value] = size
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        del self._memory[address]
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array: NDArray, address: int) -> None:
        """Queue a copy of a C-contiguous array to the GPU."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
            self._stream,
        )

    def download(self, address: int, shape: tuple[int, ...], dtype: type) -> NDArray:
        """Copy from the GPU when all that is queued before has run; waits for it."""
        array: NDArray = np.empty(shape, dtype)
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(address),
            ctypes.c_size_t(array.nbytes),
            self._stream,
        )
        self._call("cuStreamSynchronize", self._stream)
        return array

    def close(self) -> None:
        """Give everything back."""
        for address in list(self._memory):
            self.free(address)
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._cuda, name)(*arguments):
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            reason = (text.value or b"no reason given").decode(errors="replace")
            raise SrdeployError(f"CUDA's {name} failed with code {code} ({reason}).")


def find_gpu() -> Gpu | None:
    """The first visible GPU, or None without one or without a driver."""
    try:
        cuda = Cuda()
    except UserError:
        return None
    try:
        return cuda.gpu()
    finally:
        cuda.close()


def _load() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        raise UserError(
            "There is no NVIDIA driver here, so no engine can run; use a machine with an NVIDIA "
            "GPU, or run the ONNX file beside the engine."
        ) from None
