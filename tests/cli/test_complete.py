"""What the shell offers on TAB."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from srdeploy.cli import complete

TELL = "srdeploy.exporting.provenance.tell"


@pytest.mark.parametrize(
    ("offer", "typed", "offered"),
    [
        (complete.devices, "lo", ["local"]),
        (complete.devices, "ad", ["adb://"]),
        (complete.devices, "local,ad", ["local,adb://"]),
        (complete.scenarios, "quick,qu", ["quick,quick"]),
        (complete.scenario, "quick,qu", []),
        (complete.scenario, "qu", ["quick"]),
        (complete.artifacts, "bi", ["bicubic"]),
        (complete.networks, "bi", []),
        (complete.targets, "trt", ["trt", "trt-rtx"]),
        (complete.runtimes, "onnxr", ["onnxruntime"]),
        (complete.recipes, "dem", ["demo"]),
        (complete.precisions, "int", ["int8"]),
    ],
)
def test_what_the_shell_offers(offer: Any, typed: str, offered: list[str]) -> None:
    found = offer(typed)
    assert found[: len(offered)] == offered
    assert found == sorted(found)
    assert all(name.startswith(typed) for name in found)
    assert offered or not found


def test_the_shell_waits_for_nothing_heavy() -> None:
    """Names are read off the tables of others; none of these may import what computes."""
    code = (
        "import sys; from srdeploy.cli import complete, main\n"
        "offers = [getattr(complete, name) for name in dir(complete)]\n"
        "offers = [one for one in offers if getattr(one, '__name__', '') == 'complete']\n"
        "print(len([one(typed) for one in offers for typed in ('', 's')]))\n"
        "print(*{'torch', 'numpy', 'onnx', 'safetensors'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, heavy = done.stdout.splitlines()
    assert int(count) >= 26
    assert heavy == ""
