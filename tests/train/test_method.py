from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.compacting.run import prune_oneshot
from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct import run as run_module
from srdeploy.reconstruct.run import prune_by_cost
from srdeploy.train.evaluator import LoopEvaluator
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import train
from srdeploy.train.method import PruneRecipe, prune_trained
from srdeploy.train.patches import FolderPatches
from srdeploy.train.recipe import TrainRecipe
from tests.pruning.helpers import user_network
from tests.pruning.zoo import RCAB, conv
from tests.pruning.zoo import Network as Zoo
from tests.train.forked import ended

FAST = {"growth": 0.5, "every": 2, "limit": 2.0, "hold": 4}

Make = Callable[..., PruneRecipe]


@pytest.fixture
def pruning(photographs: Path) -> Make:
    """Make a pruning recipe on the photographs; keywords go into its ``prune`` section."""

    def make(finetune: dict[str, Any] | None = None, lr: float = 1e-3, **prune: Any) -> PruneRecipe:
        options = {
            "method": "srp",
            "ratio": 0.5,
            "exclude": ["tail.*"],
            "penalty": FAST,
            "alignment": {"iterations": 4},
            "search": {"growth": 0.5, "every": 2, "limit": 1.0},
        }
        training = {
            "data": {"folders": [str(photographs)]},
            "patch": 8,
            "batch": 2,
            "log_every": 4,
            "threads": 1,
            "workers": 0,
        }
        return PruneRecipe.model_validate(
            {
                "prune": options | prune,
                "training": training,
                "regularise": {"optimiser": {"kind": "adam", "lr": lr}},
                "finetune": finetune or {"iterations": 3},
            }
        )

    return make


def mean_shift_of(network: Network) -> list[torch.Tensor]:
    return [
        tensor
        for name in ("sub_mean", "add_mean")
        for tensor in getattr(network.module, name).state_dict().values()
    ]


@pytest.mark.parametrize("method", ["srp", "assl", "gassl"])
@pytest.mark.parametrize(
    "config",
    [
        {"arch": "vdsr", "n_layers": 4, "n_feats": 6},
        {"arch": "edsr", "scale": 3, "n_blocks": 1, "n_feats": 6},
        {"arch": "ledsr", "n_blocks": 2, "n_feats": 6},
        {"arch": "rirsr", "n_groups": 2, "n_blocks": 1, "n_feats": 6},
    ],
    ids=lambda config: config["arch"],
)
def test_every_method_on_every_architecture(
    method: str, config: dict[str, Any], pruning: Make, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = create(**config)
    exclude = [] if config["arch"] == "vdsr" else ["tail.*"]
    recipe = pruning(method=method, exclude=exclude)
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    stages: dict[str, Network] = {}
    small, report = prune_trained(
        network, recipe, tmp_path, measure=lambda stage, n: stages.update({stage: n}) or {}
    )
    assert list(stages) == ["dense", "regularised", "compact", "tuned"]
    assert all(torch.equal(v, before[k]) for k, v in network.module.state_dict().items())
    assert report.after.params < report.before.params
    assert report.proof["max_difference"] <= report.proof["tolerance"]
    assert not [k for k in small.module.state_dict() if "parametrizations" in k]
    assert [entry["step"] for entry in small.card.history] == ["regularise", "prune", "finetune"]
    save_network(small, tmp_path / "small.safetensors")
    again = read_network(tmp_path / "small.safetensors")
    x = torch.rand(1, network.card.channels, 9, 8)
    assert torch.equal(again.module(x), small.module(x))
    if config["arch"] == "rirsr":
        ends = ["head.0", "body.0.body.0.body.2", "body.0.body.1", "body.1.body.1", "body.2"]
        assert len({small.card.widths[name] for name in ends}) == 1
    if network.card.mean_shift is not None:
        # The published rebuild makes new, trainable mean shifts; fine-tuning then moves them.
        for old, new in zip(mean_shift_of(network), mean_shift_of(small), strict=True):
            assert torch.equal(old, new)
        assert not small.module.sub_mean.weight.requires_grad
        assert not small.module.add_mean.bias.requires_grad


class Branches(nn.Module):
    """Layers registered in another order than they run, with a branch that skips one."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Sequential(conv(6, 12), nn.PixelShuffle(2))
        self.third = conv(8, 6)
        self.second = conv(4, 8)
        self.side = conv(4, 6, 1)
        self.first = conv(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.tail(torch.relu(self.third(torch.relu(self.second(x)))) + self.side(x))


@pytest.mark.parametrize("method", ["srp", "assl"])
def test_producers_come_from_the_graph_not_from_the_order_of_registration(
    method: str, pruning: Make, tmp_path: Path
) -> None:
    # The published rebuild takes the layer registered before as a layer's producer.
    network = user_network(Branches, scale=2)
    recipe = pruning(method=method, exclude=[], penalty=FAST | {"limit": 1.0, "hold": 20})
    small, report = prune_trained(network, recipe, tmp_path)
    assert small.card.widths == {"tail.0": 12, "third": 3, "second": 4, "side": 3, "first": 2}
    assert report.proof["max_difference"] <= 1e-9


def test_users_own_network_with_attention(pruning: Make, tmp_path: Path) -> None:
    network = user_network(lambda: Zoo(nn.Sequential(RCAB(), RCAB(), conv(8, 8))), scale=2)
    small, report = prune_trained(network, pruning(method="assl"), tmp_path)
    assert small.card.widths["head"] == small.card.widths["body.0.body.2"] == 4
    assert report.proof["max_difference"] <= 1e-9


# Choosing.


def chosen(network: Network, recipe: PruneRecipe, folder: Path) -> dict[str, list[int]]:
    _, report = prune_trained(network, recipe, folder)
    return report.plan.removed


@pytest.mark.parametrize("through", ["adam", "decoupled"])
def test_coupled_layers_alone_can_be_aligned_and_pruned(
    through: str, tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    penalty = FAST | {"limit": 1.0, "through": through}
    recipe = pruning(method="assl", exclude=["tail.*", "body.0.body.0"], penalty=penalty)
    small, _ = prune_trained(tiny, recipe, tmp_path)
    assert small.module.head[0].out_channels == 2


def test_the_random_common_set_depends_on_the_seed_alone(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    # The published code draws it from whatever state the global generator is in.
    network = create("ledsr", n_blocks=1, n_feats=16)
    brief = {"penalty": FAST | {"limit": 0.5, "hold": 0}, "finetune": {"iterations": 0}}
    torch.manual_seed(1)
    first = chosen(network, pruning(seed=5, **brief), tmp_path / "1")
    torch.manual_seed(2)
    assert chosen(network, pruning(seed=5, **brief), tmp_path / "2") == first
    other = chosen(network, pruning(seed=6, **brief), tmp_path / "3")
    (coupled,) = [g for g in find_groups(network).groups if g.status == "coupled"]
    assert other.pop(coupled.name) != first.pop(coupled.name)
    assert other == first


@pytest.mark.parametrize("agreement", ["joint", "first-layer"])
def test_common_set_by_score(agreement: str, pruning: Make, tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=6)
    recipe = pruning(
        common_set=agreement,
        penalty=FAST | {"limit": 0.5, "hold": 0},
        finetune={"iterations": 0},
        lr=1e-9,
    )
    layers = ["head.0", "body.0.body.2", "body.1"]
    weights = [network.module.get_submodule(name).weight for name in layers]
    scores = torch.stack([w.detach().abs().flatten(1).mean(1) for w in weights])
    wanted = scores[0] if agreement == "first-layer" else scores.mean(0)
    removed = chosen(network, recipe, tmp_path)
    (coupled,) = [g for g in find_groups(network).groups if g.status == "coupled"]
    assert removed[coupled.name] == sorted(wanted.topk(3, largest=False).indices.tolist())
    free = network.module.body[0].body[0].weight.detach().abs().flatten(1).mean(1)
    (name,) = [g.name for g in find_groups(network).groups if g.layers == ["body.0.body.0"]]
    assert removed[name] == sorted(free.topk(3, largest=False).indices.tolist())


@pytest.mark.parametrize("rotate", [True, False])
def test_common_set_by_cost(
    rotate: bool, pruning: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What methods obs and reconstruct choose is what is emptied, and chosen once."""
    network = create("ledsr", n_blocks=1, n_feats=6)
    recipe = pruning(
        common_set="reconstruct" if rotate else "obs",
        penalty=FAST | {"limit": 0.5, "hold": 0},
        finetune={"iterations": 0},
        lr=1e-9,
    )
    small, report = prune_trained(network, recipe, tmp_path)
    kind = PruneOptions(ratio=0.5, exclude=recipe.prune.exclude)
    _, alike = prune_by_cost(network, kind, recipe.images(), rotate=rotate)
    assert report.plan.removed == alike.plan.removed
    steps = [step["step"] for step in small.card.history]
    assert steps == [*(["rotate"] if rotate else []), "regularise", "prune"]
    monkeypatch.setattr(run_module._Chooser, "chosen", None)  # is not called again
    again, _ = prune_trained(network, recipe, tmp_path)
    wanted = small.module.state_dict()
    assert all(torch.equal(value, wanted[k]) for k, value in again.module.state_dict().items())


def test_layers_that_are_to_lose_the_same_indices_do(pruning: Make, tmp_path: Path) -> None:
    network = create("vdsr", n_layers=4, n_feats=8)
    brief = {"penalty": FAST | {"limit": 0.5, "hold": 0}, "finetune": {"iterations": 0}}
    recipe = pruning(exclude=[], same_index=["residual_layer.*.conv"], common_set="joint", **brief)
    removed = chosen(network, recipe, tmp_path)
    groups = {
        g.layers[0]: removed[g.name] for g in find_groups(network).groups if g.name in removed
    }
    assert groups["residual_layer.0.conv"] == groups["residual_layer.1.conv"]
    scores = torch.stack(
        [m.conv.weight.detach().abs().flatten(1).mean(1) for m in network.module.residual_layer]
    )
    wanted = sorted(scores.mean(0).topk(4, largest=False).indices.tolist())
    assert groups["residual_layer.0.conv"] == wanted


# What regularising does.


def trained_toy(photographs: Path, folder: Path) -> Network:
    torch.manual_seed(0)
    recipe = TrainRecipe.model_validate(
        {
            "data": {"folders": [str(photographs)]},
            "scales": [2],
            "patch": 8,
            "batch": 4,
            "iterations": 250,
            "optimiser": {"kind": "adam", "lr": 5e-3},
            "threads": 1,
            "workers": 0,
        }
    )
    return train(create("ledsr", n_blocks=1, n_feats=12), recipe, folder)


def psnr_on(network: Network, photographs: Path) -> float:
    recipe = TrainRecipe.model_validate(
        {
            "data": {"folders": [str(photographs)]},
            "scales": [2],
            "patch": 20,
            "batch": 16,
            "iterations": 1,
        }
    )
    inputs, targets = FolderPatches(network.card, recipe).batch(0).to(torch.device("cpu"))
    with torch.no_grad():
        error = (network.module(inputs) - targets).square().mean()
    return 10 * math.log10(255**2 / float(error))


@pytest.mark.parametrize(
    ("method", "lr", "penalty"),
    [
        ("srp", 2e-3, {"growth": 40.0, "every": 10, "limit": 1000.0, "hold": 200}),
        ("assl", 5e-3, {"growth": 40.0, "every": 10, "limit": 1000.0, "hold": 250}),
        (
            "srp",
            2e-3,
            {"growth": 0.01, "every": 2, "limit": 1.0, "hold": 0, "through": "decoupled"},
        ),
    ],
    ids=["srp", "assl", "decoupled"],
)
def test_removal_costs_a_tenth_of_one_shot_pruning(
    method: str,
    lr: float,
    penalty: dict[str, Any],
    pruning: Make,
    photographs: Path,
    tmp_path: Path,
) -> None:
    network = trained_toy(photographs, tmp_path / "toy")
    dense = psnr_on(network, photographs)
    bare, _ = prune_oneshot(network, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    one_shot = dense - psnr_on(bare, photographs)
    quality: dict[str, float] = {}

    def measure(stage: str, version: Network) -> dict[str, Any]:
        quality[stage] = psnr_on(version, photographs)
        return {}

    recipe = pruning(
        method=method, common_set="joint", lr=lr, penalty=penalty, finetune={"iterations": 0}
    )
    recipe = recipe.model_copy(
        update={
            "regularise": recipe.regularise | {"schedule": {"kind": "cosine", "final": 0.02}},
            "training": recipe.training | {"log_every": 50},
        }
    )
    prune_trained(network, recipe, tmp_path / "run", measure=measure)
    drop = quality["regularised"] - quality["compact"]
    assert one_shot > 3
    assert drop < one_shot / 10
    last = read_metrics(tmp_path / "run" / "regularise")[-1]
    assert last["penalty"] == penalty["limit"]
    assert last["pruned"] < 0.05 * last["kept"]


def test_penalty_left_out_is_the_control_experiment(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    recipe = pruning(penalty=FAST | {"apply": False}, finetune={"iterations": 0})
    regularised: dict[str, Network] = {}
    prune_trained(tiny, recipe, tmp_path, measure=lambda s, n: regularised.update({s: n}) or {})
    steps = recipe.prune.penalty.ramp().total
    settings = recipe.regularise_recipe(tiny.card).model_copy(update={"iterations": steps})
    plain = train(tiny, settings, tmp_path / "plain")
    for name, tensor in plain.module.state_dict().items():
        assert torch.equal(tensor, regularised["regularised"].module.state_dict()[name]), name


def test_skipped_layers_can_be_frozen(tiny: Network, pruning: Make, tmp_path: Path) -> None:
    stages: dict[str, Network] = {}
    recipe = pruning(freeze_skipped=True, finetune={"iterations": 0})
    prune_trained(tiny, recipe, tmp_path, measure=lambda s, n: stages.update({s: n}) or {})
    after = stages["regularised"].module
    assert torch.equal(after.tail[0].weight, tiny.module.tail[0].weight)
    assert not torch.equal(after.head[0].weight, tiny.module.head[0].weight)


def test_channels_are_scored_and_emptied_where_they_are_read(pruning: Make, tmp_path: Path) -> None:
    network = create("vdsr", n_layers=4, n_feats=6)
    stages: dict[str, Network] = {}
    recipe = pruning(
        exclude=[],
        weight_group="channel",
        penalty={"growth": 0.1, "every": 1, "limit": 1.0, "hold": 0, "through": "decoupled"},
        finetune={"iterations": 0},
    )
    small, report = prune_trained(
        network, recipe, tmp_path, measure=lambda s, n: stages.update({s: n}) or {}
    )
    reader = network.module.residual_layer[0].conv.weight.detach()
    wanted = sorted(reader.abs().mean((0, 2, 3)).topk(3, largest=False).indices.tolist())
    (group,) = [g for g in find_groups(network).groups if g.layers == ["input"]]
    assert report.plan.removed[group.name] == wanted
    x = torch.rand(1, 1, 9, 9)
    regularised = stages["regularised"].module
    emptied = regularised.residual_layer[0].conv.weight[:, wanted]
    assert torch.equal(emptied, torch.zeros_like(emptied))
    assert regularised.input.weight[wanted].abs().min() > 0
    torch.testing.assert_close(small.module(x), regularised(x))


def test_single_weights_are_zeroed_and_held_but_nothing_is_removed(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    recipe = pruning(weight_group="weight", ratio=0.75, finetune={"iterations": 4, "ema": 0.9})
    small, report = prune_trained(tiny, recipe, tmp_path)
    assert report.after == report.before
    assert "nothing was removed" in report.proof["claim"]
    for name in ("head.0", "body.0.body.0", "body.1"):
        weight = small.module.get_submodule(name).weight
        assert int((weight == 0).sum()) == math.ceil(0.75 * weight.numel())
    assert small.module.tail[0].weight.count_nonzero() == small.module.tail[0].weight.numel()


def test_gassl_is_as_small_as_even_ratios_and_spreads_them_by_rank(
    pruning: Make, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = create("vdsr", n_layers=4, n_feats=10)
    with torch.no_grad():
        network.module.input.weight.mul_(10)  # much larger norms: nothing should go here
    recipe = pruning(method="gassl", exclude=[], finetune={"iterations": 0}, lr=1e-6)
    small, _ = prune_trained(network, recipe, tmp_path)
    widths = small.card.widths
    assert widths["input"] == 10
    inner = [widths[f"residual_layer.{i}.conv"] for i in range(2)]
    assert min(inner) >= 1
    even, _ = prune_oneshot(network, PruneOptions(ratio=0.5))
    per_filter = 9 * 20  # at most: a filter, and the slices of those who read it
    assert 0 <= count(even).params - count(small).params < per_filter
    assert (tmp_path / "search" / "metrics.jsonl").exists()
    # Pruning starts from the original weights: ASSL with these ratios gives the same network.
    ratios = {f"residual_layer.{i}.conv": 1 - width / 10 for i, width in enumerate(inner)}
    asked = pruning(
        method="assl", exclude=["input"], layer_ratios=ratios, finetune={"iterations": 0}, lr=1e-6
    )
    again, _ = prune_trained(network, asked, tmp_path / "assl")
    for name, tensor in small.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name]), name


# Resuming.


def _be_killed(root: Path, at: int) -> None:
    """Prune as the recipe there says, to the iteration ``at`` of regularising."""
    before = LoopEvaluator.train

    def train(self: LoopEvaluator, *steps: Any) -> None:
        def kill() -> None:
            if self.step == "regularise" and self.iteration == at:
                os.kill(os.getpid(), signal.SIGKILL)

        self.patch_optimizer_step([], [kill])
        before(self, *steps)

    LoopEvaluator.train = train  # type: ignore[method-assign]
    recipe = PruneRecipe.model_validate_json((root / "recipe.json").read_text())
    prune_trained(read_network(root / "start.safetensors"), recipe, root / "killed")


@pytest.mark.parametrize(("method", "at"), [("srp", 7), ("assl", 3), ("assl", 9)])
def test_killed_while_regularising_and_resumed_equals_uninterrupted(
    method: str, at: int, pruning: Make, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = create("ledsr", n_blocks=1, n_feats=6)
    recipe = pruning(method=method)
    training = recipe.training | {"checkpoint": {"iterations": 2}, "precision": "bf16"}
    recipe = recipe.model_copy(update={"training": training})
    save_network(network, tmp_path / "start.safetensors")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    assert ended(_be_killed, tmp_path, at) == -signal.SIGKILL
    start = read_network(tmp_path / "start.safetensors")
    resumed, report = prune_trained(start, recipe, tmp_path / "killed")
    whole, other = prune_trained(start, recipe, tmp_path / "whole")
    assert report.plan == other.plan
    assert resumed.module.state_dict().keys() == whole.module.state_dict().keys()
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name
    journals = [read_metrics(tmp_path / run / "regularise") for run in ("killed", "whole")]
    assert [e["pruned"] for e in journals[0]] == [e["pruned"] for e in journals[1]]


def test_a_finished_run_gives_the_same_network_again(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    recipe = pruning(method="gassl")
    first, _ = prune_trained(tiny, recipe, tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")}
    again, _ = prune_trained(tiny, recipe, tmp_path)
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name])
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")}


def test_resuming_with_other_options_is_refused_and_loses_nothing(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    prune_trained(tiny, pruning(), tmp_path)
    kept = (tmp_path / "regularise" / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match=r"other options \(ratio: was 0.5, is 0.3\)"):
        prune_trained(tiny, pruning(ratio=0.3), tmp_path)
    with pytest.raises(UserError, match=r"other settings \(optimiser.lr: was 0.001, is 0.002\)"):
        prune_trained(tiny, pruning(lr=2e-3), tmp_path)
    assert (tmp_path / "regularise" / "checkpoint.pt").read_bytes() == kept


def test_the_journal_shows_the_regularisation(tiny: Network, pruning: Make, tmp_path: Path) -> None:
    prune_trained(tiny, pruning(), tmp_path)
    entries = read_metrics(tmp_path / "regularise")
    assert [e["penalty"] for e in entries] == [1.0, 2.0, 2.0]
    assert all(e["pruned"] > 0 and e["kept"] > 0 for e in entries)
    assert json.loads(json.dumps(entries)) == entries


def test_counted_parameters_leave_the_mean_shift_out(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    small, report = prune_trained(tiny, pruning(), tmp_path)
    trainable = sum(p.numel() for p in small.module.parameters() if p.requires_grad)
    assert count(small).params == report.after.params == trainable


def test_a_ranking_over_the_whole_network(tiny: Network, pruning: Make, tmp_path: Path) -> None:
    layer = tiny.module.get_submodule("body.0.body.0")
    with torch.no_grad():
        layer.weight.mul_(1e-3)  # type: ignore[operator]
    recipe = pruning(compare="global", common_set="joint", finetune={"iterations": 0})
    small, report = prune_trained(tiny, recipe, tmp_path)
    even, _ = prune_trained(
        tiny, pruning(common_set="joint", finetune={"iterations": 0}), tmp_path / "even"
    )
    assert small.card.widths["body.0.body.0"] == 1
    assert count(small).params <= count(even).params
    assert report.remarks == []


def test_layers_begin_anew_where_that_is_asked(
    tiny: Network, pruning: Make, tmp_path: Path
) -> None:
    stages: dict[str, Network] = {}
    recipe = pruning(reinit=("body.0.*",), seed=3, finetune={"iterations": 0})
    small, _ = prune_trained(
        tiny, recipe, tmp_path, measure=lambda stage, n: stages.update({stage: n.copy()}) or {}
    )
    compact, final = stages["compact"].module.state_dict(), small.module.state_dict()
    changed = {name for name in final if not torch.equal(final[name], compact[name])}
    assert changed
    assert all(name.startswith("body.0.") for name in changed)
    entry = next(step for step in small.card.history if step["step"] == "reinit")
    assert {name.rpartition(".")[0] for name in changed} <= set(entry["layers"])
    again, _ = prune_trained(tiny, recipe, tmp_path / "again")
    assert all(torch.equal(t, again.module.state_dict()[n]) for n, t in final.items())
    with pytest.raises(UserError, match=r"No layer matches 'nothing\*'"):
        prune_trained(tiny, pruning(reinit=("nothing*",)), tmp_path / "none")
