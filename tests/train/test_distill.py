from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.train.distill import DistillHook, attention
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.loop import train
from srdeploy.train.patches import FolderPatches
from srdeploy.train.recipe import Distillation, TrainRecipe

Make = Callable[..., TrainRecipe]


def one_pass(network: Network) -> Forward:
    torch.manual_seed(1)
    inputs = torch.rand(2, 3, 6, 6) * 255
    return Forward(inputs, network.module(inputs), torch.rand(2, 3, 12, 12) * 255)


def teacher_of(tiny: Network) -> Network:
    torch.manual_seed(7)
    return create("ledsr", n_blocks=1, n_feats=6)


def test_output_term_is_the_loss_against_the_teacher(tiny: Network, recipe: Make) -> None:
    teacher = teacher_of(tiny)
    hook = DistillHook(teacher, tiny, Distillation(output=0.3), recipe())
    hook.attach(tiny.module)
    forward = one_pass(tiny)
    loss = functional.l1_loss(forward.outputs, forward.targets)
    with torch.no_grad():
        wanted = teacher.module(forward.inputs)
    total = hook.adjust_loss(loss, forward, 0)
    torch.testing.assert_close(
        total, 0.7 * loss + 0.3 * functional.l1_loss(forward.outputs, wanted)
    )
    total.backward()
    assert all(p.grad is None for p in teacher.module.parameters())


def test_feature_term_compares_where_layers_respond(tiny: Network, recipe: Make) -> None:
    teacher = teacher_of(tiny)
    settings = Distillation(output=0.0, features=2.0, layers=("body.0.*",))
    module = copy.deepcopy(tiny.module)
    hook = DistillHook(teacher, tiny, settings, recipe())
    hook.attach(module)
    forward = one_pass(Network(module, tiny.card))
    total = hook.adjust_loss(torch.zeros(()), forward, 0)
    seen: dict[str, torch.Tensor] = {}
    expected = []
    for name in ("body.0.body.0", "body.0.body.2"):
        maps = []
        for network in (tiny.module, teacher.module):
            handle = network.get_submodule(name).register_forward_hook(
                lambda layer, inputs, output: seen.update(x=output.detach().clone())
            )
            network(forward.inputs)
            handle.remove()
            maps.append(functional.normalize(seen["x"].square().mean(1).flatten(1), dim=1))
        expected.append((maps[0] - maps[1]).square().sum(1).mean())
    torch.testing.assert_close(total, 2 * torch.stack(expected).mean(), rtol=1e-4, atol=1e-6)
    hook.detach()
    assert not any(layer._forward_hooks for layer in module.modules())


def test_attention_is_of_unit_length_whatever_the_width() -> None:
    maps = attention(torch.randn(3, 5, 4, 6))
    assert maps.shape == (3, 24)
    torch.testing.assert_close(maps.norm(dim=1), torch.ones(3))


def test_learns_towards_the_dense_network(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    small, _ = prune_oneshot(tiny, PruneOptions(ratio=0.5, exclude=("tail.*",)))

    inputs, _ = FolderPatches(tiny.card, recipe()).batch(999).to(torch.device("cpu"))

    def distance(network: Network) -> float:
        with torch.no_grad():
            return float((network.module(inputs) - tiny.module(inputs)).abs().mean())

    settings = recipe(
        iterations=100, optimiser={"kind": "adam", "lr": 5e-3}, distill={"output": 1.0}
    )
    after = train(small, settings, tmp_path, teacher=tiny)
    assert distance(after) < 0.7 * distance(small)


def test_the_teacher_of_a_file_and_of_another_file(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    path = tmp_path / "teacher.safetensors"
    save_network(teacher_of(tiny), path)
    settings = recipe(iterations=4, distill={"teacher": str(path), "features": 0.1})
    train(tiny, settings, tmp_path / "run")
    save_network(tiny, path)
    with pytest.raises(UserError, match="another teacher"):
        train(tiny, settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 3}, "teacher's scale is 3 and the network's 2"),
        ({"value_range": 1.0}, "teacher's value_range"),
    ],
)
def test_a_teacher_of_other_images_is_refused(
    tiny: Network, recipe: Make, change: dict[str, Any], message: str
) -> None:
    teacher = create("ledsr", n_blocks=1, n_feats=4, **change)
    with pytest.raises(UserError, match=message):
        DistillHook(teacher, tiny, Distillation(), recipe())


def test_patterns_must_name_a_layer_of_both(tiny: Network, recipe: Make) -> None:
    with pytest.raises(UserError, match=r"matches \['tial.*'\]; they share: sub_mean, .*head.0"):
        DistillHook(tiny, tiny, Distillation(features=1, layers=("tial.*",)), recipe())


def test_no_teacher(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set `distill.teacher`"):
        train(tiny, recipe(distill={}), tmp_path)


def test_a_teacher_that_writes_into_its_input_changes_nothing(tiny: Network, recipe: Make) -> None:
    class InPlace(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            x *= 0.5
            return self.inner(x)

    teacher = teacher_of(tiny)
    settings = Distillation(output=0.3)
    hook = DistillHook(Network(InPlace(teacher.module), teacher.card), tiny, settings, recipe())
    hook.attach(tiny.module)
    forward = one_pass(tiny)
    kept = forward.inputs.clone()
    hook.adjust_loss(functional.l1_loss(forward.outputs, forward.targets), forward, 0)
    assert torch.equal(forward.inputs, kept)


def test_hooks_see_the_images_whatever_the_network_did_to_its_own(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    class Seen(StepHook):
        largest = 0.0

        def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
            self.largest = float(forward.inputs.abs().max())
            return loss

    network, seen = tiny.copy(), Seen()
    network.module.register_forward_pre_hook(lambda _, given: given[0].mul_(0.0))
    train(network, recipe(iterations=1), tmp_path / "run", hooks=[seen])
    assert seen.largest > 1
