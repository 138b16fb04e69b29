"""The most memory this process has held."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mb() -> float | None:
    """Peak resident memory in MB (10^6 bytes), libraries included; None where unknown.

    On Linux this is the kernel's VmHWM: ``getrusage`` would report the parent's peak when that
    was higher, because the figure survives fork and exec.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    if sys.platform == "darwin":
        import resource

        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)
    return None
