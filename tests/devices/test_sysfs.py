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


def test_of_zones_of_one_name_the_hottest_and_none_that_is_absent(tmp_path: Path) -> None:
    for zone, milli in enumerate((30000, 50000, 40000, -39999, -40000, -256000)):
        kind = "soc" if zone < 3 else f"z{zone}"
        write(tmp_path, f"class/thermal/thermal_zone{zone}/type", kind)
        write(tmp_path, f"class/thermal/thermal_zone{zone}/temp", str(milli))
    write(tmp_path, "class/thermal/thermal_zone9/temp", "1000")  # without a type
    reader = SysfsReader(tmp_path)
    assert reader.temperatures() == {"soc": 50.0, "z3": -39.999, "thermal_zone9": 1.0}


def test_cores_of_different_governors_have_none_in_common(tmp_path: Path) -> None:
    governors = "devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    for cpu, governor in enumerate(("powersave", "performance")):
        write(tmp_path, governors.format(cpu), governor)
    assert SysfsReader(tmp_path).governor is None
    write(tmp_path, governors.format(1), "powersave")
    assert SysfsReader(tmp_path).governor == "powersave"
    assert SysfsReader(tmp_path).clocks() == {}


def test_a_reading_is_whatever_there_is(tmp_path: Path) -> None:
    write(tmp_path, "class/hwmon/hwmon0/name", "ina")
    write(tmp_path, "class/hwmon/hwmon0/power1_input", "2500000")
    found = SysfsReader(tmp_path).read(1.23456)
    assert found is not None
    assert (found.seconds, found.power_w) == (1.235, {"ina/power1": 2.5})
    assert (found.temperatures_c, found.clocks_mhz) == ({}, {})


def test_packages_without_energy_or_name_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "class/powercap/intel-rapl:0/name", "package-0")
    write(tmp_path, "class/powercap/intel-rapl:1/energy_uj", "5")
    write(tmp_path, "class/powercap/intel-rapl:2/energy_uj", "5")
    write(tmp_path, "class/powercap/intel-rapl:2/name", "package-2")
    assert SysfsReader(tmp_path).total_rails == ("package-2",)


def test_power_needs_time_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "class/powercap/intel-rapl:0/name", "package-0")
    write(tmp_path, "class/powercap/intel-rapl:0/max_energy_range_uj", "5000000")
    energy = write(tmp_path, "class/powercap/intel-rapl:0/energy_uj", "1000000")
    clock = iter((10.0, 10.0, 11.0, 12.0, 13.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    reader = SysfsReader(tmp_path)
    assert reader.watts() == {}
    assert reader.watts() == {}  # no time has passed
    assert reader.watts() == {"package-0": 0.0}
    energy.write_text("999999\n")  # it wraps at the least step as well
    assert reader.watts() == {"package-0": pytest.approx(4.999999, rel=1e-9)}
    energy.unlink()
    assert reader.watts() == {}


def test_the_load_is_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1.23456, 2.0, 3.0))
    assert read_conditions(SysfsReader(tmp_path)).load_1min == 1.23
    monkeypatch.delattr("os.getloadavg")
    assert read_conditions(SysfsReader(tmp_path)).load_1min is None
