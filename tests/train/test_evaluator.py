"""NNI's own training-aware pruner runs on the loop, so the evaluator is a true one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nni.compression.pruning import TaylorPruner
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.pruning.methods.srp import SRPPruner
from srdeploy.pruning.methods.training import TrainedOptions, check_fit
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.quality.evaluate import evaluate
from srdeploy.train.evaluator import LoopEvaluator
from srdeploy.train.journal import read_metrics
from srdeploy.train.recipe import TrainRecipe

Make = Callable[..., TrainRecipe]


def srp(network: Network, evaluator: LoopEvaluator) -> SRPPruner:
    penalty = {"growth": 1.0, "every": 1, "limit": 2.0, "hold": 1}
    options = TrainedOptions(method="srp", ratio=0.5, exclude=("tail.*",), penalty=penalty)
    grouping = find_groups(network)
    counts = check_fit(grouping, options)
    return SRPPruner(network.module, grouping, counts, options, evaluator)


def test_nnis_taylor_pruner_trains_and_masks(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    evaluator = LoopEvaluator(tiny.card, recipe(channels_last=False), tmp_path)
    config = [{"op_names": ["head.0"], "sparse_ratio": 0.5}]
    before = tiny.module.head[0].weight.detach().clone()
    pruner = TaylorPruner(tiny.module, config, evaluator, training_steps=3)
    _, masks = pruner.compress()
    assert masks["head.0"]["weight"].flatten(1).amax(1).sum() == 2
    pruner.unwrap_model()
    assert not torch.equal(tiny.module.head[0].weight, before)


def test_the_pruner_is_unwrapped_before_it_trains(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    kinds = [type(m) for m in tiny.module.modules()]
    pruner = srp(tiny, LoopEvaluator(tiny.card, recipe(), tmp_path))
    assert [type(m) for m in tiny.module.modules()] == kinds
    assert not any("forward" in m.__dict__ for m in tiny.module.modules())
    names = [n for n, p in tiny.module.named_parameters()]
    model, _ = pruner.compress()
    assert model is tiny.module
    assert [n for n, _ in model.named_parameters()] == names
    assert not model.training


def test_masks_say_what_went_and_cover_coupled_layers_alike(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    pruner = srp(tiny, LoopEvaluator(tiny.card, recipe(), tmp_path))
    _, masks = pruner.compress()
    kept = {name: targets["weight"].flatten(1).amax(1) for name, targets in masks.items()}
    assert set(kept) == {"head.0", "body.0.body.0", "body.0.body.2", "body.1"}
    assert torch.equal(kept["head.0"], kept["body.1"])
    assert torch.equal(masks["head.0"]["bias"], kept["head.0"])
    for name, mask in kept.items():
        assert mask.sum() == 2, name


def test_patches_reach_the_loss_and_are_taken_away(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    evaluator = LoopEvaluator(tiny.card, recipe(iterations=2, log_every=1), tmp_path)
    seen: list[int] = []
    evaluator._init_optimizer_helpers(tiny.module)
    evaluator.bind_model(tiny.module)
    evaluator.patch_loss(lambda loss, batch: seen.append(evaluator.iteration) or loss * 0)
    before = tiny.module.head[0].weight.detach().clone()
    evaluator.finetune()
    assert seen == [0, 1]
    assert torch.equal(tiny.module.head[0].weight, before)
    evaluator.unbind_model()
    assert not evaluator.loss_patches
    assert evaluator.model is None


def test_evaluates_the_bound_model(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    evaluator = LoopEvaluator(tiny.card, recipe(), tmp_path)
    assert evaluator.evaluate() is None
    dummy = evaluator.get_dummy_input()
    assert tiny.module(dummy).shape == (1, 3, 32, 32)


def test_a_run_with_more_to_remember_is_refused(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    first = LoopEvaluator(tiny.card, recipe(iterations=2), tmp_path)
    first._init_optimizer_helpers(tiny.module)
    first.bind_model(tiny.copy().module)
    first.train()
    with pytest.raises((UserError, ValueError)):
        srp(tiny, LoopEvaluator(tiny.card, recipe(), tmp_path)).compress(2, None)
    assert isinstance(tiny.module, nn.Module)


@pytest.mark.parametrize(("multiple", "side"), [(1, 16), (2, 16), (12, 24), (16, 16), (17, 17)])
def test_the_dummy_input_fits_the_network(
    tiny: Network, recipe: Make, tmp_path: Path, multiple: int, side: int
) -> None:
    card = tiny.card.model_copy(update={"size_multiple": multiple, "channels": 5})
    dummy = LoopEvaluator(card, recipe(), tmp_path).get_dummy_input()
    assert dummy.shape == (1, 5, side, side)


def test_what_is_regularised_is_never_chosen_by_its_quality(
    tiny: Network, recipe: Make, photographs: Path, tmp_path: Path
) -> None:
    check = {"data": str(photographs), "every": 1, "keep": "best"}
    evaluator = LoopEvaluator(tiny.card, recipe(iterations=3, validation=check), tmp_path)
    evaluator.bind_model(tiny.module)
    evaluator.train()
    assert len(read_metrics(tmp_path)) == 4  # a report and three measurements, none of a start
    assert not (tmp_path / "best.safetensors").exists()
    assert evaluator.evaluate() is not None
    held = recipe(validation={"data": "held-out", "every": 1})
    assert LoopEvaluator(tiny.card, held, tmp_path).evaluate() is None


def test_evaluates_on_what_the_recipe_validates_with(
    tiny: Network, recipe: Make, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICTURES", str(photographs))
    for data, folder in (("$PICTURES", photographs), ("builtin", "builtin")):
        settings = recipe(validation={"data": data, "every": 5})
        evaluator = LoopEvaluator(tiny.card, settings, tmp_path)
        assert evaluator.evaluate() is None  # nothing is bound
        evaluator.bind_model(tiny.module)
        wanted = evaluate(Network(tiny.module, tiny.card), folder, 2, progress=False).psnr
        assert evaluator.evaluate() == wanted
    evaluator = LoopEvaluator(tiny.card, recipe(), tmp_path)
    evaluator.bind_model(tiny.module)
    assert evaluator.evaluate() is None  # nor is anything to be measured on


def test_the_scale_and_protocol_of_the_validation_are_used(
    tiny_vdsr: Network, recipe: Make, tmp_path: Path, photographs: Path
) -> None:
    check = {"data": str(photographs), "every": 5, "scale": 3, "protocol": "srcnn"}
    evaluator = LoopEvaluator(tiny_vdsr.card, recipe(validation=check), tmp_path)
    evaluator.bind_model(tiny_vdsr.module)
    network = Network(tiny_vdsr.module, tiny_vdsr.card)
    told = evaluate(network, photographs, 3, "srcnn", progress=False).psnr
    assert evaluator.evaluate() == told
    assert told != evaluate(network, photographs, 2, "srcnn", progress=False).psnr
    assert told != evaluate(network, photographs, 3, progress=False).psnr
