"""What a Linux kernel says of itself."""

from __future__ import annotations

import subprocess

import pytest

from srdeploy.devices.shell.conditions import CONDITIONS, SAY, gigabytes, pairs, read_conditions

ORIN = """nvpmodel=NV Power Mode: MAXN 0
governor=schedutil
clock_cpu=1510400
clock_gpu=1020000000
zone_cpu-thermal=47500
zone_tj-thermal=-1500
zone_gone=-256000
zone_edge=-40000
zone_warm=-39999
zone_odd=hot
zone_none=
fan=45000
load=0.52
"""


def test_a_jetson() -> None:
    found = read_conditions(ORIN)
    assert found.model_dump(exclude_defaults=True) == {
        "power_mode": "nvpmodel MAXN, schedutil",
        "clocks_mhz": {"cpu": 1510.4, "gpu": 1020.0},
        "temperatures_c": {"cpu-thermal": 47.5, "tj-thermal": -1.5, "warm": -39.999},
        "load_1min": 0.52,
    }


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("governor=performance", "performance"),
        ("nvpmodel=NV Power Mode: 15W", "nvpmodel 15W"),
        ("nvpmodel=no such mode\ngovernor=ondemand", "ondemand"),
        ("governor=", None),
        ("", None),
    ],
)
def test_power_modes(text: str, mode: str | None) -> None:
    assert read_conditions(text).power_mode == mode


@pytest.mark.parametrize("text", ["", "clock_cpu=\nclock_gpu=\nload=", "clock_cpu=x\nload=1e3"])
def test_what_is_no_number_is_unknown(text: str) -> None:
    found = read_conditions(text)
    assert (found.clocks_mhz, found.temperatures_c, found.load_1min) == ({}, {}, None)


def test_pairs() -> None:
    assert pairs("a= 1 \nb=c=d\nword\n") == {"a": "1", "b": "c=d", "word": ""}


def test_gigabytes() -> None:
    assert gigabytes("7646000") == 7.8
    assert gigabytes("16384000") == 16.8
    assert gigabytes("") is None
    assert gigabytes("7646000 kB") is None


def test_a_shell_says_each_on_one_line() -> None:
    text = SAY + "say key \"$(printf 'two\\n  lines *')\"\n"
    said = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout
    assert said == "key=two lines *\n"


def test_this_machine() -> None:
    said = subprocess.run(["sh", "-c", CONDITIONS], capture_output=True, text=True, check=True)
    assert (read_conditions(said.stdout).load_1min or 0) >= 0
