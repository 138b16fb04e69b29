from __future__ import annotations

import subprocess

import pytest

from srdeploy.devices.adb.probe import RAIL, read_facts, read_state
from tests.devices.adb.stand import REPLAY

FACTS = """arch=aarch64
kernel=Linux 5.15.148-android14
ro.product.manufacturer=Google
ro.product.model=Pixel 8
ro.build.version.release=15
ro.build.version.sdk=35
ro.soc.manufacturer=Google
ro.soc.model=Tensor G3
ro.board.platform=zuma
cpus=9
clocks=1704000 1704000 2367000 2914000
flags=fp asimd fphp asimdhp asimddp i8mm bf16
memory=7646000
"""
BATTERY = subprocess.run(
    [str(REPLAY / "dumpsys"), "battery"], capture_output=True, text=True, check=True
).stdout
THERMAL = subprocess.run(
    [str(REPLAY / "dumpsys"), "thermalservice"], capture_output=True, text=True, check=True
).stdout


def state(
    thermal: str = THERMAL, battery: str = BATTERY, saver: str = "0", kernel: str = ""
) -> str:
    return (
        f"governor=sched_pixel\nclock_cpu=2914000\nload=3.10\n{kernel}part=thermal\n{thermal}"
        f"part=battery\n{battery}part=settings\n{saver}\n"
    )


def test_facts() -> None:
    facts = read_facts(FACTS)
    assert (facts.kind, facts.model, facts.os) == ("adb", "Google Pixel 8", "Android 15")
    assert (facts.cpu, facts.cpus, facts.memory_gb) == ("Google Tensor G3", 9, 7.8)
    assert facts.cpu_features == ("asimd", "asimdhp", "asimddp", "i8mm", "bf16")
    assert facts.extra == {"sdk": "35", "cpu_max_mhz": [1704, 2367, 2914]}


def test_a_device_that_tells_little() -> None:
    facts = read_facts("arch=x86_64\nkernel=Linux 6.1\nro.product.model=\ncpus=\n")
    assert (facts.model, facts.os, facts.cpus) == ("Android device (x86_64)", "Linux 6.1", None)


def test_conditions() -> None:
    found, watts = read_state(state())
    assert found.power_mode == "sched_pixel"
    assert found.clocks_mhz == {"cpu": 2914.0}
    assert found.temperatures_c == {"VIRTUAL-SKIN": 36.25, "BIG": 51.0, "battery": 31.2}
    assert (found.thermal, found.battery_percent, found.load_1min) == ("light", 81.0, 3.1)
    assert watts == {RAIL: 3.0}


def test_zones_of_the_kernel_count_too() -> None:
    found, _ = read_state(state(kernel="zone_cpu0=61500\nzone_gone=-274000\n"))
    assert found.temperatures_c["cpu0"] == 61.5
    assert "gone" not in found.temperatures_c


@pytest.mark.parametrize(
    ("change", "watts"),
    [
        (("current_now: -750000", "current_now: -750"), {RAIL: 3.0}),  # milliamperes
        (("voltage_now: 4000000\n", ""), {RAIL: 3.0}),  # dumpsys has millivolts
        (("status: 3", "status: 2"), {}),  # charging
        (("USB powered: false", "USB powered: true"), {}),
        (("current_now: -750000\n", ""), {}),
    ],
)
def test_power_only_from_the_battery_alone(
    change: tuple[str, str], watts: dict[str, float]
) -> None:
    assert change[0] in BATTERY
    assert read_state(state(battery=BATTERY.replace(*change)))[1] == watts


def test_old_android_has_no_thermal_service_and_saver_is_told() -> None:
    found, _ = read_state(state(thermal="Can't find service: thermalservice\n", saver="1"))
    assert found.thermal is None
    assert found.power_mode == "sched_pixel, battery saver"
    assert found.temperatures_c == {"battery": 31.2}


def test_nothing_at_all() -> None:
    found, watts = read_state("")
    assert (found.temperatures_c, found.thermal, found.battery_percent, watts) == (
        {},
        None,
        None,
        {},
    )
