"""The C code of the native runner as a library here: the same sources, the same kernels."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.whole_means import Enough, WholeMeans
from srdeploy.sparse.compiler import SOURCES, Step, Unavailable, build_library

PORTABLE = SOURCES / "portable"
KERNELS = PORTABLE / "kernels.txt"
FLAGS = ("-std=gnu11", "-O3", "-fPIC")
_ENDS = ("-shared", "-pthread", "-lm")
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}
_SENTENCE = 400
_FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")


def kernels_of(arch: str) -> dict[str, list[str]]:
    """The kernels that are compiled for a processor, the slowest first, with compiler flags."""
    lines = KERNELS.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {row[1]: row[2:] for row in rows if row[0] == arch} or {"plain": []}


def build_steps(compiler: str, folder: Path, target: Path) -> list[Step]:
    """What makes the library: an object per kernel, and the rest.

    A compiler that does not know a processor's flags makes an object without a kernel of them.
    """
    arch = platform.machine().lower()
    steps, objects = [], []
    for name, flags in kernels_of(_ARCHITECTURES.get(arch, arch)).items():
        made = str(folder / f"{name}.o")
        told = [f"-DSRDEPLOY_KERNEL={name}", *flags, "-c", str(SOURCES / "kernel.c"), "-o", made]
        without = [compiler, "-fPIC", "-x", "c", "-c", os.devnull, "-o", made]
        steps.append([[compiler, *FLAGS, *told], *([without] if flags else [])])
        objects.append(made)
    sources = [str(path) for path in sorted(PORTABLE.glob("*.c"))]
    rest = [*objects, *sources, *_ENDS, "-o", str(target)]
    return [*steps, [[compiler, *FLAGS, *rest]]]


@functools.cache
def load_library() -> ctypes.CDLL:
    """Build the library, unless the cache has it, and load it.

    Raises:
        Unavailable: no compiler, it fails, or its result cannot be loaded.
    """
    sources = [SOURCES / "kernel.c", *sorted(SOURCES.glob("*.h")), *sorted(PORTABLE.iterdir())]
    path = build_library("smsr", sources, build_steps)
    try:
        library = ctypes.CDLL(str(path))
        library.smsr_open.restype = ctypes.c_void_p
        text, number, size = ctypes.c_char_p, ctypes.c_int, ctypes.c_int64
        library.smsr_open.argtypes = [text, text, number, text]
        library.smsr_run.argtypes = [
            ctypes.c_void_p, _FLOATS, size, size, size, _FLOATS, text,
        ]  # fmt: skip
        library.smsr_run_part.argtypes = [
            ctypes.c_void_p, ctypes.POINTER(_Part), _FLOATS, size, size, _FLOATS, text,
        ]  # fmt: skip
        library.smsr_kernel.restype = library.smsr_precision.restype = ctypes.c_char_p
        library.smsr_density.restype = ctypes.c_double
        library.smsr_density.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.smsr_kernels.restype = ctypes.POINTER(ctypes.c_char_p)
        for name in ("close", "scale", "kernel", "precision", "modules", "trunk"):
            getattr(library, f"smsr_{name}").argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the compiled library does not load: {error}") from error
    return library


def kernels_here() -> list[str]:
    """The kernels that this processor runs, the slowest first.

    Raises:
        Unavailable: as :func:`load_library`.
    """
    names = load_library().smsr_kernels()
    found: list[str] = []
    while (name := names[len(found)]) is not None:
        found.append(name.decode())
    return found


class _Part(ctypes.Structure):
    """``smsr_part`` of smsr.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("top", "bottom", "left", "right", "known", "until")),
        *((name, ctypes.c_void_p) for name in ("given", "sums")),
    ]


class LoadedModel:
    """A model file, loaded by the C code; a context manager that frees it.

    Attributes:
        scale: Upscaling factor.
        kernel: Which kernel computes.
        precision: What in, as the file says.
    """

    def __init__(self, path: str | Path, threads: int, kernel: str | None = None) -> None:
        """Load.

        Args:
            path: A ``.smsr`` file.
            threads: CPU threads.
            kernel: One of :func:`kernels_here`; None for the quickest.

        Raises:
            Unavailable: the library cannot be had here.
            UserError: the file is not sound, or there is no such kernel; C's own sentence.
        """
        self._library = load_library()
        error = ctypes.create_string_buffer(_SENTENCE)
        name = None if kernel is None else kernel.encode()
        self._net = self._library.smsr_open(os.fsencode(path), name, threads, error)
        if not self._net:
            raise _said(error)
        self.scale: int = self._library.smsr_scale(self._net)
        self.kernel: str = self._library.smsr_kernel(self._net).decode()
        self.precision: str = self._library.smsr_precision(self._net).decode()

    @property
    def choices(self) -> list[tuple[float, str]]:
        """Of each module: share of the latest images' pixels inside its mask, 0..1, and its form.

        The form is always ``rows``: C computes masked layers at listed pixels only.
        """
        count = self._library.smsr_modules(self._net)
        return [(self._library.smsr_density(self._net, i), "rows") for i in range(count)]

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """``float32 [N, 3, H, W]`` in 0..value_range to ``[N, 3, H * scale, W * scale]``.

        Raises:
            UserError: memory is short.
        """
        n, c, h, w = x.shape
        y = np.empty((n, c, h * self.scale, w * self.scale), np.float32)
        error = ctypes.create_string_buffer(_SENTENCE)
        if self._library.smsr_run(self._net, np.ascontiguousarray(x), n, h, w, y, error):
            raise _said(error)
        return y

    def run_part(self, x: NDArray[np.float32], means: WholeMeans) -> NDArray[np.float32]:
        """:meth:`run` of a part of an image, ``[1, 3, H, W]``; each module pools once.

        Raises:
            Enough: what was to be found is.
            UserError: memory is short.
        """
        size = x.shape[2], x.shape[3]
        y = np.empty((1, 3, size[0] * self.scale, size[1] * self.scale), np.float32)
        trunk = self._library.smsr_trunk(self._net)
        rows, columns = core = means.core(size)
        until = means.until or 0
        sums = np.zeros((max(until, 1), trunk))
        known = np.ascontiguousarray(np.stack([*means.given, np.zeros(trunk)]))
        part = _Part(
            *(rows.start, rows.stop, columns.start, columns.stop, len(means.given), until),
            *(known.ctypes.data, sums.ctypes.data),
        )
        error = ctypes.create_string_buffer(_SENTENCE)
        image = np.ascontiguousarray(x)
        if self._library.smsr_run_part(self._net, ctypes.byref(part), image, *size, y, error):
            raise _said(error)
        means.add(list(sums[:until]), core)
        if until:
            raise Enough
        return y

    def close(self) -> None:
        """Free it; more than once is no harm."""
        if self._net:
            self._library.smsr_close(self._net)
        self._net = None

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _said(error: ctypes.Array[ctypes.c_char]) -> UserError:
    return UserError(error.value.decode(errors="replace"))
