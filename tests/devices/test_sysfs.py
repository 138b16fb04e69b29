from __future__ import annotations

import time
from pathlib import Path

import pytest

from srdeploy.devices.sysfs import SysfsReader, read_conditions


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    return path


def test_a_laptop(tmp_path: Path) -> None:
    for zone, kind, milli in (
        (0, "x86_pkg_temp", 51000),
        (1, "acpitz", 40000),
        (2, "gone", -256000),
    ):
        write(tmp_path, f"class/thermal/thermal_zone{zone}/type", kind)
        write(tmp_path, f"class/thermal/thermal_zone{zone}/temp", str(milli))
    for cpu, kilohertz in ((0, 800000), (1, 3200000)):
        folder = f"devices/system/cpu/cpu{cpu}/cpufreq"
        write(tmp_path, f"{folder}/scaling_cur_freq", str(kilohertz))
        write(tmp_path, f"{folder}/scaling_governor", "powersave")
    found = read_conditions(SysfsReader(tmp_path))
    assert found.temperatures_c == {"x86_pkg_temp": 51.0, "acpitz": 40.0}
    assert found.clocks_mhz == {"cpu": 3200.0}
    assert found.power_mode == "powersave"


def test_hwmon_where_there_are_no_zones(tmp_path: Path) -> None:
    """An AMD processor shows its temperature only there; a disk's is nobody's business."""
    for number, (chip, milli) in enumerate((("k10temp", 61500), ("nvme", 80000))):
        write(tmp_path, f"class/hwmon/hwmon{number}/name", chip)
        write(tmp_path, f"class/hwmon/hwmon{number}/temp1_input", str(milli))
    write(tmp_path, "class/hwmon/hwmon2/name", "ina226")
    write(tmp_path, "class/hwmon/hwmon2/power1_input", "3250000")
    write(tmp_path, "class/hwmon/hwmon2/power1_label", "board")
    write(tmp_path, "class/hwmon/hwmon2/power2_input", "1000000")
    reader = SysfsReader(tmp_path)
    assert reader.temperatures() == {"k10temp": 61.5}
    assert reader.watts() == {"ina226/board": 3.25, "ina226/power2": 1.0}
    assert reader.total_rails == ()  # nobody says that these two are all of it


def test_power_is_the_difference_of_energy_and_its_counter_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = "class/powercap/intel-rapl:0"
    write(tmp_path, f"{domain}/name", "package-0")
    write(tmp_path, f"{domain}/max_energy_range_uj", "10000000")
    energy = write(tmp_path, f"{domain}/energy_uj", "1000000")
    write(tmp_path, "class/powercap/intel-rapl:0:0/name", "core")  # part of the package
    write(tmp_path, "class/powercap/intel-rapl:0:0/energy_uj", "5")
    clock = iter((10.0, 12.0, 13.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    reader = SysfsReader(tmp_path)
    assert reader.total_rails == ("package-0",)
    assert reader.watts() == {}
    energy.write_text("7000000\n")
    assert reader.watts() == {"package-0": pytest.approx(3.0)}
    energy.write_text("2000000\n")
    assert reader.watts() == {"package-0": pytest.approx(5.0)}


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert SysfsReader(tmp_path).read(1.0) is None
