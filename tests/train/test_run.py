"""One iteration by hand, and whose weights it moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.models.network import Network
from srdeploy.train.hooks import StepHook
from srdeploy.train.patches import FolderPatches
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run

Make = Callable[..., TrainRecipe]


def batch_of(network: Network, recipe: TrainRecipe) -> Any:
    return FolderPatches(network.card, recipe).batch(0)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_two_steps_by_hand(tiny: Network, recipe: Make, decay: float, momentum: float) -> None:
    sgd = {"kind": "sgd", "lr": 1e-4, "momentum": momentum, "weight_decay": decay}
    settings = recipe(
        optimiser=sgd, iterations=4, channels_last=False, loss="l2",
        schedule={"kind": "constant", "warmup": 2},
    )  # fmt: skip
    batch = batch_of(tiny, settings)
    inputs, targets = batch.to(torch.device("cpu"))
    module = tiny.copy().module.train()
    trained = [p for p in module.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(p) for p in trained]
    run = Run(tiny, settings, ())
    for step in range(2):
        loss = (module(inputs) - targets).square().mean()
        gradients = torch.autograd.grad(loss, trained)
        told = run.advance(batch)
        assert float(told) == pytest.approx(float(loss.detach()), rel=1e-5)
        for index, parameter in enumerate(trained):
            slope = gradients[index] + decay * parameter.detach()
            velocity[index] = momentum * velocity[index] + slope
            with torch.no_grad():
                parameter -= 1e-4 * (step + 1) / 2 * velocity[index]
            torch.testing.assert_close(run.parameters[index].detach(), parameter.detach())
    assert run.iteration == 2


def test_hooks_see_clipped_gradients_and_the_average_follows(tiny: Network, recipe: Make) -> None:
    seen: list[float] = []

    class Look(StepHook):
        def before_step(self, module: nn.Module, iteration: int) -> None:
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            seen.append(float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()))

    settings = recipe(clip={"kind": "norm", "limit": 0.01}, ema=0.5)
    run = Run(tiny, settings, [Look()])
    start = {n: p.detach().clone() for n, p in run.module.named_parameters()}
    run.advance(batch_of(tiny, settings))
    assert seen == pytest.approx([0.01], rel=1e-3)
    averaged = run.averaged().module.state_dict()
    decay = min(0.5, 1 / 10)
    for name, parameter in run.module.named_parameters():
        if parameter.requires_grad:
            wanted = decay * start[name] + (1 - decay) * parameter.detach()
            torch.testing.assert_close(averaged[name], wanted)


def test_adam_gets_its_settings(tiny: Network, recipe: Make) -> None:
    adam = {"kind": "adam", "lr": 0.5, "betas": [0.1, 0.2], "eps": 1e-3, "weight_decay": 0.3}
    (group,) = Run(tiny, recipe(optimiser=adam), ()).optimiser.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (
        0.5, (0.1, 0.2), 1e-3, 0.3,
    )  # fmt: skip
    assert len(group["params"]) == len([p for p in tiny.module.parameters() if p.requires_grad])


@pytest.mark.parametrize("in_place", [True, False])
def test_whose_module_is_trained(tiny: Network, recipe: Make, in_place: bool) -> None:
    settings = recipe()
    before = tiny.module.head[0].weight.detach().clone()
    run = Run(tiny, settings, (), in_place)
    assert run.module.training
    run.advance(batch_of(tiny, settings))
    assert (run.module is tiny.module) == in_place
    assert torch.equal(tiny.module.head[0].weight, before) != in_place
    assert torch.equal(run.network.module.head[0].weight, before)
    assert not run.averaged().module.training


def test_a_fingerprint_tells_one_bit(tiny: Network, recipe: Make) -> None:
    run = Run(tiny, recipe(), ())
    before = run.fingerprint()
    with torch.no_grad():
        last = run.parameters[-1].view(-1)
        last[0] = torch.nextafter(last[0], last[0] + 1)
    assert run.fingerprint() != before
