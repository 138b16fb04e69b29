"""The compiled form of :mod:`srdeploy.sparse.rowconv`: ``kernel.c``, built once where it runs.

It needs a C compiler with OpenMP (gcc; clang with libomp), and is built for the processor at hand.
Where there is none, torch's operators do the work, and the reason is told.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from srdeploy.sparse.compiler import SOURCES, Unavailable, arm, build_library
from srdeploy.sparse.rowconv import Features, RowConv, aligned

FLAGS = ("-std=gnu11", "-O3", "-fopenmp", "-fPIC", "-shared")
MAX_OUT = 4096
"""Output channels that the kernel has room for."""


class _Source(ctypes.Structure):
    """``source`` of kernel.c."""

    _fields_ = [("x", ctypes.c_void_p), ("places", ctypes.c_void_p), ("ld", ctypes.c_int64)]


_POINTERS = (
    *("sources", "segments", "rows", "weights", "bias", "scale", "residual", "out", "places"),
    *("also", "sums"),
)
_FIELDS = (
    *("sources", "segments", "n_segments", "rows", "n", "weights", "n_out", "bias", "scale"),
    *("residual", "ldr", "relu", "out", "places", "ldo", "also", "lda", "n_also", "sums"),
    "filled",
)


class _Job(ctypes.Structure):
    """``job`` of kernel.c."""

    _fields_ = [
        (name, ctypes.c_void_p if name in _POINTERS else ctypes.c_int64) for name in _FIELDS
    ]


class Kernel:
    """The loaded library.

    Attributes:
        lanes: Floats of a vector.
        block: Vectors of output channels computed together.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        library.srdeploy_lanes.restype = library.srdeploy_block.restype = ctypes.c_int64
        self.lanes: int = library.srdeploy_lanes()
        self.block: int = library.srdeploy_block()
        self.run = library.srdeploy_rows
        self.run.argtypes = [ctypes.POINTER(_Job), ctypes.c_int64]
        self.run.restype = None


@functools.cache
def load_kernel() -> Kernel:
    """Build the kernel, unless the cache has it, and load it.

    Raises:
        Unavailable: no compiler, it fails, or its result cannot be loaded.
    """
    source = SOURCES / "kernel.c"
    flags = ["-mcpu=native" if arm() else "-march=native", *FLAGS]
    library = build_library(
        "rows",
        (source, SOURCES / "kernel.h", SOURCES / "tiles_fp32.h"),
        lambda compiler, _, target: [[[compiler, *flags, str(source), "-o", str(target)]]],
    )
    try:
        return Kernel(library)
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the compiled kernel does not load: {error}") from error


class NativeRowConv:
    """A convolution that ``kernel.c`` computes; see :class:`srdeploy.sparse.rowconv.PreparedConv`.

    Uses as many threads as torch does at the time.
    """

    def __init__(self, conv: RowConv, kernel: Kernel) -> None:
        depth, n_out = conv.matrix.shape
        if n_out > MAX_OUT:
            raise ValueError(f"the kernel computes {MAX_OUT} channels at most, not {n_out}")
        self._conv, self._kernel = conv, kernel
        self._n_out = n_out
        columns = self._columns = -(-n_out // kernel.lanes) * kernel.lanes
        padded = torch.zeros(depth, columns)
        padded[:, :n_out] = conv.matrix
        blocks = padded.split(kernel.lanes * kernel.block, 1) if n_out else ()
        packed = [block.flatten() for block in blocks]
        self._weights = torch.cat(packed) if n_out else torch.zeros(1)
        self._bias = None
        if conv.bias is not None:
            self._bias = torch.zeros(columns)
            self._bias[:n_out] = conv.bias
        self._segments: dict[tuple[int, ...], Tensor] = {}

    def __call__(
        self,
        sources: Sequence[Features],
        rows: Tensor,
        line: int,
        out: Features,
        *,
        also: Tensor | None = None,
        scale: Tensor | None = None,
        residual: Tensor | None = None,
        sums: Tensor | None = None,
    ) -> None:
        """See :class:`PreparedConv`."""
        if self._n_out == 0 or rows.shape[0] == 0:
            return
        width = out.data.shape[1]
        n_also = 0 if also is None else min(also.shape[1], aligned(self._n_out))
        if width < self._columns or n_also % self._kernel.lanes:
            raise ValueError(f"rows of {width} floats cannot take {self._n_out} outputs")
        segments = self._place(line, [source.data.shape[1] for source in sources], sources)
        table = (_Source * len(sources))(
            *(_Source(s.data.data_ptr(), _pointer(s.places), s.data.shape[1]) for s in sources)
        )
        job = _Job(
            *(ctypes.addressof(table), segments.data_ptr(), segments.shape[0]),
            *(rows.data_ptr(), rows.shape[0], self._weights.data_ptr(), self._n_out),
            *(_pointer(self._bias), _pointer(scale)),
            *(_pointer(residual), 0 if residual is None else residual.shape[1]),
            *(int(self._conv.relu), out.data.data_ptr(), _pointer(out.places), width),
            *(_pointer(also), 0 if also is None else also.shape[1], n_also, _pointer(sums)),
            0,
        )
        self._kernel.run(ctypes.byref(job), torch.get_num_threads())

    def _place(self, line: int, widths: list[int], sources: Sequence[Features]) -> Tensor:
        """The taps as segments, neighbours in memory joined; remembered per width of image."""
        key = (line, *widths, *(source.places is None for source in sources))
        if key not in self._segments:
            found: list[list[int]] = []
            for tap in self._conv.taps:
                shift = tap.dy * line + tap.dx
                width = widths[tap.source]
                last = found[-1] if found else None
                if (
                    last is not None
                    and sources[tap.source].places is None
                    and last[0] == tap.source
                    and last[1] * width + last[2] + last[3] == shift * width + tap.start
                ):
                    last[3] += tap.channels
                else:
                    found.append([tap.source, shift, tap.start, tap.channels])
            if len(self._segments) > 64:
                self._segments.clear()
            self._segments[key] = torch.tensor(found, dtype=torch.int64).reshape(-1, 4)
        return self._segments[key]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
