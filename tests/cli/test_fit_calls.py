"""``srdeploy profile`` and ``fit``: options, and what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.reach import STOP, Case, hold

PROFILE = {
    "srdeploy.models.load:load_network": "network",
    "srdeploy.fitting.profile:profile_network": STOP,
}

CASES = [
    Case(
        "profile net.st --input 48x32 --store t.sqlite",
        PROFILE,
        {
            "load_network.path": "net.st",
            "profile_network.network": "network",
            "profile_network.device": "local",
            "profile_network.way.runtime": "onnxruntime",
            "profile_network.way.precision": "fp32",
            "profile_network.way.pixel_shuffle": "crd",
            "profile_network.size": [32, 48],
            "profile_network.store": "t.sqlite",
        },
        {
            "--device adb": {
                "profile_network.device": "adb",
                "profile_network.way.runtime": None,
            },
            "--precision int8": {"profile_network.way.precision": "int8"},
            "--runtime openvino": {"profile_network.way.runtime": "openvino"},
            "--threads 3": {"profile_network.threads": 3},
            "--exclude a.* --exclude b": {"profile_network.exclude": ["a.*", "b"]},
            "--arch a": {"load_network.arch": "a"},
            "--scale 3": {"load_network.scale": 3},
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)
