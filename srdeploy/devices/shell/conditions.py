"""What changes on a Linux device, asked with one piece of shell text and read back here."""

from __future__ import annotations

import re

from srdeploy.devices.sysfs import ABSENT_BELOW_C
from srdeploy.measure.measurement import Conditions

SAY = """
say() { printf '%s=%s\\n' "$1" "$(set -f; echo $2)"; }
"""
"""Shell text: ``say KEY VALUE`` prints them as one line, blanks and newlines as single blanks."""

CONDITIONS = (
    SAY
    + """
command -v nvpmodel >/dev/null && say nvpmodel "$(nvpmodel -q 2>/dev/null)"
say governor "$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
say clock_cpu "$(cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq 2>/dev/null | sort -n \\
  | tail -n 1)"
for d in /sys/class/devfreq/*gpu* /sys/class/devfreq/*gv11b* /sys/class/devfreq/*ga10b* \\
  /sys/class/devfreq/*gp10b* /sys/class/devfreq/*gm20b*; do
  [ -r "$d/cur_freq" ] && say clock_gpu "$(cat "$d/cur_freq")"
done
for z in /sys/class/thermal/thermal_zone*; do
  [ -r "$z/temp" ] && say "zone_$(cat "$z/type")" "$(cat "$z/temp" 2>/dev/null)"
done
say load "$(cut -d ' ' -f 1 /proc/loadavg)"
true
"""
)
"""Shell text: governor, clocks, temperatures and load of a Linux kernel, Jetson's mode too."""


def read_conditions(text: str) -> Conditions:
    """Read the answer to :data:`CONDITIONS`."""
    told = pairs(text)
    mode = told.get("governor") or None
    if found := re.search(r"NV Power Mode: *(\S+)", told.get("nvpmodel", "")):
        mode = f"nvpmodel {found[1]}" + (f", {mode}" if mode else "")
    clocks = {}
    if (kilohertz := told.get("clock_cpu", "")).isdecimal():
        clocks["cpu"] = int(kilohertz) / 1e3
    if (hertz := told.get("clock_gpu", "")).isdecimal():
        clocks["gpu"] = int(hertz) / 1e6
    temperatures: dict[str, float] = {}
    for key, value in told.items():
        if key.startswith("zone_") and value.lstrip("-").isdecimal():
            celsius = int(value) / 1e3
            if celsius > ABSENT_BELOW_C:
                temperatures[key.removeprefix("zone_")] = celsius
    load = told.get("load", "")
    return Conditions(
        power_mode=mode,
        clocks_mhz=clocks,
        temperatures_c=temperatures,
        load_1min=float(load) if re.fullmatch(r"\d+\.\d+", load) else None,
    )


def pairs(text: str) -> dict[str, str]:
    """The ``key=value`` lines that :data:`SAY` prints."""
    lines = (line.partition("=") for line in text.splitlines())
    return {key: value.strip() for key, _, value in lines}


def gigabytes(kilobytes: str) -> float | None:
    """KiB as /proc/meminfo has them, in GB (10^9 bytes)."""
    return round(int(kilobytes) * 1024 / 1e9, 1) if kilobytes.isdecimal() else None
