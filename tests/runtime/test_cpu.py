from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srdeploy.runtime import cpu
from srdeploy.runtime.cpu import cpu_features, cpuinfo

INTEL = """processor\t: 0
model name\t: Some Xeon : 2
flags\t\t: fpu avx2 avx512f amx_int8
processor\t: 1
model name\t:
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp bf16 asimd i8mm\n"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "_CPUINFO", path)
    return path


def test_the_first_processor_counts(told: Path) -> None:
    told.write_text(INTEL)
    assert cpu_features() == ["avx2", "avx512f", "amx_int8"]
    assert list(cpuinfo("processor")) == ["0", "1"]
    assert list(cpuinfo("model name")) == ["Some Xeon : 2"]
    assert list(cpuinfo("model")) == []


def test_arm_calls_them_features(told: Path) -> None:
    told.write_text(ARM)
    assert cpu_features() == ["asimd", "i8mm", "bf16"]  # in our order, not the kernel's


@pytest.mark.parametrize("text", [None, "", "flags\t: sse\n"])
def test_nothing_to_tell(told: Path, text: str | None) -> None:
    if text is not None:
        told.write_text(text)
    assert cpu_features() == []


def test_a_processors_name(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[str]] = {"model name": ["Core 7", "Core 7"], "Hardware": ["Board"]}
    monkeypatch.setattr(cpu, "cpuinfo", lambda key: iter(told.get(key, [])))
    assert cpu.cpu_model() == "Core 7"
    del told["model name"]
    assert cpu.cpu_model() == "Board"
    told["Model"] = ["Raspberry Pi"]
    assert cpu.cpu_model() == "Raspberry Pi"
    told.clear()
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu.cpu_model() == "riscv64"
    monkeypatch.setattr(platform, "machine", lambda: "")
    assert cpu.cpu_model() == "unknown"
    monkeypatch.setattr(platform, "processor", lambda: "p")
    assert cpu.cpu_model() == "p"


@pytest.mark.parametrize(("code", "name"), [(0, "Apple M9"), (1, "arm")])
def test_a_macs_processor(code: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append(command)
        assert options == {"capture_output": True, "text": True, "check": False}
        return subprocess.CompletedProcess(command, code, "Apple M9\n", "")

    monkeypatch.setattr(cpu, "cpuinfo", lambda key: iter(()))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setattr(subprocess, "run", run)
    assert cpu.cpu_model() == name
    assert asked == [["sysctl", "-n", "machdep.cpu.brand_string"]]
