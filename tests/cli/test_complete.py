"""What the shell offers on TAB."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.cli import complete

TELL = "srdeploy.export.story.tell"


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
