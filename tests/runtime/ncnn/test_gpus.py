"""Vulkan's devices, listed by a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError
from srdeploy.runtime.ncnn.gpus import KINDS, Gpu, find_gpus
from srdeploy.runtime.table import RUNTIMES


def test_devices_are_listed() -> None:
    if not (can := RUNTIMES["ncnn-vulkan"].availability()):
        pytest.skip(can.reason)
    for gpu in find_gpus():
        assert gpu.name
        assert gpu.kind in KINDS
        assert gpu.name in str(gpu)
        assert "fp16 " in str(gpu)  # ncnn's log is as it was


def test_what_ncnn_does_not_tell_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "[1 Mali G1]  fp16-p/s/u/a=1/0/0/0  int8-p/s/u/a=0/0/0/0  bf16-p/s=1/0"
    found = '[["Mali G1", "integrated"], ["New", "discrete"]]'
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{found}'\necho '{log}' >&2\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert [str(gpu) for gpu in find_gpus()] == [
        "Mali G1 (integrated); fp16 stored only, int8 not supported",
        "New (discrete)",
    ]


@pytest.mark.parametrize("text", ["kill -SEGV $$", "exit 3", "echo nonsense", "echo '[1]'"])
def test_a_driver_that_fails_is_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(SrdeployError, match=r"a driver failed .*update the GPU's driver\.$"):
        find_gpus()


def test_in_words() -> None:
    able = {"fp16_storage": True, "fp16_arithmetic": False, "int8_storage": True}
    gpu = Gpu(name="Mali", kind="integrated", int8_arithmetic=True, **able)
    assert str(gpu) == "Mali (integrated); fp16 stored only, int8 computed"
    able = {"fp16_storage": False, "fp16_arithmetic": False, "int8_storage": False}
    gpu = Gpu(name="llvmpipe", kind="software", int8_arithmetic=False, **able)
    assert str(gpu) == (
        "llvmpipe, in software: its speed is no GPU's; fp16 not supported, int8 not supported"
    )
