"""``srdeploy profile`` and ``fit``: options, and what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.reach import STOP, Case, calls, hold

PROFILE = {
    "srdeploy.models.load:load_network": "network",
    "srdeploy.fitting.profile:profile_network": STOP,
}

FIT = {
    "srdeploy.models.load:load_network": "network",
    "srdeploy.fitting.several:fit": STOP,
}

CASES = [
    Case(
        "fit a/net.st --input 48x32 --budget 20ms --store t.sqlite -o out",
        FIT,
        {
            "load_network.path": "a/net.st",
            "fit.network": "network",
            "fit.name": "net.st",
            "fit.options.device": "local",
            "fit.place.name": "local",
            "fit.options.size": [32, 48],
            "fit.options.budgets_ms": [20.0],
            "fit.folder": "out",
            "fit.store": "t.sqlite",
            "fit.fresh": False,
        },
        {
            "--device adb": {"fit.options.device": "adb", "fit.place.name": "adb"},
            "--device adb,local": {
                "fit.options.device": "adb",
                "fit.place.name": "adb",
                "fit.folder": "out/adb",
            },
            "--budget 40ms,.01s": {"fit.options.budgets_ms": [10.0, 40.0]},
            "--precision int8,fp32": {"fit.options.precisions": ["int8", "fp32"]},
            "--runtime openvino": {"fit.options.runtimes": ["openvino"]},
            "--pixel-shuffle crd,reshape": {"fit.options.pixel_shuffles": ["crd", "reshape"]},
            "--min-psnr 37.3": {"fit.options.min_psnr": 37.3},
            "--max-mb 200": {"fit.options.max_mb": 200.0},
            "--max-mj 9.5": {"fit.options.max_mj": 9.5},
            "--tile 64": {"fit.options.tile": 64},
            "--eval-data Set5": {"fit.options.data": "Set5"},
            "--calibration mine": {"fit.options.calibration": "mine"},
            "--network-wise 9": {"fit.options.network_wise": 9},
            "--recover 30": {"fit.options.recover": "30"},
            "--train-data a --train-data b": {"fit.options.train_data": ["a", "b"]},
            "--exclude a.*": {"fit.options.exclude": ["a.*"]},
            "--threads 3": {"fit.options.threads": 3},
            "--fresh": {"fit.fresh": True},
            "--arch a": {"load_network.arch": "a"},
            "--scale 3": {"load_network.scale": 3},
        },
        elsewhere=("--json", "--fps", "--farm", "--devices"),
    ),
    Case(
        "profile net.st --input 48x32 --store t.sqlite",
        PROFILE,
        {
            "load_network.path": "net.st",
            "profile_network.network": "network",
            "profile_network.place.name": "local",
            "profile_network.way.runtime": "onnxruntime",
            "profile_network.way.precision": "fp32",
            "profile_network.way.pixel_shuffle": "crd",
            "profile_network.size": [32, 48],
            "profile_network.store": "t.sqlite",
        },
        {
            "--device adb": {
                "profile_network.place.name": "adb",
                "profile_network.way.runtime": None,
            },
            "--precision int8": {"profile_network.way.precision": "int8"},
            "--runtime openvino": {"profile_network.way.runtime": "openvino"},
            "--threads 3": {"profile_network.threads": 3},
            "--exclude a.* --exclude b": {"profile_network.exclude": ["a.*", "b"]},
            "--arch a": {"load_network.arch": "a"},
            "--scale 3": {"load_network.scale": 3},
        },
        elsewhere=("--json", "--farm", "--devices"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def test_frames_per_second_are_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = calls("fit net.st --input 48x32 --fps 25 -o out", FIT)
    assert (found["fit.options.budgets_ms"], found["fit.options.fps"]) == ([40.0], 25.0)
