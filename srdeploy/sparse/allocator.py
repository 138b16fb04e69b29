"""What the C library does with freed memory: on a CPU it decides over the speed of convolutions."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Have the C library keep up to 256 MiB of freed tensors for the next ones, if it is glibc.

    Left to itself it gives large blocks back to the system and fetches them again page by page,
    which takes a convolution up to twice its time and makes timings depend on what ran before.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
