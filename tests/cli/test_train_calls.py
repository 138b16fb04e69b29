"""``srdeploy train`` and ``finetune``: what the options are for, and what is printed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.train.recipe import Validation
from tests.cli.reach import ALL, STOP, Case, calls, exit_code, hold

RECIPE = SimpleNamespace(validation=None, quantise=None)
TRAIN = {
    "srdeploy.train.recipe:read_recipe": RECIPE,
    "srdeploy.train.loop:starting_network": "the network",
    "srdeploy.models.store:check_network_path": None,
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
    "srdeploy.exporting.precision.quantise_finetune:finetune_int8": STOP,
}

CASES = [
    Case(
        "train r.yaml -o d/out.st",
        TRAIN,
        {
            "read_recipe.path": "r.yaml",
            "starting_network.recipe": "SimpleNamespace",
            "check_network_path.path": "d/out.st",
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
        ("--json", "--lr-data"),
    ),
    Case(
        "finetune n.st -o out.st --quantise int8",
        INT8,
        {
            "load_network.path": "n.st",
            "finetune_recipe.card": "its card",
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
    validation=Validation(data="builtin", every=5, protocol="rgb"), quantise=None, iterations=20
)
FIGURES = {"psnr_rgb": 30.0, "ssim_rgb": 0.9, "protocol": "psnr[rgb]"}
QUALITY = SimpleNamespace(as_dict=lambda: {**FIGURES, "per_image": [1]})
TUNED = SimpleNamespace(card=SimpleNamespace(scale=3))
KEPT = {"iteration": 10, "psnr": 31.5, "data": "builtin", "start": 30.25, "end": 31.0}


def measured(iteration: int, psnr: float) -> dict[str, Any]:
    return {"iteration": iteration, "psnr_rgb": psnr, "protocol": "psnr[rgb]", "what": "builtin"}


CURVE = [measured(0, 30.25), measured(10, 31.5), measured(20, 31.0)]


def result_of(kept: Any = KEPT, trained_on: str = "800 images of HR (8 held out)") -> Any:
    entry = {"step": "finetune", "trained_on": trained_on} | ({"kept": kept} if kept else {})
    return SimpleNamespace(card=SimpleNamespace(history=[{"step": "import"}, entry]))


def trained(settings: Any, result: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "srdeploy.train.recipe:read_recipe": settings,
        "srdeploy.train.defaults:finetune_recipe": settings,
        "srdeploy.models.load:load_network": TUNED,
        "srdeploy.train.loop:starting_network": TUNED,
        "srdeploy.train.loop:train": result or result_of(),
        "srdeploy.exporting.precision.quantise_finetune:finetune_int8": result or result_of(),
        "srdeploy.models.store:save_network": None,
        "srdeploy.quality.evaluate:evaluate": QUALITY,
        "srdeploy.train.journal:read_curve": CURVE,
        **more,
    }


def figures(point: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key != "iteration"}


def test_what_finetune_prints(capsys: pytest.CaptureFixture[str]) -> None:
    seen = calls("finetune n.st -o out.st", trained(WATCHED))
    assert (seen["save_network.network"], seen["save_network.path"]) == (
        "SimpleNamespace",
        "out.st",
    )
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "trained on 800 images of HR (8 held out)",
        "kept iteration 10 of 20: 31.500 dB on builtin",
        "written to out.st; the run's curves are in runs/out/metrics.jsonl",
    ]
    assert told.err.splitlines() == [
        "    before: 30.250 dB  psnr[rgb] on builtin",
        "        10: 31.500 dB  psnr[rgb] on builtin",
        "        20: 31.000 dB  psnr[rgb] on builtin",
    ]
    calls("finetune n.st -o out.st --json", trained(WATCHED))
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {
        "output": "out.st", "run": "runs/out", "curve": CURVE, "iterations": 20, "kept": KEPT,
        "trained_on": "800 images of HR (8 held out)",
        "remarks": ["trained on 800 images of HR (8 held out)",
                    "kept iteration 10 of 20: 31.500 dB on builtin"],
        "quality": {"before": figures(CURVE[0]), "after": figures(CURVE[1])},
    }  # fmt: skip


def test_an_end_below_the_start_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    worse = {"iteration": 0, "psnr": 34.25, "data": "builtin", "start": 34.25, "end": 33.7}
    result = result_of(worse, "6 images of builtin")
    calls("finetune n.st -o out.st", trained(WATCHED, result))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines[:-1]) == (
        "trained on 6 images of builtin: these are shipped to see that it works and are no "
        "training set; use your own (--train-data, or the recipe's data) "
        "kept iteration 0 of 20: 34.250 dB on builtin "
        "training made it worse, from 34.250 dB (iteration 0) to 33.700 at the end: use more "
        "images like those it was made for (--train-data), or a lower --lr"
    )
    calls("finetune n.st -o out.st --json", trained(WATCHED, result))
    remarks = json.loads(capsys.readouterr().out)["remarks"]
    assert remarks[-1].startswith("training made it worse, from 34.250 dB")
    assert "no training set" in remarks[0]
    for end in (34.25, 35.0):  # as good, or better
        calls("finetune n.st -o out.st", trained(WATCHED, result_of({**worse, "end": end})))
        assert "worse" not in capsys.readouterr().out


@pytest.mark.parametrize("told", ["800 images of HR, 6 images of builtin", "5 patches of a.h5"])
def test_a_training_set_is_one(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    calls("finetune n.st -o out.st", trained(WATCHED, result_of(trained_on=told)))
    assert capsys.readouterr().out.splitlines()[0] == f"trained on {told}"


def test_before_8_bits_there_is_float(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRDEPLOY_SETS", "/sets")
    watch = Validation(data="$SRDEPLOY_SETS/Set5", every=5, scale=4)
    settings = SimpleNamespace(validation=watch, quantise="int8", iterations=20)
    seen = calls("finetune n.st -o out.st --json", trained(settings))
    assert (seen["evaluate.folder"], seen["evaluate.scale"]) == ("/sets/Set5", 4)
    quality = json.loads(capsys.readouterr().out)["quality"]
    assert list(quality) == ["before", "calibrated", "after"]
    assert quality["before"] == {**FIGURES, "what": watch.what}
    assert quality["calibrated"] == figures(CURVE[0])
    held = SimpleNamespace(
        validation=Validation(data="held-out", every=5), quantise="int8", iterations=20
    )
    seen = calls("finetune n.st -o out.st", trained(held))
    assert "evaluate.folder" not in seen
    assert capsys.readouterr().err.splitlines()[0].startswith("calibrated: 30.250 dB")


@pytest.mark.parametrize("line", ["train r.yaml -o out.st", "finetune n.st -o out.st"])
def test_nothing_is_measured_where_nothing_is_watched(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SimpleNamespace(validation=None, quantise=None, iterations=20)
    unmeasured = trained(settings, result_of(None), **{"srdeploy.train.journal:read_curve": []})
    seen = calls(f"{line} --json", unmeasured)
    assert "evaluate.scale" not in seen
    document = json.loads(capsys.readouterr().out)
    assert (document["quality"], document["curve"], document["kept"]) == ({}, [], None)
    assert document["remarks"][-1] == (
        "nothing was measured on the way: the last iteration is kept"
    )


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
