"""What ``srdeploy doctor`` prints."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli.main import run
from srdeploy.errors import SrdeployError
from srdeploy.runtime.ncnn.gpus import Gpu
from srdeploy.runtime.table import Availability

TELL = "srdeploy.exporting.provenance.tell"


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(name: str, ready: bool, reason: str, *remedies: str, **facts: Any) -> Any:
        found = Availability(ready, reason, remedies)
        title = f"the {name}"
        return SimpleNamespace(name=name, title=title, availability=lambda: found, **facts)

    def table(*rows: Any) -> dict[str, Any]:
        return {one.name: one for one in rows}

    get = "pip install 'srdeploy[x]'"
    monkeypatch.setattr("srdeploy.runtime.table.RUNTIMES", table(
        row("ort", True, "ort 1.2.3"), row("x", False, f"x is not installed: {get}", get),
        row("cuda", False, "no cuda provider: get it", "get it", nvidia=True),
    ))  # fmt: skip
    monkeypatch.setattr("srdeploy.exporting.targets.TARGETS", table(
        row("x", False, f"x is not installed: {get}; y: get y", get, "get y"),
        row("mac", False, "runs on macOS only"),
    ))  # fmt: skip
    monkeypatch.setattr("srdeploy.devices.table.KINDS", table(row("local", True, "nothing")))
    driver = Availability(False, "no NVIDIA driver here")
    monkeypatch.setattr("srdeploy.runtime.table.nvidia_driver", lambda: driver)


def test_a_short_list_of_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    *told, lpips, dists, networks = capsys.readouterr().out.splitlines()
    assert told == [
        "2 of 6 targets, runtimes and kinds of devices work here; --all lists them.",
        "  pip install 'srdeploy[x]'",
        "      for target x, runtime x",
        "  get y",
        "      for target x",
        "not for this machine: targets mac; runtimes cuda",
    ]
    assert lpips.startswith("metric lpips is not measured: it needs the weights of AlexNet")
    assert dists.startswith("metric dists is not measured: it needs the weights of VGG16")
    assert networks.startswith("shipped networks: edsr-s-x2, edsr-s-x2-p30")


def test_vulkan_devices_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*flags: str) -> str:
        assert run(["doctor", *flags]) == 0
        return capsys.readouterr().out

    def fails() -> list[Gpu]:
        raise SrdeployError("a driver failed.")

    able = ("fp16_storage", "fp16_arithmetic", "int8_storage", "int8_arithmetic")
    gpu = Gpu(name="Mali", kind="integrated", **dict.fromkeys(able, True))
    row = SimpleNamespace(
        name="ncnn-vulkan", title="ncnn", availability=lambda: Availability(True, "ncnn 1")
    )
    assert "Vulkan" not in told()
    assert json.loads(told("--json"))["vulkan"] == []
    monkeypatch.setattr("srdeploy.runtime.table.RUNTIMES", {"ncnn-vulkan": row})
    for found, line in (
        (lambda: [gpu], "Vulkan device 0: Mali (integrated); fp16 computed, int8 computed\n"),
        (list, "ncnn finds no Vulkan device: install the GPU's driver"),
        (fails, "a driver failed.\n"),
    ):
        monkeypatch.setattr("srdeploy.runtime.ncnn.gpus.find_gpus", found)
        assert line in told()
    monkeypatch.setattr("srdeploy.runtime.ncnn.gpus.find_gpus", lambda: [gpu])
    assert json.loads(told("--json"))["vulkan"] == [gpu.model_dump()]


def test_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srdeploy.util.shipped.shipped_networks", dict)
    assert run(["doctor", "--all"]) == 0
    told = capsys.readouterr().out.splitlines()
    for lines in (
        ["runtime  ort    yes  ort 1.2.3", "    the ort", "runtime  x      no"],
        ["target   mac    no", "    the mac", "    runs on macOS only"],
        ["device   local  yes  nothing", "    the local"],
        ["shipped networks: none"],
    ):
        assert any(told[n : n + len(lines)] == lines for n in range(len(told))), told
