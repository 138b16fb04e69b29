"""Where one reading of a phone's words ends and another begins."""

from __future__ import annotations

import pytest

from srdeploy.devices.adb.probe import read_facts, read_state


def state(thermal: str = "", battery: str = "", saver: str = "", kernel: str = "") -> str:
    return f"{kernel}part=thermal\n{thermal}part=battery\n{battery}part=settings\n{saver}\n"


@pytest.mark.parametrize(
    ("current", "watts"),
    [("20000", 0.08), ("-20000", 0.08), ("19999", 79.996), ("750", 3.0), ("1", 0.004)],
)
def test_currents_are_micro_or_milliamperes(current: str, watts: float) -> None:
    told = f"  status: 3\ncurrent_now: {current}\nvoltage_now: 4000000\n"
    assert read_state(state(battery=told))[1] == {"battery": watts}


@pytest.mark.parametrize(
    "battery",
    [
        "  status: 3\ncurrent_now: 750\n",
        "  status: 3\nvoltage_now: 4000000\n",
        "  status: 3\ncurrent_now: 0\nvoltage_now: 4000000\n",
        "  status: 4\ncurrent_now: 750\nvoltage_now: 4000000\n",
        "  status: 2\ncurrent_now: 750\nvoltage_now: 4000000\n",
        "current_now: 750\nvoltage_now: 4000000\n",
        "  Wireless powered: true\n  status: 3\ncurrent_now: 750\nvoltage_now: 4000000\n",
        "",
    ],
)
def test_power_is_known_of_a_battery_that_is_emptied(battery: str) -> None:
    assert read_state(state(battery=battery))[1] == {}


def test_power_has_three_decimals() -> None:
    told = "  status: 3\ncurrent_now: 123456\nvoltage_now: 0\n  voltage: 3987\n"
    assert read_state(state(battery=told))[1] == {"battery": 0.492}


@pytest.mark.parametrize(
    ("status", "word"),
    [(0, "none"), (1, "light"), (4, "critical"), (6, "shutdown"), (7, "7"), (12, "12")],
)
def test_thermal_states(status: int, word: str) -> None:
    assert read_state(state(thermal=f"Thermal Status: {status}\n"))[0].thermal == word


def test_temperatures_from_three_places() -> None:
    thermal = (
        "Current temperatures from HAL:\n\tTemperature{mValue=1.0, mType=3, mName=cpu, mStatus=0}\n"
        "Current temperatures from HAL:\n\tTemperature{mValue=36.25, mType=3, mName=cpu, mStatus=1}"
        "\n\tTemperature{mValue=-40.0, mType=3, mName=gone, mStatus=1}\n"
        "\tTemperature{mValue=-39.9, mType=3, mName=cold, mStatus=1}\n"
    )
    battery = "  temperature: 312\n"
    found, _ = read_state(state(thermal, battery))
    assert found.temperatures_c == {"cpu": 36.25, "cold": -39.9, "battery": 31.2}
    found, _ = read_state(state(thermal, battery, kernel="zone_cpu=50000\nzone_battery=20000\n"))
    assert found.temperatures_c == {"cpu": 50.0, "cold": -39.9, "battery": 20.0}


@pytest.mark.parametrize(
    ("saver", "kernel", "mode"),
    [("1", "governor=x\n", "x, battery saver"), ("1", "", "battery saver"),
     ("0", "governor=x\n", "x"), ("null", "", None)],
)  # fmt: skip
def test_modes(saver: str, kernel: str, mode: str | None) -> None:
    assert read_state(state(saver=saver, kernel=kernel))[0].power_mode == mode


def test_facts_of_little() -> None:
    facts = read_facts("ro.board.platform=zuma\nclocks=2914000 x 1704499\nflags=sve avx2 odd\n")
    assert (facts.model, facts.arch, facts.os, facts.cpu) == (
        "Android device (unknown)", "unknown", "unknown", "zuma",
    )  # fmt: skip
    assert facts.extra == {"cpu_max_mhz": [1704, 2914]}
    assert facts.cpu_features == ("sve", "avx2")
    facts = read_facts("ro.product.model=Pixel\nro.soc.model=G3\nro.board.platform=z\ncpus=many\n")
    assert (facts.model, facts.cpu, facts.cpus, facts.memory_gb) == ("Pixel", "G3", None, None)
    assert facts.extra == {}
