"""The memory that a network takes per pixel of its input, found by running it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from srdeploy.errors import UserError
from srdeploy.runtime.session import Session
from srdeploy.util.allocator import give_back_freed_memory

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PROBE = 192  # large enough that its tensors dwarf what allocators round up to
_WARM = 48
_MARGIN = 1.2  # allocators keep freed blocks, and large tiles fragment what is there


def bytes_per_pixel(session: Session) -> float:
    """Memory of one run in bytes per network input pixel: activations, copies and scratch space.

    Measured on runs of 192x192 pixels, with a margin of a fifth. Where the operating system
    does not tell (or the runtime computes on a GPU), it is estimated from the widths on the card:
    four tensors of the widest layer in float32.
    """
    card = session.card
    widest = max([*card.widths.values(), card.channels * card.network_scale**2])
    estimate = 4.0 * 4 * widest
    side = _PROBE // card.size_multiple * card.size_multiple
    small = max(_WARM // card.size_multiple * card.size_multiple, card.size_multiple)
    sizes = session.sizes
    if side == 0 or (sizes is not None and not (sizes.allows(side, side))):
        return estimate * _MARGIN
    shape = (1, card.channels, side, side)
    if sizes is None or sizes.allows(small, small):
        with suppress(UserError):  # it may be too small for the network
            session.run(np.zeros((*shape[:2], small, small), np.float32))  # kernels, weights
    x = np.zeros(shape, np.float32)
    give_back_freed_memory()
    before = _reset_peak()
    for _ in range(2):  # some runtimes take more when a size returns
        session.run(x)
    after = _watermark()
    if before is None or after is None:
        return estimate * _MARGIN
    result = 4 * card.channels * card.network_scale**2  # the least that it can take
    return max((after - before) / side**2, result) * _MARGIN


def resident() -> int | None:
    """Bytes of memory this process holds now; None where unknown."""
    if (field := _status("VmRSS")) is not None:
        return field
    return _watermark()


def peak() -> int | None:
    """The most bytes this process has held; None where unknown."""
    mark = _watermark()
    return None if mark is None else max(mark, _before_reset)


_before_reset = 0


def _watermark() -> int | None:
    """The most bytes held, on Linux since :func:`_reset_peak`.

    There it is the kernel's VmHWM: ``getrusage`` would report the parent's peak when that was
    higher, because its figure survives fork and exec.
    """
    if (field := _status("VmHWM")) is not None:
        return field
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _reset_peak() -> int | None:
    """Start counting the peak anew where the kernel can; returns what is held now."""
    global _before_reset
    mark = _watermark()
    try:
        _CLEAR.write_text("5")  # proc(5): resets VmHWM to VmRSS
    except OSError:
        return mark  # a high-water mark that is not reset still shows growth
    _before_reset = max(_before_reset, mark or 0)
    return resident()


def _status(name: str) -> int | None:
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
