"""Linux's own sensors: thermal zones, hwmon, CPU clocks and governor, and RAPL's energy counters.

The names and units are the kernel's (Documentation/ABI/testing/sysfs-class-thermal,
sysfs-class-hwmon, sysfs-devices-system-cpu, sysfs-class-powercap). What may not be read is left
out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from srdeploy.measure.measurement import Conditions, Reading

ABSENT_BELOW_C = -40.0
"""A sensor that is not there reads -256 or -273; nothing that runs is colder than this."""

COMPUTING_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "amdgpu")
"""hwmon chips whose temperature is that of what computes; disks and network cards have one too."""


class SysfsReader:
    """Finds the sensors once, and reads them quickly afterwards.

    Args:
        root: Where ``/sys`` is.
    """

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._zones = [
            (_text(zone / "type") or zone.name, zone / "temp")
            for zone in sorted(root.glob("class/thermal/thermal_zone*"))
        ]
        chips = [
            (name, chip)
            for chip in sorted(root.glob("class/hwmon/hwmon*"))
            if (name := _text(chip / "name"))
        ]
        self._zones += [
            (name, path)
            for name, chip in chips
            if name in COMPUTING_CHIPS
            for path in sorted(chip.glob("temp*_input"))
        ]
        self._power = [
            (
                f"{name}/{_text(chip / path.name.replace('_input', '_label')) or path.name[:-6]}",
                path,
            )
            for name, chip in chips
            for path in sorted(chip.glob("power*_input"))
        ]
        cpu = root / "devices/system/cpu"
        self._clocks = sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._governors = sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_governor"))
        packages = sorted(root.glob("class/powercap/intel-rapl:[0-9]*"))
        self._energy = [
            (name, domain / "energy_uj", int(_text(domain / "max_energy_range_uj") or 0))
            for domain in packages
            if domain.name.count(":") == 1
            and (name := _text(domain / "name"))
            and _text(domain / "energy_uj") is not None
        ]
        self._last: dict[str, tuple[float, int]] = {}

    @property
    def total_rails(self) -> tuple[str, ...]:
        """The processor packages; the rest of the machine is not in them."""
        return tuple(name for name, _, _ in self._energy)

    @property
    def governor(self) -> str | None:
        """The CPU's governor, if all cores have the same."""
        found = {_text(path) for path in self._governors}
        return found.pop() if len(found) == 1 else None

    def temperatures(self) -> dict[str, float]:
        """Degrees Celsius by zone; of zones of one name the hottest."""
        found: dict[str, float] = {}
        for name, path in self._zones:
            text = _text(path)
            if text is not None and (celsius := int(text) / 1000) > ABSENT_BELOW_C:
                found[name] = max(celsius, found.get(name, celsius))
        return found

    def clocks(self) -> dict[str, float]:
        """The fastest core's clock in MHz."""
        found = [int(text) / 1000 for path in self._clocks if (text := _text(path))]
        return {"cpu": max(found)} if found else {}

    def watts(self) -> dict[str, float]:
        """Power by rail: of RAPL's packages the mean since the last call (none at the first)."""
        found = {
            name: int(text) / 1e6 for name, path in self._power if (text := _text(path)) is not None
        }
        for name, path, span in self._energy:
            now, text = time.monotonic(), _text(path)
            if text is None:
                continue
            before = self._last.get(name)
            self._last[name] = (now, int(text))
            if before is not None and now > before[0]:
                used = int(text) - before[1]
                used += span if used < 0 else 0  # the counter wraps
                found[name] = used / 1e6 / (now - before[0])
        return found

    def read(self, seconds: float) -> Reading | None:
        """All of it, or None where this machine tells nothing."""
        watts, degrees, clocks = self.watts(), self.temperatures(), self.clocks()
        if not (watts or degrees or clocks):
            return None
        return Reading(
            seconds=round(seconds, 3), power_w=watts, temperatures_c=degrees, clocks_mhz=clocks
        )


def read_conditions(reader: SysfsReader) -> Conditions:
    """Governor, clocks, temperatures and load now."""
    return Conditions(
        power_mode=reader.governor,
        clocks_mhz=reader.clocks(),
        temperatures_c=reader.temperatures(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
