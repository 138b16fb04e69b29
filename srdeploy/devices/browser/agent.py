"""What a browser tells of itself, in words that people use."""

from __future__ import annotations

import re
from typing import Any

from srdeploy.devices.browser.runtime_files import VERSION
from srdeploy.measure.measurement import DeviceFacts

# In this order: many browsers also claim to be Chrome or Safari.
_BROWSERS = (
    ("Edge", r"Edg(?:A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:Headless)?(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+(?:\.\d+)?).* Safari"),
)
_SYSTEMS = (
    ("Android", r"Android (\d+)"),
    ("iOS", r"(?:iPhone OS|CPU OS) (\d+(?:_\d+)?)"),
    ("macOS", r"Mac OS X (\d+(?:_\d+)?)"),
    ("Windows", r"Windows NT (\d+)"),
    ("ChromeOS", r"CrOS \S+ (\d+)"),
    ("Linux", r"Linux()"),
)


def browser_name(told: dict[str, Any]) -> str:
    """Name and version: ``Chrome 156``."""
    return _first(_BROWSERS, _agent(told)) or "an unknown browser"


def system_name(told: dict[str, Any]) -> str:
    """Operating system and version: ``Android 16``. User agents freeze it; hints are newer."""
    hints = told.get("hints") or {}
    version = str(hints.get("platformVersion") or "").split(".")[0]
    if hints.get("platform") == "Android" and version:
        return f"Android {version}"
    if hints.get("platform"):
        return str(hints["platform"])
    if _claims_to_be_a_mac(told):
        return "iPadOS"
    return _first(_SYSTEMS, _agent(told)) or "an unknown system"


def device_facts(told: dict[str, Any]) -> DeviceFacts:
    """Facts of the device, from what its page told."""
    hints, gpu = told.get("hints") or {}, told.get("gpu") or {}
    model = str(hints.get("model") or "") or _kind(told)
    extra = {
        key: told.get(key)
        for key in (
            "user_agent",
            "secure",
            "isolated",
            "webgpu",
            "clock_ms",
            "screen",
            "memory_gib",
            "touch",
        )
    }
    if gpu:
        extra["gpu_software"] = bool(gpu.get("software"))
        extra["gpu_f16"] = bool(gpu.get("f16"))
    cores = told.get("cores")
    return DeviceFacts(
        kind="browser",
        model=model,
        arch=_architecture(hints),
        os=system_name(told),
        cpus=cores if isinstance(cores, int) else None,
        gpu=str(gpu["name"]) if gpu.get("name") else None,
        versions={"browser": browser_name(told), "onnxruntime-web": VERSION},
        extra=extra,
    )


def _kind(told: dict[str, Any]) -> str:
    """What sort of device it is, where it does not tell its model.

    Tablets with Android leave "Mobile" out of what they call themselves.
    """
    agent, system = _agent(told), system_name(told)
    for name in ("iPhone", "iPad"):
        if name in agent:
            return name
    if _claims_to_be_a_mac(told):
        return "iPad"
    if system.startswith("Android"):
        return f"an Android {'phone' if 'Mobile' in agent else 'tablet'}"
    return f"a computer with {system}"


def _claims_to_be_a_mac(told: dict[str, Any]) -> bool:
    """Whether it is an iPad, whose Safari claims a Macintosh; those have no touch screen."""
    touch = told.get("touch")
    return "Macintosh" in _agent(told) and isinstance(touch, int) and touch > 1


def _agent(told: dict[str, Any]) -> str:
    return str(told.get("user_agent") or "")


def _architecture(hints: dict[str, Any]) -> str:
    name = f"{hints.get('architecture') or ''}{hints.get('bitness') or ''}"
    return {"x8664": "x86_64", "arm64": "aarch64", "": "unknown"}.get(name, name)


def _first(table: tuple[tuple[str, str], ...], agent: str) -> str | None:
    for name, pattern in table:
        if found := re.search(pattern, agent):
            return f"{name} {found[1].replace('_', '.')}".strip()
    return None
