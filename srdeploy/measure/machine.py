"""What a measurement ran on: enough to compare numbers by, nothing that identifies anyone."""

from __future__ import annotations

import os
import platform
from typing import Any

from srdeploy.exporting.report import tool_versions
from srdeploy.runtime.cpu import cpu_features, cpu_model


def machine_facts() -> dict[str, Any]:
    """Processor, cores, system, versions and present load; no host, user or path names."""
    facts: dict[str, Any] = {
        "cpu": cpu_model(),
        "arch": platform.machine(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "cpu_features": cpu_features(),
        "memory_gb": memory_gb(),
        "os": operating_system(),
        "python": platform.python_version(),
        "versions": tool_versions(("torch", "onnxruntime", "numpy")),
    }
    if hasattr(os, "getloadavg"):
        facts["load_1min"] = round(os.getloadavg()[0], 2)
    return facts


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gb() -> float | None:
    """Physical memory in GB (10^9 bytes)."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def operating_system() -> str:
    """Name and version of the distribution or system (a kernel's build name may name its owner)."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.mac_ver()[0] or platform.release()}".strip()
