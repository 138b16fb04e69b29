"""Real processes under torchrun train and prune as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from srdeploy.models.count import count
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import train
from srdeploy.train.method import PruneRecipe, prune_trained
from srdeploy.train.recipe import TrainRecipe
from tests.train.several import At, Shrink

Make = Callable[..., TrainRecipe]


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start real processes; they find each other on this machine only."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", str(count), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def settings(recipe: Make) -> TrainRecipe:
    return recipe(
        ema=0.9,
        clip={"kind": "norm", "limit": 0.5},
        schedule={"kind": "cosine", "warmup": 4},
        checkpoint={"iterations": 10},
    )


@pytest.fixture
def root(tiny: Network, settings: TrainRecipe, tmp_path: Path) -> Path:
    save_network(tiny, tmp_path / "start.safetensors")
    (tmp_path / "recipe.json").write_text(settings.model_dump_json())
    return tmp_path


def assert_close(a: Network, b: Network) -> None:
    theirs = b.module.state_dict()
    for name, tensor in a.module.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=2e-6, msg=name)


def test_two_processes_are_one(tiny: Network, settings: TrainRecipe, root: Path) -> None:
    whole = train(tiny, settings, root / "one", hooks=[Shrink(), At(-1, "")])
    with pytest.raises(TrainingStopped):  # to be resumed by two
        train(tiny, settings, root / "grows", hooks=[Shrink(), At(6, "SIGTERM")])

    done = torchrun(
        2, "-m", "tests.train.several", str(root),
        "two", "grows", "shrinks:SIGTERM:1:12", "diverges:nan:1:3", "drifts:drift:1:5", "keeps",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reports = [json.loads((root / f"report-{rank}.json").read_text()) for rank in range(2)]
    first, second = reports

    assert_close(read_network(root / "two-0.safetensors"), whole)
    assert (root / "two-0.safetensors").read_bytes() == (root / "two-1.safetensors").read_bytes()
    for one, two in zip(read_metrics(root / "one"), read_metrics(root / "two"), strict=True):
        assert one["iteration"] == two["iteration"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)

    assert_close(read_network(root / "grows-0.safetensors"), whole)

    for report in reports:  # a signal to one stops both at the same iteration
        assert report["shrinks"].startswith("TrainingStopped: Stopped after iteration 13 of 20")
        assert report["diverges"].startswith("SrdeployError: Training diverged before iteration 5")
        assert report["drifts"].startswith("SrdeployError: The weights are not the same in all 2")
    resumed = train(tiny, settings, root / "shrinks", hooks=[Shrink(), At(-1, "")])
    assert_close(resumed, whole)

    kept = [read_network(root / f"keeps-{rank}.safetensors") for rank in range(2)]  # the start
    assert kept[0].card == kept[1].card
    assert kept[0].card.history[-1]["kept"]["iteration"] == 0
    for network in kept:
        assert_close(network, tiny)
    assert [e["iteration"] for e in read_metrics(root / "keeps") if "psnr_y" in e] == [0, 4, 8]

    assert first["writes"] == ["two", "two", "grows", "grows", "shrinks", "shrinks", "keeps"]
    assert second["writes"] == []
    assert first["threads"] == second["threads"] == []  # the group is gone before the process is
    assert [p.name for p in sorted((root / "two").iterdir())] == [
        "checkpoint.pt",
        "metrics.jsonl",
        "recipe.yaml",
    ]


@pytest.mark.slow
def test_pruning_by_two_is_pruning_by_one(settings: TrainRecipe, root: Path) -> None:
    torch.manual_seed(1)
    start = create("ledsr", scale=2, n_blocks=2, n_feats=6)
    save_network(start, root / "start.safetensors")
    training = settings.model_dump(mode="json", exclude={"iterations", "scales"})
    penalty = {"growth": 0.5, "every": 2, "limit": 3, "hold": 2}
    methods: dict[str, dict[str, Any]] = {
        "srp": {"common_set": "joint", "penalty": penalty},
        "assl": {"penalty": penalty, "alignment": {"iterations": 4}},
    }
    alone = {}
    for name, options in methods.items():
        recipe = PruneRecipe.model_validate(
            {
                "prune": {"method": name, "ratio": 0.5, "exclude": ["tail.*"], **options},
                "training": training,
                "finetune": {"iterations": 6},
            }
        )
        (root / f"prune-{name}.json").write_text(recipe.model_dump_json(exclude_none=True))
        alone[name], _ = prune_trained(start, recipe, root / f"prune-{name}-one")
        assert count(alone[name]).params < 0.5 * count(start).params
    done = torchrun(2, "-m", "tests.train.several", str(root), "prune")
    assert done.returncode == 0, done.stderr
    for name in methods:
        first, second = (root / f"prune-{name}-{rank}.safetensors" for rank in range(2))
        assert first.read_bytes() == second.read_bytes()
        assert_close(read_network(first), alone[name])
        stages = [read_metrics(root / f"prune-{name}-{k}" / "regularise") for k in ("one", "two")]
        for one, two in zip(*stages, strict=True):
            for key in ("loss", "penalty", "pruned", "kept"):
                assert two[key] == pytest.approx(one[key], rel=1e-4)


@pytest.mark.slow
def test_death_of_one_process_ends_the_others(root: Path) -> None:
    started = time.monotonic()
    done = torchrun(2, "-m", "tests.train.several", str(root), "killed:SIGKILL:1:12")
    assert done.returncode != 0
    assert time.monotonic() - started < 60
    assert "rank 0: Another process of this run has ended" in done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert (root / "killed" / "checkpoint.pt").exists()


@pytest.mark.slow
def test_command_line_writes_once(settings: TrainRecipe, tmp_path: Path) -> None:
    spec = {"arch": "ledsr", "config": {"scale": 2, "n_blocks": 1, "n_feats": 4}}
    values = settings.model_dump(mode="json", exclude_none=True)
    (tmp_path / "recipe.yaml").write_text(json.dumps(values | {"network": spec, "iterations": 4}))
    output = tmp_path / "out.safetensors"
    done = torchrun(
        2, "-m", "srdeploy", "train", str(tmp_path / "recipe.yaml"), "--run-dir",
        str(tmp_path / "run"), "--json", "-o", str(output),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["iterations"] == 4  # printed once
    assert read_network(output).card.history[-1]["batch"] == 4
