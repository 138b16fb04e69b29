from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.data.images import write_png
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.train.hooks import StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import starting_network, train
from srdeploy.train.recipe import TrainRecipe
from tests.train.forked import ended

Make = Callable[..., TrainRecipe]


class Hook(StepHook):
    """Acts before one chosen step; remembers how many steps it saw."""

    def __init__(self, at: int = -1, act: Callable[[nn.Module], None] | None = None) -> None:
        self.at, self.act = at, act
        self.before = self.after = 0

    def before_step(self, module: nn.Module, iteration: int) -> None:
        assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
        self.before += 1
        if iteration == self.at and self.act is not None:
            self.act(module)

    def after_step(self, module: nn.Module, iteration: int) -> None:
        self.after += 1

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before, "after": self.after}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before, self.after = state["before"], state["after"]


def weights(network: Network) -> dict[str, torch.Tensor]:
    return network.module.state_dict()


def assert_identical(a: Network, b: Network) -> None:
    assert weights(a).keys() == weights(b).keys()
    for name, tensor in weights(a).items():
        assert torch.equal(tensor, weights(b)[name]), name


def test_learns_and_leaves_the_given_network_alone(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    before = {k: v.clone() for k, v in weights(tiny).items()}
    settings = recipe(iterations=150, log_every=25, optimiser={"kind": "adam", "lr": 3e-3})
    result = train(tiny, settings, tmp_path, step="finetune")
    losses = [entry["loss"] for entry in read_metrics(tmp_path)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[k], v) for k, v in weights(tiny).items())
    assert not tiny.module.training
    assert not result.module.training
    for name in ("sub_mean", "add_mean"):
        layer = getattr(result.module, name)
        assert torch.equal(layer.weight, getattr(tiny.module, name).weight)
        assert torch.equal(layer.bias, getattr(tiny.module, name).bias)
        assert not layer.weight.requires_grad
    entry = result.card.history[-1]
    assert entry["step"] == "finetune"
    assert entry["iterations"] == 150
    assert entry["recipe"] == settings.digest()[:16]


def test_reports_speed_and_the_loaders_share(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    train(tiny, recipe(iterations=10), tmp_path)
    entries = read_metrics(tmp_path)
    assert [e["iteration"] for e in entries] == [5, 10]
    for entry in entries:
        assert entry["images_per_s"] > 0
        assert 0 <= entry["loader_wait"] <= 1
        assert 0 < entry["loader_work"] <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted(
    tiny: Network, recipe: Make, tmp_path: Path, workers: int
) -> None:
    settings = recipe(
        workers=workers,
        ema=0.9,
        schedule={"kind": "cosine", "warmup": 5},
        clip={"kind": "norm", "limit": 1.0},
        checkpoint={"iterations": 5},
    )
    save_network(tiny, tmp_path / "start.safetensors")
    (tmp_path / "recipe.json").write_text(settings.model_dump_json())

    def be_killed() -> None:
        kill = Hook(at=13, act=lambda _: os.kill(os.getpid(), signal.SIGKILL))
        read = TrainRecipe.model_validate_json((tmp_path / "recipe.json").read_text())
        train(read_network(tmp_path / "start.safetensors"), read, tmp_path / "killed", hooks=[kill])

    assert ended(be_killed) == -signal.SIGKILL
    assert [e["iteration"] for e in read_metrics(tmp_path / "killed")] == [5, 10]

    start = read_network(tmp_path / "start.safetensors")
    resumed_from = Hook()  # the killed run carried one hook, so its checkpoint holds one state
    resumed_from.load_state_dict = lambda state: None  # type: ignore[method-assign]
    resumed = train(start, settings, tmp_path / "killed", hooks=[resumed_from])
    assert resumed_from.before == 10
    whole = train(start, settings, tmp_path / "whole")
    assert_identical(resumed, whole)
    assert [e["iteration"] for e in read_metrics(tmp_path / "killed")] == [5, 10, 15, 20]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_say_how_to_resume(
    tiny: Network, recipe: Make, tmp_path: Path, number: signal.Signals
) -> None:
    settings = recipe(iterations=12)
    hook = Hook(at=6, act=lambda _: os.kill(os.getpid(), number))
    previous = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=r"after iteration 7 of 12.*repeat the command"):
        train(tiny, settings, tmp_path / "stopped", hooks=[hook])
    assert signal.getsignal(number) is previous
    rest = Hook()
    resumed = train(tiny, settings, tmp_path / "stopped", hooks=[rest])
    assert rest.before == rest.after == 12
    assert_identical(resumed, train(tiny, settings, tmp_path / "whole"))


def test_a_finished_run_is_not_repeated(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    first = train(tiny, recipe(iterations=6, ema=0.9), tmp_path)
    with pytest.raises(UserError, match="0 hooks and is resumed with 1"):
        train(tiny, recipe(iterations=6, ema=0.9), tmp_path, hooks=[Hook()])
    again = train(tiny, recipe(iterations=6, ema=0.9), tmp_path)
    assert_identical(first, again)


def test_starting_over(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    train(tiny, recipe(iterations=6), tmp_path)
    with pytest.raises(UserError, match="iterations: was 6, is 4"):
        train(tiny, recipe(iterations=4), tmp_path)
    train(tiny, recipe(iterations=4), tmp_path, resume=False)
    assert [e["iteration"] for e in read_metrics(tmp_path)] == [4]


def test_divergence_keeps_the_last_good_checkpoint(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    def poison(module: nn.Module) -> None:
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(float("nan"))

    settings = recipe(checkpoint={"iterations": 4}, log_every=2)
    with pytest.raises(SrdeployError, match=r"diverged.*last good.*lower the"):
        train(tiny, settings, tmp_path / "bad", hooks=[Hook(at=9, act=poison)])
    healed = train(tiny, settings, tmp_path / "bad", hooks=[Hook()])
    assert_identical(healed, train(tiny, settings, tmp_path / "whole"))


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16", "ema": 0.9},
        {"precision": "fp16"},
        {"loss": "l2", "clip": {"kind": "adjustable", "limit": 0.01}},
        {"optimiser": {"kind": "sgd", "lr": 1e-4, "weight_decay": 1e-4}, "channels_last": False},
        {"schedule": {"kind": "step", "every": 4}, "clip": {"kind": "value", "limit": 0.1}},
    ],
    ids=lambda s: "-".join(s),
)
def test_every_setting_trains_and_resumes(
    tiny: Network, recipe: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    chosen = recipe(iterations=8, **settings)
    stop = Hook(at=3, act=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingStopped):
        train(tiny, chosen, tmp_path / "stopped", hooks=[stop])
    resumed = train(tiny, chosen, tmp_path / "stopped", hooks=[Hook()])
    whole = train(tiny, chosen, tmp_path / "whole")
    assert_identical(resumed, whole)
    assert not torch.equal(weights(whole)["head.0.weight"], weights(tiny)["head.0.weight"])


def test_luma_networks_train_at_several_scales(
    tiny_vdsr: Network, recipe: Make, tmp_path: Path
) -> None:
    settings = recipe(scales=[2, 3, 4], patch=16, iterations=40, log_every=10)
    settings = settings.model_copy(update={"workers": 1})
    train(tiny_vdsr, settings, tmp_path)
    losses = [entry["loss"] for entry in read_metrics(tmp_path)]
    assert losses[-1] < losses[0]


def test_validation_follows_the_average_and_keeps_the_best(
    tiny: Network, recipe: Make, photographs: Path, tmp_path: Path
) -> None:
    settings = recipe(
        iterations=12,
        ema=0.5,
        validation={"data": str(photographs), "every": 4},
        optimiser={"kind": "adam", "lr": 3e-3},
    )
    result = train(tiny, settings, tmp_path)
    measured = [entry for entry in read_metrics(tmp_path) if "psnr_y" in entry]
    assert [entry["iteration"] for entry in measured] == [4, 8, 12]
    assert "psnr[y" in measured[0]["protocol"]
    best = max(range(3), key=lambda i: measured[i]["psnr_y"])
    assert (tmp_path / "best.safetensors").exists()
    if best == 2:
        assert_identical(read_network(tmp_path / "best.safetensors"), result)
    json.dumps(measured)


def test_starting_network_depends_on_the_seed_alone(recipe: Make) -> None:
    spec = {"arch": "ledsr", "config": {"n_blocks": 1, "n_feats": 4}}
    first = starting_network(recipe(network=spec, seed=3))
    torch.rand(5)
    assert_identical(first, starting_network(recipe(network=spec, seed=3)))
    other = starting_network(recipe(network=spec, seed=4))
    assert not torch.equal(weights(first)["head.0.weight"], weights(other)["head.0.weight"])
    with pytest.raises(UserError, match="no `network` section"):
        starting_network(recipe())


def test_starting_from_another_network_takes_what_fits(recipe: Make, tmp_path: Path) -> None:
    config = {"n_blocks": 1, "n_feats": 4}
    first = starting_network(recipe(network={"arch": "ledsr", "config": {**config, "scale": 2}}))
    save_network(first, tmp_path / "x2.safetensors")
    spec = {"arch": "ledsr", "config": {**config, "scale": 3}}
    recipe_x3 = recipe(network={**spec, "start": str(tmp_path / "x2.safetensors")}, seed=9)
    second = starting_network(recipe_x3)
    for name, tensor in weights(second).items():
        if name.startswith("tail"):
            assert tensor.shape != weights(first)[name].shape
        else:
            assert torch.equal(tensor, weights(first)[name]), name
    assert second.card.history[-1]["at_random"] == ["tail.0.bias", "tail.0.weight"]
    assert_identical(second, starting_network(recipe_x3))
    save_network(create("vdsr", n_layers=3, n_feats=4), tmp_path / "vdsr.safetensors")
    with pytest.raises(UserError, match=r"No tensor of '.*vdsr.safetensors' fits"):
        starting_network(recipe(network={**spec, "start": str(tmp_path / "vdsr.safetensors")}))


def test_no_gpu(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="finds no GPU"):
        train(tiny, recipe(device="cuda"), tmp_path)


def test_run_folder_that_is_a_file(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="is a file"):
        train(tiny, recipe(), tmp_path / "run")


def test_folder_without_images(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        train(tiny, recipe(data={"folders": [str(tmp_path / "empty")]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_grey_and_alpha_images(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    write_png(tmp_path / "data" / "grey.png", np.full((40, 40), 9, np.uint8))
    settings = recipe(data={"folders": [str(tmp_path / "data")]}, iterations=2)
    train(tiny, settings, tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["iteration"] == 2
