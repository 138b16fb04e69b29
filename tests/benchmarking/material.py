"""Measurements made up for tests: whole ones, with any field changed."""

from __future__ import annotations

from typing import Any

from srdeploy.measure.measurement import Conditions, DeviceFacts, Measurement, Power
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.result import Quality

FACTS = DeviceFacts(kind="fake", model="board", arch="aarch64", cpu="A78", cpus=6)


def measured(samples: list[float], turns: list[int] | None = None, **changes: Any) -> Measurement:
    """A measurement of these samples (ms), by default one turn each."""
    values: dict[str, Any] = {
        "artifact": "net.onnx",
        "sha256": "ab",
        "device": "fake://x",
        "facts": FACTS,
        "scenario": Scenario(name="one", inputs=((20, 30),)),
        "session": "s",
        "repeat": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "runtime": "onnxruntime",
        "runtime_version": "1.20",
        "provider": "cpu",
        "precision": "fp16",
        "threads": 2,
        "input": (1, 3, 20, 30),
        "scale": 2,
        "lr_size": (20, 30),
        "params": 1234,
        "macs_720p": 5_600_000_000,
        "build_ms": 7.0,
        "load_ms": 8.0,
        "first_ms": 9.0,
        "samples_ms": samples,
        "turns": turns or [1] * len(samples),
        "peak_mb": 64.5,
    }
    return Measurement(**(values | changes))


FULL: dict[str, Any] = {
    "compute_ms": [1.0, 2.0, 4.0],
    "before": Conditions(power_mode="15W", load_1min=0.5, temperatures_c={"a": 40.0}),
    "after": Conditions(power_mode="15W", temperatures_c={"a": 45.0}),
    "power": Power(
        mean_w=5.0, peak_w=6.0, energy_j_per_frame=0.25, rails=("r",), source="rail r", readings=3
    ),
    "quality": Quality(
        psnr=30.5, ssim=0.9, colour="y", protocol="psnr[y]", n_images=3, data="set", bicubic=29.0
    ),
    "notes": ["one", "two"],
}
"""What a device may tell beside times."""
