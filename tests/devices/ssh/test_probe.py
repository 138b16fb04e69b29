from __future__ import annotations

import pytest

from srdeploy.devices.shell.conditions import read_conditions
from srdeploy.devices.ssh.probe import facts_script, read_facts
from srdeploy.devices.ssh.sensors import parse_nvidia_smi, source_of

ORIN_NANO = """home=/home/u/.cache
arch=aarch64
kernel=Linux 5.15.136-tegra
os=Ubuntu 22.04.4 LTS
board=NVIDIA Jetson Orin Nano Developer Kit
chip=nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234
l4t=# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64
cpu=ARMv8 Processor rev 1 (v8l)
flags=fp asimd evtstrm aes asimddp
cpus=6
memory=7802888
trtexec=/usr/src/tensorrt/bin/trtexec
tegrastats=/usr/bin/tegrastats
help=
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec --help
  --onnx=<file>   ONNX model
"""
PI = """home=/home/pi/.cache
arch=aarch64
kernel=Linux 6.6.31+rpt-rpi-2712
os=Debian GNU/Linux 12 (bookworm)
board=Raspberry Pi 5 Model B Rev 1.0
chip=raspberrypi,5-model-b brcm,bcm2712
cpu=Raspberry Pi 5 Model B Rev 1.0
flags=fp asimd evtstrm
cpus=4
memory=8254656
trtexec=
tegrastats=
help=
"""


def test_a_jetson() -> None:
    host = read_facts(ORIN_NANO)
    assert host.jetson
    assert host.capability == "8.7"
    assert host.facts.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert host.facts.gpu == "NVIDIA Orin (tegra234)"
    assert host.facts.versions == {"tensorrt": "10.3.0"}
    assert host.facts.extra == {"l4t": "36.3.0"}
    assert host.facts.cpu_features == ("asimd", "asimddp")
    assert host.facts.memory_gb == pytest.approx(8.0, abs=0.05)
    assert host.trtexec is not None
    assert host.trtexec.options == {"--help", "--onnx"}
    assert "tegrastats" in source_of(host).script


def test_a_pi() -> None:
    host = read_facts(PI)
    assert (host.jetson, host.trtexec, host.facts.gpu) == (False, None, None)
    assert host.facts.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert source_of(host).rails == ()


def test_a_pc_with_an_nvidia_card() -> None:
    host = read_facts(PI.replace("tegrastats=\n", "tegrastats=\ngpu=NVIDIA RTX 4090, 8.9, 570.1\n"))
    assert (host.facts.gpu, host.capability) == ("NVIDIA RTX 4090", "8.9")
    assert source_of(host).rails == ("gpu",)
    reading = parse_nvidia_smi("71.52, 45, 2520, 98\n", 1.0)
    assert reading is not None
    assert reading.power_w == {"gpu": 71.52}
    assert reading.clocks_mhz == {"gpu": 2520}
    partial = parse_nvidia_smi("[N/A], 45, 2520, 98", 1.0)
    assert partial is not None
    assert partial.power_w == {}
    assert parse_nvidia_smi("No devices were found", 0) is None


def test_conditions_of_a_jetson() -> None:
    told = (
        "nvpmodel=NV Power Mode: 15W 0 \ngovernor=schedutil\nclock_cpu=1510400\n"
        "clock_gpu=624750000\nzone_cpu-thermal=48562\nzone_gpu-thermal=-256000\nload=0.52\n"
    )
    found = read_conditions(told)
    assert found.power_mode == "nvpmodel 15W, schedutil"
    assert found.clocks_mhz == {"cpu": 1510.4, "gpu": 624.75}
    assert found.temperatures_c == {"cpu-thermal": 48.562}
    assert found.load_1min == 0.52
    assert read_conditions("governor=\nload=\n").power_mode is None


def test_the_script_takes_the_users_trtexec_literally() -> None:
    assert "'/opt/my tools/trtexec'" in facts_script("/opt/my tools/trtexec")
    assert "/usr/src/tensorrt/bin/trtexec" in facts_script(None)
