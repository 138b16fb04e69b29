"""Masks in training: the temperature falls, the loss weighs in, runs resume exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.train.defaults import finetune_recipe
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import starting_network, train
from srdeploy.train.recipe import Sparsity, TrainRecipe
from srdeploy.train.sparsity import SparsityHook, hard_density

Make = Callable[..., TrainRecipe]
MASKS = {"weight": 1.0, "warmup": 8, "start": 1.0, "end": 0.4, "anneal": 10}


@pytest.fixture
def smsr() -> Network:
    torch.manual_seed(0)
    return create("smsr", n_modules=2, n_layers=2, n_feats=6, mask_feats=4, reduction=2)


class Watch(StepHook):
    """Notes the temperature that the network really had in each iteration."""

    def __init__(self) -> None:
        self.seen: list[float | None] = []

    def adjust_loss(self, loss: torch.Tensor, forward: Forward, iteration: int) -> torch.Tensor:
        assert self.module.temperature is not None
        self.seen.append(self.module.temperature)
        return loss

    def attach(self, module: torch.nn.Module) -> None:
        assert isinstance(module, SMSR)
        self.module = module


def test_the_temperature_falls_where_it_is_used(
    smsr: Network, recipe: Make, tmp_path: Path
) -> None:
    watch = Watch()
    result = train(smsr, recipe(sparsity=MASKS, iterations=12), tmp_path, hooks=[watch])
    expected = [1 - 0.06 * i for i in range(10)] + [0.4, 0.4]
    assert watch.seen == pytest.approx(expected)
    assert isinstance(result.module, SMSR)
    assert result.module.temperature is None  # detached: masks are hard again


def test_weight_and_loss(smsr: Network) -> None:
    hook = SparsityHook(smsr, Sparsity.model_validate(MASKS))
    assert [hook.weight(i) for i in (0, 4, 8, 100)] == [0, 0.5, 1, 1]
    hook.attach(smsr.module)
    smsr.module.train()
    x = torch.rand(2, 3, 8, 8) * 255
    for iteration in (0, 4, 100):
        hook.before_forward(smsr.module, iteration)
        y = smsr.module(x)
        added = hook.adjust_loss(torch.zeros(()), Forward(x, y, y), iteration)
        assert float(added.detach()) == pytest.approx(hook.weight(iteration) * 0.7, rel=0.4)
    added.backward()
    for module in smsr.module.mask_modules():
        assert float(module.spa_mask[-1].weight.grad.abs().sum()) > 0
        assert all(float(mask.sparse.grad.max()) < 0 for mask in module.body.ch_mask)
    hook.detach()


def test_a_stopped_run_resumes_to_the_bit(smsr: Network, recipe: Make, tmp_path: Path) -> None:
    whole = recipe(sparsity=MASKS, iterations=12, checkpoint={"minutes": None, "iterations": 5})
    once = train(smsr, whole, tmp_path / "once")

    class Kill(StepHook):
        def before_step(self, module: torch.nn.Module, iteration: int) -> None:
            if iteration == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(smsr, whole, tmp_path / "twice", hooks=[Kill()])
    twice = train(smsr, whole, tmp_path / "twice", hooks=[StepHook()])
    again = twice.module.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in once.module.state_dict().items())
    rows = [[r for r in read_metrics(tmp_path / n) if "density" in r] for n in ("once", "twice")]
    for a, b in zip(*rows, strict=True):
        assert {k: a[k] for k in ("density", "density_soft", "temperature", "loss")} == {
            k: b[k] for k in ("density", "density_soft", "temperature", "loss")
        }


def test_the_reported_density_is_that_of_inference(
    smsr: Network, recipe: Make, tmp_path: Path
) -> None:
    train(smsr, recipe(sparsity=MASKS, iterations=10), tmp_path)
    (first, last) = [r for r in read_metrics(tmp_path) if "density" in r]
    assert 0 <= last["density"] <= 1
    assert 0 < last["density_soft"] < 1
    assert (first["temperature"], last["sparsity_weight"]) == (pytest.approx(0.76), 1.0)
    with torch.no_grad():
        for one in smsr.module.mask_modules():
            one.spa_mask[-1].bias.copy_(torch.tensor([9.0, -9.0]))
            one.body.ch_mask[0].dense.fill_(2.0)  # all dense
            one.body.ch_mask[1].dense.fill_(-2.0)  # all sparse, and the mask is empty
    smsr.module.train()
    assert hard_density(smsr.module, torch.rand(1, 3, 8, 8)).tolist() == [[1.0, 0.0]] * 2
    assert smsr.module.training


def test_more_weight_less_density(smsr: Network, recipe: Make, tmp_path: Path) -> None:
    def density(weight: float) -> float:
        settings = {"weight": weight, "start": 0.4}
        lr = {"kind": "adam", "lr": 0.02}
        run = recipe(sparsity=settings, iterations=60, optimiser=lr, log_every=60)
        train(smsr, run, tmp_path / str(weight))
        return read_metrics(tmp_path / str(weight))[-1]["density"]

    assert density(30.0) < density(0.0) - 0.2


def test_without_the_section_masks_stay(smsr: Network, recipe: Make, tmp_path: Path) -> None:
    tuned = train(smsr, recipe(iterations=3), tmp_path).module.state_dict()
    before = smsr.module.state_dict()
    masks = [name for name in before if ".ch_mask." in name or ".spa_mask." in name]
    assert all(torch.equal(before[name], tuned[name]) for name in masks)
    assert not torch.equal(before["head.0.weight"], tuned["head.0.weight"])


def test_defaults_and_refusals(tiny: Network, smsr: Network, recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is for the masks of SMSR"):
        train(tiny, recipe(sparsity=MASKS), tmp_path)
    spec = {"arch": "smsr", "config": {"n_modules": 1}}
    with pytest.raises(UserError, match="add a `sparsity` section"):
        starting_network(recipe(network=spec))
    assert finetune_recipe(smsr.card, None, {}).sparsity == Sparsity(start=0.4, end=0.4)
    assert finetune_recipe(tiny.card, None, {}).sparsity is None


def test_old_digests_are_as_they_were(recipe: Make) -> None:
    assert not any(key.startswith("sparsity") for key in recipe().decisive())
    assert "sparsity.anneal" in recipe(sparsity=MASKS).decisive()
