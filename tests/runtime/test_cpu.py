from __future__ import annotations

from pathlib import Path

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
