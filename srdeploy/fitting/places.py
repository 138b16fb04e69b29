"""Where times are kept, and what runs networks on a device unless told."""

from __future__ import annotations

from pathlib import Path

from srdeploy.devices.uri import DeviceUri
from srdeploy.util.files import cache_dir

STORE = "latency.sqlite"


def latency_store() -> Path:
    """The store of the user's cache."""
    path = cache_dir() / STORE
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def usual_runtime(device: str) -> str | None:
    """What runs ONNX files on a device unless told; None: the device decides."""
    return "onnxruntime" if DeviceUri.parse(device).kind == "local" else None
