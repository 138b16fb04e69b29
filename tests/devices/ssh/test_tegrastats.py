from __future__ import annotations

import pytest

from srdeploy.devices.ssh.tegrastats import parse_line, total_rails

# Lines printed by real boards: TX2, Nano, AGX Orin (JetPack 6 and 7), Thor.
TX2 = (
    "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,49%@2031] "
    "EMC_FREQ 1%@1866 GR3D_FREQ 0%@114 PLL@42.5C GPU@39.5C VDD_SYS_GPU 182/182 VDD_IN 5297/5297 "
    "VDD_SYS_CPU 1917/1917"
)
NANO = (
    "RAM 1923/3964MB (lfb 2x2MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,4%@1224] EMC_FREQ 0%@1600 "
    "GR3D_FREQ 0%@76 CPU@40C GPU@40C POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"
)
ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) CPU [0%@729,0%@729] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@[0,0] VIC_FREQ 729 CPU@44.562C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW"
)
ORIN_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] gpu@47.625C/47.625C VDD_GPU_SOC 5139mW/5139mW/5139mW "
    "VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
THOR = "RAM 4722/7844MB (lfb 1x512kB) EMC_FREQ 2%@1866 GR3D_FREQ @[1000,1000,1000] APE 150"


@pytest.mark.parametrize(
    ("line", "rails", "watts"),
    [
        (TX2, ("VDD_IN",), 5.297),
        (NANO, ("POM_5V_IN",), 1.75),
        (ORIN, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 2.34 + 0.39 + 4.025),
        (ORIN_7, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), 5.139 + 3.268 + 5.5),
        (THOR, (), 0.0),
        (THOR + " VIN 21000mW/20500mW VDD_GPU 9000mW/9000mW", ("VIN",), 21.0),
    ],
    ids=["tx2", "nano", "orin", "orin-jp7", "thor", "thor-power"],
)
def test_a_boards_power(line: str, rails: tuple[str, ...], watts: float) -> None:
    reading = parse_line(line, 1.5)
    assert reading is not None
    assert reading.seconds == 1.5
    assert total_rails(reading) == rails
    assert sum(reading.power_w[rail] for rail in rails) == pytest.approx(watts)


def test_temperatures_leave_out_absent_sensors() -> None:
    reading = parse_line(ORIN, 0)
    assert reading is not None
    assert reading.temperatures_c == {"CPU": 44.562, "tj": 44.343}


def test_clocks_and_load() -> None:
    reading = parse_line(TX2, 0)
    assert reading is not None
    assert reading.clocks_mhz == {"gpu": 114, "memory": 1866, "cpu": 2031}
    assert reading.load_percent == {"gpu": 0, "memory": 1, "cpu": 46.5}
    thor = parse_line(THOR, 0)
    assert thor is not None
    assert (thor.clocks_mhz["gpu"], thor.load_percent) == (1000, {"memory": 2})
    newer = parse_line(ORIN_7, 0)
    assert newer is not None
    assert (newer.clocks_mhz["gpu"], newer.load_percent["gpu"]) == (1300, 12)


@pytest.mark.parametrize("line", ["", "tegrastats: permission denied", "EMC_FREQ 2%@1866"])
def test_other_lines_are_no_readings(line: str) -> None:
    assert parse_line(line, 0) is None
