"""``srdeploy train`` and ``finetune``: what the options are for, and what is printed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.reach import ALL, STOP, Case, calls, exit_code, hold

RECIPE = SimpleNamespace(validation=None, quantise=None)
TRAIN = {
    "srdeploy.train.recipe:read_recipe": RECIPE,
    "srdeploy.train.loop:starting_network": "the network",
    "srdeploy.files:check_output": None,
    "srdeploy.train.loop:train": STOP,
}
TUNE: dict[str, Any] = {
    "srdeploy.models.load:load_network": SimpleNamespace(card="its card"),
    "srdeploy.train.defaults:finetune_recipe": RECIPE,
    "srdeploy.train.loop:train": STOP,
}
INT8 = {
    **TUNE,
    "srdeploy.train.defaults:finetune_recipe": SimpleNamespace(validation=None, quantise="int8"),
    "srdeploy.export.quantise_finetune:finetune_int8": STOP,
}

CASES = [
    Case(
        "train r.yaml -o d/out.st",
        TRAIN,
        {
            "read_recipe.path": "r.yaml",
            "starting_network.recipe": "SimpleNamespace",
            "check_output.path": "d/out.st",
            "train.network": "the network",
            "train.recipe": "SimpleNamespace",
            "train.run_dir": "runs/out",
            "train.resume": True,
            "train.step": "train",
        },
        {
            "--set a=1 --set b=2": {"read_recipe.changes": ["a=1", "b=2"]},
            "--run-dir r": {"train.run_dir": "r"},
            "--fresh": {"train.resume": False},
        },
    ),
    Case(
        "finetune n.st -o out.st",
        TUNE,
        {
            "load_network.path": "n.st",
            "finetune_recipe.card": "its card",
            "finetune_recipe.overrides.eval_data": "builtin",
            "train.network": "SimpleNamespace",
            "train.recipe": "SimpleNamespace",
            "train.run_dir": "runs/out",
            "train.resume": True,
            "train.step": "finetune",
        },
        {
            "--recipe r.yaml": {"finetune_recipe.base": "r.yaml"},
            "--set a=1 --set b=2": {"finetune_recipe.changes": ["a=1", "b=2"]},
            "--train-data A --train-data B": {"finetune_recipe.overrides.data": ["A", "B"]},
            "--iterations 5": {"finetune_recipe.overrides.iterations": 5},
            "--batch 3": {"finetune_recipe.overrides.batch": 3},
            "--patch 24": {"finetune_recipe.overrides.patch": 24},
            "--lr 0": {"finetune_recipe.overrides.lr": 0.0},
            "--precision bf16": {"finetune_recipe.overrides.precision": "bf16"},
            "--eval-data none": {"finetune_recipe.overrides.eval_data": "none"},
            "--eval-every 9": {"finetune_recipe.overrides.eval_every": 9},
            "--seed 0": {"finetune_recipe.overrides.seed": 0},
            "--quantise int8": {"finetune_recipe.overrides.quantise": "int8"},
            "--teacher t.st": {"finetune_recipe.overrides.teacher": "t.st"},
            "--threads 2": {"finetune_recipe.overrides.threads": 2},
            "--run-dir r": {"train.run_dir": "r"},
            "--fresh": {"train.resume": False},
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
        },
    ),
    Case(
        "finetune n.st -o out.st --quantise int8",
        INT8,
        {
            "load_network.path": "n.st",
            "finetune_recipe.card": "its card",
            "finetune_recipe.overrides.eval_data": "builtin",
            "finetune_recipe.overrides.quantise": "int8",
            "finetune_int8.network": "SimpleNamespace",
            "finetune_int8.recipe": "SimpleNamespace",
            "finetune_int8.run_dir": "runs/out",
            "finetune_int8.resume": True,
        },
        {
            "--run-dir r": {"finetune_int8.run_dir": "r"},
            "--fresh": {"finetune_int8.resume": False},
        },
        ALL,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


WATCHED = SimpleNamespace(
    validation=SimpleNamespace(data="builtin", scale=None, protocol="rgb"), quantise=None,
    iterations=20,
)  # fmt: skip
FIGURES = {"psnr_rgb": 30.0, "ssim_rgb": 0.9, "protocol": "psnr[rgb]"}
QUALITY = SimpleNamespace(as_dict=lambda: {**FIGURES, "per_image": [1]})
TUNED = SimpleNamespace(card=SimpleNamespace(scale=3))
CURVE = [
    {"iteration": 5, "loss": 1.0},
    {"iteration": 10, "psnr_rgb": 30.12345, "protocol": "psnr[rgb]"},
    {"iteration": 20, "psnr_rgb": 31.0, "protocol": "psnr[rgb]"},
]


def trained(settings: Any, **more: Any) -> dict[str, Any]:
    return {
        "srdeploy.train.recipe:read_recipe": settings,
        "srdeploy.train.defaults:finetune_recipe": settings,
        "srdeploy.models.load:load_network": TUNED,
        "srdeploy.train.loop:starting_network": TUNED,
        "srdeploy.train.loop:train": "the result",
        "srdeploy.models.store:save_network": None,
        "srdeploy.quality:evaluate": QUALITY,
        "srdeploy.train.journal:read_metrics": CURVE,
        **more,
    }


def test_what_finetune_prints(capsys: pytest.CaptureFixture[str]) -> None:
    seen = calls("finetune n.st -o out.st", trained(WATCHED))
    assert (seen["save_network.network"], seen["save_network.path"]) == ("the result", "out.st")
    assert (seen["evaluate.scale"], seen["evaluate.folder"]) == (3, "builtin")
    assert seen["evaluate.protocol"] == "rgb"
    told = capsys.readouterr()
    assert told.out == "written to out.st; the run's curves are in runs/out/metrics.jsonl\n"
    assert told.err.splitlines() == [
        "    before: 30.000 dB  psnr[rgb] on builtin",
        "        10: 30.123 dB  psnr[rgb] on builtin",
        "        20: 31.000 dB  psnr[rgb] on builtin",
    ]
    calls("finetune n.st -o out.st --json", trained(WATCHED))
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {
        "output": "out.st", "run": "runs/out", "curve": CURVE[1:], "iterations": 20,
        "quality": {"before": FIGURES, "after": {"psnr_rgb": 31.0, "protocol": "psnr[rgb]"}},
    }  # fmt: skip


def test_the_scale_and_set_that_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_SETS", "/sets")
    watch = SimpleNamespace(data="$SRDEPLOY_SETS/Set5", scale=4, protocol=None)
    settings = SimpleNamespace(validation=watch, quantise=None, iterations=20)
    seen = calls("finetune n.st -o out.st", trained(settings))
    assert (seen["evaluate.folder"], seen["evaluate.scale"]) == ("/sets/Set5", 4)


@pytest.mark.parametrize("line", ["train r.yaml -o out.st", "finetune n.st -o out.st"])
def test_nothing_is_measured_where_nothing_is_watched(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SimpleNamespace(validation=None, quantise=None, iterations=20)
    seen = calls(f"{line} --json", trained(settings, **{"srdeploy.train.journal:read_metrics": []}))
    assert "evaluate.scale" not in seen
    document = json.loads(capsys.readouterr().out)
    assert (document["quality"], document["curve"]) == ({}, [])


def test_before_training_from_scratch_there_is_nothing_to_measure() -> None:
    assert "evaluate.scale" not in calls("train r.yaml -o out.st", trained(WATCHED))


def test_only_the_first_process_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = {"srdeploy.train.processes:joined": nullcontext(SimpleNamespace(is_first=False))}
    for line in ("train r.yaml -o out.st", "finetune n.st -o out.st"):
        seen = calls(line, trained(WATCHED, **second))
        assert seen["train.run_dir"] == "runs/out"
        assert "save_network.path" not in seen
        assert "evaluate.scale" not in seen
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "code"),
    [("--iterations 0", 2), ("--iterations 1", 0), ("--batch 0", 2), ("--batch 1", 0),
     ("--patch 7", 2), ("--patch 8", 0), ("--lr -0.1", 2), ("--eval-every 0", 2),
     ("--eval-every 1", 0), ("--threads 0", 2), ("--threads 1", 0)],
)  # fmt: skip
def test_bounds(words: str, code: int) -> None:
    assert exit_code(f"finetune n.st -o out.st {words}", trained(WATCHED)) == code
