"""What the C library does with freed memory, if it is glibc; with another one nothing happens."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_GLIBC = "libc.so.6"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Keep up to 256 MiB of freed tensors for the next ones.

    Left to itself glibc gives large blocks back to the system and fetches them again page by page,
    which takes a convolution up to twice its time and makes timings depend on what ran before.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(_GLIBC)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back_freed_memory() -> None:
    """Hand what is freed to the system: used again, it would not show as growth."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_GLIBC).malloc_trim(0)
