"""``srdeploy prune``: what the options are for, and what is printed."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from srdeploy.models.card import Card
from srdeploy.pruning.methods.table import METHODS
from tests.cli.reach import ALL, STOP, Case, calls, exit_code, hold

CARD = {"widths": {"head.0": 32}, "scale": 2, "arch": "edsr", "history": []}
NETWORK = SimpleNamespace(card=Card.model_construct(**CARD), module=nn.Identity())
LOAD: dict[str, Any] = {"srdeploy.models.load:load_network": NETWORK}
TRAINED = {
    **LOAD,
    "srdeploy.train.prune_defaults:prune_recipe": "the recipe",
    "srdeploy.train.method:prune_trained": STOP,
}
ONESHOT = {
    **LOAD,
    "srdeploy.pruning.methods.oneshot:default_exclude": ["tail.*"],
    "srdeploy.reconstruct.run:prune_at_once": STOP,
}


def by(method: str) -> dict[str, Any]:
    """How a row of the table reaches what prunes by it."""
    values = {k: v for k, v in vars(METHODS[method]).items() if v is not None}
    return {f"prune_at_once.method.{name}": value for name, value in values.items()}


SHIPPED = {
    "images": "builtin",
    "patches": 112,
    "side": 32,
    "network_wise": 2,
    "steps_asked": False,
}
AT_ONCE = {
    "load_network.path": "n.st",
    "prune_at_once.network": "SimpleNamespace",
    "prune_at_once.options.ratio": 0.5,
    "prune_at_once.refits": False,
    "prune_at_once.folder": "runs/out/reconstruct",
    "prune_at_once.resume": True,
    **{f"prune_at_once.calibration.{name}": value for name, value in SHIPPED.items()},
}

CASES = [
    Case(
        "prune n.st -o d/out.st --method srp",
        TRAINED,
        {
            "load_network.path": "n.st",
            "prune_recipe.network": "SimpleNamespace",
            "prune_recipe.method": "srp",
            "prune_recipe.published_exclude": True,
            "prune_trained.network": "SimpleNamespace",
            "prune_trained.recipe": "the recipe",
            "prune_trained.run_dir": "runs/out",
            "prune_trained.resume": True,
        },
        {
            "--ratio 0": {"prune_recipe.prune.ratio": 0.0},
            "--recipe r.yaml": {"prune_recipe.base": "r.yaml"},
            "--recipe r.yaml --set a=1": {
                "prune_recipe.base": "r.yaml",
                "prune_recipe.changes": ["a=1"],
            },
            "--common-set joint": {"prune_recipe.prune.common_set": "joint"},
            "--train-data A --train-data B": {"prune_recipe.training.data.folders": ["A", "B"]},
            "--iterations 0": {"prune_recipe.finetune.iterations": 0},
            "--run-dir r": {"prune_trained.run_dir": "r"},
            "--fresh": {"prune_trained.resume": False},
            "--threads 2": {"prune_recipe.training.threads": 2},
            "--layer-ratio a=0.1 --layer-ratio b=0.2": {
                "prune_recipe.prune.layer_ratios.a": 0.1,
                "prune_recipe.prune.layer_ratios.b": 0.2,
            },
            "--exclude a --exclude b": {"prune_recipe.prune.exclude": ["a", "b"]},
            "--no-default-exclude": {"prune_recipe.published_exclude": False},
            "--round-to 4": {"prune_recipe.prune.round_to": 4},
            "--refit": {"prune_recipe.refit": True},
            "--refit --calibration D": {
                "prune_recipe.refit": True,
                "prune_recipe.calibration": "D",
            },
            "--seed 0": {"prune_recipe.prune.seed": 0, "prune_recipe.training.seed": 0},
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
        },
        (
            "--json",
            "--criterion",
            "--for",
            "--eval-data",
            "--no-quality",
            "--calibration",
            "--network-wise",
            "--rotate",
            "--macs",
            "--params",
            "--nni-config",
            "--remove-block",
        ),
    ),
    Case(
        "prune n.st -o d/out.st --method reconstruct --no-default-exclude",
        ONESHOT,
        AT_ONCE | by("reconstruct"),
        {
            "--calibration DIR": {"prune_at_once.calibration.images": "DIR"},
            "--network-wise 7": {
                "prune_at_once.calibration.network_wise": 7,
                "prune_at_once.calibration.steps_asked": True,
            },
            "--run-dir r": {"prune_at_once.folder": "r/reconstruct"},
            "--fresh": {"prune_at_once.resume": False},
            "--no-rotate": {k: v for k, v in by("obs").items() if v != by("reconstruct")[k]},
            "--rotate": {},
            "--refit": {"prune_at_once.refits": True},
            "--ratio auto --macs 1.5G": {
                "prune_at_once.options.ratio": 0.0,
                "prune_at_once.budget.amount": 1.5e9,
                "prune_at_once.budget.unit": "MACs",
            },
            "--params 20k": {
                "prune_at_once.options.ratio": 0.0,
                "prune_at_once.budget.amount": 20_000.0,
                "prune_at_once.budget.unit": "parameters",
            },
        },
        ALL,
    ),
    Case(
        "prune n.st -o d/out.st --no-default-exclude",
        ONESHOT,
        AT_ONCE | by("reconstruct"),
        {
            "--criterion l2": {
                **{k: v for k, v in by("l1").items() if v != by("reconstruct")[k]},
                "prune_at_once.calibration.network_wise": 0,
                "prune_at_once.options.criterion": "l2",
            },
        },
        ALL,
    ),
    Case(
        "prune n.st -o d/out.st --method l1",
        ONESHOT,
        {
            **AT_ONCE,
            **by("l1"),
            "prune_at_once.calibration.network_wise": 0,
            "default_exclude.network": "SimpleNamespace",
            "prune_at_once.options.exclude": ["tail.*"],
        },
        {
            "--ratio 0": {"prune_at_once.options.ratio": 0.0},
            "--criterion l2": {"prune_at_once.options.criterion": "l2"},
            "--refit --calibration D": {
                "prune_at_once.refits": True,
                "prune_at_once.calibration.images": "D",
            },
            "--layer-ratio a=0.1 --layer-ratio b=0.2": {
                "prune_at_once.options.layer_ratios.a": 0.1,
                "prune_at_once.options.layer_ratios.b": 0.2,
            },
            "--exclude a --exclude b": {"prune_at_once.options.exclude": ["tail.*", "a", "b"]},
            "--remove-block a --remove-block b": {
                "prune_at_once.options.ratio": 0.0,  # nothing else goes
                "prune_at_once.options.remove_blocks": ["a", "b"],
            },
            "--remove-block a --ratio .25": {
                "prune_at_once.options.ratio": 0.25,
                "prune_at_once.options.remove_blocks": ["a"],
            },
            "--no-default-exclude": {
                "default_exclude.network": None,
                "prune_at_once.options.exclude": None,
            },
            "--round-to 4": {"prune_at_once.options.round_to": 4},
            "--round-to auto --for trt": {"prune_at_once.options.round_to": 8},
            "--seed 1": {"prune_at_once.options.seed": 1},
            "--arch edsr": {"load_network.arch": "edsr"},
            "--scale 3": {"load_network.scale": 3},
        },
        ALL,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def report(**values: Any) -> Any:
    groups = [
        {"channels": 64, "kept": 32, "status": "free", "layers": ["head.0"]},
        {"channels": 64, "kept": 8, "status": "coupled", "layers": ["a", "b", "c"]},
        {"channels": 12, "kept": 12, "status": "fixed", "layers": ["tail.0"]},
    ]
    facts = {
        "before": SimpleNamespace(params=664704, macs_720p=6 * 10**9),
        "after": SimpleNamespace(params=332352, macs_720p=2.5 * 10**9),
        "groups": groups, "to_dict": lambda: {"method": "l1"}, "remarks": [], "unprunable": "",
        "plan": SimpleNamespace(parts={}),
        "proof": {"claim": "It is the same", "tolerance": 1, "max_difference": 1e-12,
                  "sizes": [(20, 30)]},
    }  # fmt: skip
    return SimpleNamespace(**{**facts, **values})


SMALL = SimpleNamespace(card=Card.model_construct(**CARD))
SAVE: dict[str, Any] = {"srdeploy.models.store:save_network": None}


def done(name: str, **values: Any) -> dict[str, Any]:
    made = dict.fromkeys([name], (SMALL, report(**values)))
    return {**(ONESHOT if "reconstruct" in name else TRAINED), **SAVE, **made}


ONCE, SLOWLY = "srdeploy.reconstruct.run:prune_at_once", "srdeploy.train.method:prune_trained"


def test_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    seen = calls("prune n.st -o out.st", done(ONCE))
    assert seen["save_network.path"] == "out.st"
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "   64 -> 32    free     head.0",
        "   64 -> 8     coupled  a ... c (3)",
        "parameters 664.7K -> 332.4K",
        "MACs for a 1280x720 output 6.0G -> 2.5G (2.40 times fewer)",
        "proof: It is the same, to 1.0e-12 of the value range",
        "  checked on 30x20 pixels",
        "written to out.st",
        "next (builtin stands for your own training images):",
        "  srdeploy finetune out.st --teacher n.st --train-data builtin \\",
        "    -o out-tuned.safetensors",
    ]
    calls("prune n.st -o out.st", done(ONCE, proof={"claim": "Nothing was removed."}))
    assert capsys.readouterr().out.splitlines()[-5] == "Nothing was removed."
    calls("prune n.st -o d/out.st --method srp", done(SLOWLY))
    told = capsys.readouterr().out.splitlines()[-4]
    assert told == "written to d/out.st; the run's curves are in runs/out"
    calls("prune n.st -o out.st --method srp --run-dir r", done(SLOWLY))
    assert capsys.readouterr().out.splitlines()[-4].endswith("curves are in r")
    gone = {"body.3": SimpleNamespace(layers=["body.3.body.0", "body.3.body.2"])}
    calls("prune n.st -o out.st", done(ONCE, plan=SimpleNamespace(parts=gone)))
    assert "body.3 is gone: body.3.body.0, body.3.body.2" in capsys.readouterr().out
    remark = (
        "of 32 channels 50% go where 30% was asked for: --round-to 16 keeps a multiple of 16; x"
    )
    calls("prune n.st -o out.st", done(ONCE, remarks=[remark]))
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(line.strip() for line in lines[2:4]) == remark
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("line", "card", "command"),
    [
        ("-o 'my nets/a.st' --data Set5", {},
         "finetune 'my nets/a.st' --teacher n.st --train-data builtin --eval-data Set5 "
         "-o 'my nets/a-tuned.safetensors'"),
        ("-o a.st", {"arch": "my.nets:Net"},
         "finetune a.st --arch my.nets:Net --train-data builtin -o a-tuned.safetensors"),
        ("-o a.st --method srp --iterations 0 --train-data 'D 1' --train-data E", {},
         "finetune a.st --teacher n.st --train-data 'D 1' --train-data E -o a-tuned.safetensors"),
        ("-o a.st --method srp", {"history": [{"step": "finetune"}]}, "export a.st -o a.onnx"),
        ("-o a.st --method srp", {"history": [{"step": "finetune"}], "arch": "m:N"},
         "export a.st --arch m:N -o a.onnx"),
        ("-o a.st", {"history": [{"step": "finetune"}, {"step": "prune"}]},
         "finetune a.st --teacher n.st --train-data builtin -o a-tuned.safetensors"),
    ],
)  # fmt: skip
def test_the_next_command(
    line: str,
    card: dict[str, Any],
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    small = SimpleNamespace(card=Card.model_construct(**{**CARD, **card}))
    replaced = {**TRAINED, **ONESHOT, **SAVE, SLOWLY: (small, report()), ONCE: (small, report())}
    calls(f"prune n.st {line} --json", replaced)
    assert json.loads(capsys.readouterr().out)["next"] == f"srdeploy {command}"
    calls(f"prune n.st {line}", replaced)
    told = capsys.readouterr().out.partition("\nnext")[2].splitlines()
    assert (told[0] == " (builtin stands for your own training images):") == (
        "--train-data builtin" in command
    )
    assert max(map(len, told)) <= 80
    assert shlex.split("\n".join(told[1:]).replace("\\\n", " ")) == [
        "srdeploy",
        *shlex.split(command),
    ]


def test_a_run_folder_of_another_network_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a-tuned", "a-tuned-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "checkpoint.pt").touch()
    calls("prune n.st -o a.st --json", done(ONCE))
    told = json.loads(capsys.readouterr().out)["next"]
    assert "--run-dir runs/a-tuned-3 -o" in told


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    calls("prune n.st -o out.st --json", done(ONCE))
    document = json.loads(capsys.readouterr().out)
    command = (
        "srdeploy finetune out.st --teacher n.st --train-data builtin -o out-tuned.safetensors"
    )
    facts = {"method": "l1", "widths": {"head.0": 32}, "next": command}
    assert document == {"output": "out.st", **facts}
    for words, run in (("", "runs/out"), ("--run-dir r", "r")):
        calls(f"prune n.st -o out.st --method srp {words} --json", done(SLOWLY))
        assert json.loads(capsys.readouterr().out) == {**document, "run": run}


def test_only_the_first_process_writes(capsys: pytest.CaptureFixture[str]) -> None:
    second = {"srdeploy.train.processes:joined": nullcontext(SimpleNamespace(is_first=False))}
    seen = calls("prune n.st -o out.st --method srp", {**done(SLOWLY), **second})
    assert "save_network.path" not in seen
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["l1", "srp"])
def test_quality_is_measured_on_the_data_and_told(
    method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quality = SimpleNamespace(
        psnr=30.12345,
        protocol="psnr[y]",
        figures={},
        as_dict=lambda: {"psnr_y": 30.0, "per_image": []},
    )
    given: list[Any] = []

    def pruned(network: Any, *_: Any, measure: Any = None, **__: Any) -> Any:
        given.append(measure and measure("dense", SMALL))
        return SMALL, report()

    monkeypatch.setattr(ONCE.replace(":", "."), pruned)
    monkeypatch.setattr(SLOWLY.replace(":", "."), pruned)
    replaced = {
        **{name: one for name, one in {**ONESHOT, **TRAINED, **SAVE}.items() if one is not STOP},
        "srdeploy.quality.evaluate:evaluate": quality,
    }
    line = f"prune n.st -o out.st --method {method}"
    seen = calls(f"{line} --eval-data Set5", replaced)
    assert (seen["evaluate.folder"], seen["evaluate.scale"]) == ("Set5", 2)
    assert given.pop() == {"psnr_y": 30.0, "data": "Set5"}
    assert capsys.readouterr().err == "       dense: 30.123 dB  psnr[y] on Set5\n"
    assert calls(f"{line} --json", replaced)["evaluate.folder"] == "builtin"
    assert capsys.readouterr().err == ""
    given.clear()
    assert "evaluate.folder" not in calls(f"{line} --no-quality", replaced)
    assert given == [None]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *((words, "belong to the methods that train") for words in (
            "--recipe r.yaml --method l1", "--set a=1", "--common-set joint", "--train-data d",
            "--iterations 0", "--threads 2",
        )),
        ("--method srp --criterion l2", "criterion belongs to method l1"),
        ("--recipe r.yaml --criterion l2", "criterion belongs to method l1"),
        ("--method srp --set a=1", "name one with --recipe"),
        ("--method l2", "no pruning method named 'l2'"),
        ("--method l1 --calibration d", "belong to method obs or reconstruct, and to any other"),
        ("--method l1 --no-rotate", "Rotation belongs to method reconstruct"),
        ("--method srp --macs 1G", "A budget of MACs or parameters belongs to method obs or"),
        ("--method obs --ratio auto", "--ratio auto needs a budget"),
        ("--method obs --ratio .5 --macs 1G", "exclude each other"),
        ("--method obs --layer-ratio a=.5 --macs 1G", "exclude each other"),
        ("--method obs --macs 1G --params 2K", "Give one budget"),
        ("--method obs --macs G", "--macs 'G' is no number"),
        ("--ratio half", "--ratio 'half' is no fraction"),
        ("--for trt", "write --round-to auto"),
        ("--round-to 4 --for trt", "write --round-to auto"),
        ("--round-to 4.5", "is no number of channels"),
        ("--round-to -4", "is no number of channels"),
        ("--layer-ratio 0.5", "is not PATTERN=RATIO"),
        ("--layer-ratio a=b", "is not PATTERN=RATIO"),
        ("--iterations -1 --method srp", "--iterations"),
        ("-o a.onnx", "write 'a.safetensors', then export it with `srdeploy export"),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(f"prune n.st -o out.st {words}", {**TRAINED, **ONESHOT}) == 2
    assert told in capsys.readouterr().err
