"""What an Android device is and how it fares, asked with shell text and read back here.

``getprop``, ``dumpsys thermalservice`` (Android 10 and later) and ``dumpsys battery`` need no root;
the kernel's thermal zones are hidden from the shell on many phones, then the service's words count.
"""

from __future__ import annotations

import re

from srdeploy.devices.shell.conditions import (
    CONDITIONS,
    SAY,
    gigabytes,
    pairs,
    read_conditions,
)
from srdeploy.devices.sysfs import ABSENT_BELOW_C
from srdeploy.measure.measurement import Conditions, DeviceFacts

FACTS = (
    SAY
    + """
say arch "$(uname -m)"
say kernel "$(uname -sr)"
for p in ro.product.manufacturer ro.product.model ro.build.version.release ro.build.version.sdk \\
  ro.soc.manufacturer ro.soc.model ro.board.platform ro.product.cpu.abilist; do
  say "$p" "$(getprop $p 2>/dev/null)"
done
say cpus "$(nproc 2>/dev/null)"
say clocks "$(cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq 2>/dev/null)"
say flags "$(sed -n -E 's/^(flags|Features)[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
say memory "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
true
"""
)

STATE = (
    CONDITIONS
    + """
echo part=thermal
dumpsys thermalservice 2>/dev/null
echo part=battery
dumpsys battery 2>/dev/null
for f in current_now voltage_now; do
  [ -r /sys/class/power_supply/battery/$f ] && echo "$f: $(cat /sys/class/power_supply/battery/$f)"
done
echo part=settings
settings get global low_power 2>/dev/null
true
"""
)
"""Shell text: the kernel's conditions, throttling, battery and battery saver."""

RAIL = "battery"
"""The power rail: what leaves the battery, hence the whole phone with its screen and radios."""

_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status by number (android.os.PowerManager.THERMAL_STATUS_*)."""

_DISCHARGING = 3
"""android.os.BatteryManager.BATTERY_STATUS_DISCHARGING."""

_MICROAMPERES_FROM = 20_000
"""Currents below this are milliamperes: kernels differ, and no phone draws under 20 mA at work."""

_FLAGS = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "avx2", "avx512f")


def read_facts(text: str) -> DeviceFacts:
    """Read the answer to :data:`FACTS`."""
    told = pairs(text)
    maker, model = told.get("ro.product.manufacturer"), told.get("ro.product.model")
    release = told.get("ro.build.version.release")
    chip = " ".join(filter(None, (told.get("ro.soc.manufacturer"), told.get("ro.soc.model"))))
    flags = set(told.get("flags", "").split())
    clocks = sorted({int(clock) for clock in told.get("clocks", "").split() if clock.isdecimal()})
    extra: dict[str, object] = {}
    if told.get("ro.build.version.sdk"):
        extra["sdk"] = told["ro.build.version.sdk"]
    if clocks:
        extra["cpu_max_mhz"] = [round(clock / 1e3) for clock in clocks]
    arch = told.get("arch", "unknown")
    return DeviceFacts(
        kind="adb",
        model=" ".join(filter(None, (maker, model))) or f"Android device ({arch})",
        arch=arch,
        os=f"Android {release}" if release else told.get("kernel", "unknown"),
        cpu=chip or told.get("ro.board.platform") or None,
        cpus=int(told["cpus"]) if told.get("cpus", "").isdecimal() else None,
        cpu_features=tuple(flag for flag in _FLAGS if flag in flags),
        memory_gb=gigabytes(told.get("memory", "")),
        extra=extra,
    )


def read_state(text: str) -> tuple[Conditions, dict[str, float]]:
    """Read the answer to :data:`STATE`.

    Returns:
        Conditions, and power in watts by rail: empty unless the battery alone feeds the device and
        tells current and voltage.
    """
    kernel, _, rest = text.partition("part=thermal\n")
    thermal, _, rest = rest.partition("part=battery\n")
    battery, _, settings = rest.partition("part=settings\n")
    found = read_conditions(kernel)
    told = _battery(battery)
    temperatures = {**_temperatures(thermal), **found.temperatures_c}
    if "temperature" in told:
        temperatures.setdefault("battery", told["temperature"] / 10)
    status = re.search(r"^Thermal Status: (\d+)", thermal, re.MULTILINE)
    modes = [found.power_mode, "battery saver" if settings.strip() == "1" else None]
    return (
        found.model_copy(
            update={
                "power_mode": ", ".join(filter(None, modes)) or None,
                "temperatures_c": temperatures,
                "thermal": _thermal(int(status[1])) if status else None,
                "battery_percent": told.get("level"),
            }
        ),
        _power(told),
    )


def _temperatures(text: str) -> dict[str, float]:
    """The last section has the values of now; sensors that are absent read far below zero."""
    now = text.rpartition("Current temperatures from HAL:")[2]
    found = re.findall(r"Temperature\{mValue=(-?[\d.]+),[^}]*?mName=([^,}]+)", now)
    return {name: float(value) for value, name in found if float(value) > ABSENT_BELOW_C}


def _battery(text: str) -> dict[str, float]:
    found = re.findall(r"^\s*([\w ]+): (-?\d+)\s*$", text, re.MULTILINE)
    told = {key.strip(): float(value) for key, value in found}
    told["plugged"] = float(bool(re.search(r"^\s*\w+ powered: true", text, re.MULTILINE)))
    return told


def _power(told: dict[str, float]) -> dict[str, float]:
    current = abs(told.get("current_now", 0.0))
    volts = told.get("voltage_now", 0.0) / 1e6 or told.get("voltage", 0.0) / 1e3
    if told.get("status") != _DISCHARGING or told["plugged"] or not (current and volts):
        return {}
    amperes = current / 1e6 if current >= _MICROAMPERES_FROM else current / 1e3
    return {RAIL: round(amperes * volts, 3)}


def _thermal(status: int) -> str:
    return _THERMAL[status] if status < len(_THERMAL) else str(status)
