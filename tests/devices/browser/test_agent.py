"""Names of browsers and systems, as people know them."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.devices.browser.agent import browser_name, device_facts, system_name
from srdeploy.devices.browser.runtime_files import VERSION

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "browser", "system"),
    [
        (f"(Windows NT 10.0; Win64; x64) {KHTML} Chrome/141.0 Safari/537.36 OPR/120.0",
         "Opera 120", "Windows 10"),
        (f"(Linux; Android 14; SM-S921B) {KHTML} SamsungBrowser/28.0 Chrome/130.0 Safari/537.36",
         "Samsung Internet 28", "Android 14"),
        (f"(Linux; Android 10; K) {KHTML} Chrome/141.0 Mobile Safari/537.36 EdgA/141.0",
         "Edge 141", "Android 10"),
        (f"(iPhone; CPU iPhone OS 18_6_2 like Mac OS X) {KHTML} CriOS/141.0 Safari/604.1",
         "Chrome 141", "iOS 18.6"),
        (f"(iPad; CPU OS 17_7 like Mac OS X) {KHTML} FxiOS/144.0 Safari/604.1",
         "Firefox 144", "iOS 17.7"),
        (f"(Macintosh; Intel Mac OS X 10_15_7) {KHTML} Version/26.0 Safari/605.1.15",
         "Safari 26.0", "macOS 10.15"),
        (f"(X11; Linux x86_64) {KHTML} HeadlessChrome/141.0.0.0 Safari/537.36",
         "Chrome 141", "Linux"),
        (f"(X11; CrOS x86_64 14541.0.0) {KHTML} Chrome/141.0 Safari/537.36",
         "Chrome 141", "ChromeOS 14541"),
        ("curl/8", "an unknown browser", "an unknown system"),
    ],
)  # fmt: skip
def test_names(agent: str, browser: str, system: str) -> None:
    told = {"user_agent": f"Mozilla/5.0 {agent}"}
    assert (browser_name(told), system_name(told)) == (browser, system)


@pytest.mark.parametrize(
    ("hints", "system"),
    [
        ({"platform": "Android", "platformVersion": "16.0.0"}, "Android 16"),
        ({"platform": "Android", "platformVersion": ""}, "Android"),
        ({"platform": "Android"}, "Android"),
        ({"platform": "Windows", "platformVersion": "15.0.0"}, "Windows"),
        ({"platform": "Apple", "platformVersion": "15"}, "Apple"),
        ({"platformVersion": "15.0.0"}, "Linux"),
        ({}, "Linux"),
        (None, "Linux"),
    ],
)
def test_hints_are_newer_than_user_agents(hints: Any, system: str) -> None:
    assert system_name({"user_agent": "X11; Linux", "hints": hints}) == system


def test_facts_of_a_phone() -> None:
    told = {
        "user_agent": "Linux; Android 10; K Chrome/141.0", "cores": 8, "memory_gib": 8.0,
        "hints": {"model": "Pixel 9", "architecture": "arm", "bitness": "64"},
        "gpu": {"name": "arm valhall", "f16": True}, "secure": True, "isolated": False,
        "webgpu": True, "clock_ms": 0.1, "screen": [412, 915, 2.6], "touch": 5,
    }  # fmt: skip
    facts = device_facts(told)
    assert (facts.kind, facts.model, facts.arch, facts.os) == (
        "browser", "Pixel 9", "aarch64", "Android 10",
    )  # fmt: skip
    assert (facts.cpus, facts.gpu) == (8, "arm valhall")
    assert facts.versions == {"browser": "Chrome 141", "onnxruntime-web": VERSION}
    kept = ("user_agent", "secure", "isolated", "webgpu", "clock_ms", "screen", "memory_gib",
            "touch")  # fmt: skip
    assert facts.extra == {
        **{name: told[name] for name in kept}, "gpu_software": False, "gpu_f16": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "model"),
    [
        ({"user_agent": "iPhone; CPU iPhone OS 18_6"}, "iPhone"),
        ({"user_agent": "iPad; CPU OS 18_6"}, "iPad"),
        ({"user_agent": "iPad", "hints": {"model": "Tab"}}, "Tab"),
        ({"user_agent": "X11; Linux"}, "a computer with Linux"),
        ({}, "a computer with an unknown system"),
    ],
)
def test_models(told: dict[str, Any], model: str) -> None:
    facts = device_facts(told)
    assert facts.model == model
    assert (facts.cpus, facts.gpu, facts.arch) == (None, None, "unknown")
    assert "gpu_software" not in facts.extra


MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26.0 Safari/605.1.15"


@pytest.mark.parametrize(
    ("agent", "touch", "model", "system"),
    [
        (MAC, 2, "iPad", "iPadOS"),
        (MAC, 1, "a computer with macOS 10.15", "macOS 10.15"),
        (MAC, None, "a computer with macOS 10.15", "macOS 10.15"),
        ("X11; Linux", 5, "a computer with Linux", "Linux"),
        ("Linux; Android 16; K Mobile Safari", 5, "an Android phone", "Android 16"),
        ("Linux; Android 16; K Safari", 5, "an Android tablet", "Android 16"),
    ],
)
def test_kinds(agent: str, touch: int | None, model: str, system: str) -> None:
    facts = device_facts({"user_agent": agent, "touch": touch})
    assert (facts.model, facts.os) == (model, system)


@pytest.mark.parametrize(
    ("hints", "arch"),
    [({"architecture": "x86", "bitness": "64"}, "x86_64"), ({"architecture": "arm"}, "arm"),
     ({"architecture": None, "bitness": None}, "unknown"), ({"bitness": "32"}, "32")],
)  # fmt: skip
def test_architectures(hints: dict[str, Any], arch: str) -> None:
    assert device_facts({"hints": hints}).arch == arch


def test_what_is_of_another_kind_is_unknown() -> None:
    facts = device_facts({"cores": "8", "gpu": {"name": "", "software": True}})
    assert (facts.cpus, facts.gpu) == (None, None)
    assert (facts.extra["gpu_software"], facts.extra["gpu_f16"]) == (True, False)
