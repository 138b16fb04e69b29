"""tegrastats: power, temperatures, clocks and load of a Jetson, line by line.

The line differs from board to board and from release to release; everything is optional. Rails are
in mW, as ``NAME now/average`` before JetPack 5 and ``NAME nowmW/averagemW`` since; an absent
temperature sensor reads -256.
"""

from __future__ import annotations

import re

from srdeploy.devices.sysfs import ABSENT_BELOW_C
from srdeploy.measure.measurement import Reading

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that measure a whole board: Orin NX/Nano, Xavier NX, TX2; Nano; Thor."""

SUMMED_RAILS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""AGX Orin and AGX Xavier have no total; these, which feed all but the carrier, are summed."""

_RAIL = re.compile(r"\b((?:VDD|VIN|POM|CPU|GPU|SOC|SYS|NC|CV|VDDQ)\w*) (\d+)(?:mW)?/\d+(?:mW)?")
_TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C")
_GPU = re.compile(r"GR3D_FREQ (?:(\d+)%)?@?\[?(\d+)?")
_CPU = re.compile(r"CPU \[([^\]]*)\]")
_MEMORY = re.compile(r"EMC_FREQ (?:(\d+)%)?@(\d+)")
_CORE = re.compile(r"(\d+)%@(\d+)")


def parse_line(line: str, seconds: float) -> Reading | None:
    """Read one line.

    Args:
        line: As printed, a leading date included.
        seconds: When, since the measurement began.

    Returns:
        The reading; None for a line that tegrastats did not print.
    """
    if "RAM " not in line:
        return None
    power = {name: int(now) / 1e3 for name, now in _RAIL.findall(line)}
    temperatures = {
        name: float(value)
        for name, value in _TEMPERATURE.findall(line)
        if float(value) > ABSENT_BELOW_C
    }
    clocks: dict[str, float] = {}
    load: dict[str, float] = {}
    if gpu := _GPU.search(line):
        _keep(load, "gpu", gpu[1])
        _keep(clocks, "gpu", gpu[2])
    if memory := _MEMORY.search(line):
        _keep(load, "memory", memory[1])
        _keep(clocks, "memory", memory[2])
    if cpu := _CPU.search(line):
        cores = _CORE.findall(cpu[1])
        if cores:
            load["cpu"] = sum(int(percent) for percent, _ in cores) / len(cores)
            clocks["cpu"] = float(max(int(clock) for _, clock in cores))
    return Reading(
        seconds=seconds,
        power_w=power,
        temperatures_c=temperatures,
        clocks_mhz=clocks,
        load_percent=load,
    )


def total_rails(reading: Reading) -> tuple[str, ...]:
    """The rails whose sum is the board's power; empty where it cannot be told."""
    for rail in TOTAL_RAILS:
        if rail in reading.power_w:
            return (rail,)
    return next((rails for rails in SUMMED_RAILS if set(rails) <= set(reading.power_w)), ())


def _keep(into: dict[str, float], name: str, text: str | None) -> None:
    if text:
        into[name] = float(text)
