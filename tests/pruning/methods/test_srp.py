"""SRP's numbers by an independent computation, on plain gradient steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.training import TrainedOptions
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with
from tests.pruning.walk import Walk, pruner_of, set_filters

ENDS = ["head.0", "body.0.body.2", "body.1"]
FREE = "body.0.body.0"
PENALTY = {"growth": 0.25, "every": 2, "limit": 0.75, "hold": 1}
FADE = {"growth": 0.25, "every": 1, "limit": 1.0, "hold": 1, "through": "decoupled"}
LEVELS = [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75]


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", n_blocks=1, n_feats=6)


def options(**values: Any) -> dict[str, Any]:
    return {"exclude": ("tail.*",), "penalty": PENALTY, "common_set": "joint", **values}


def weight_of(network: Network, name: str) -> torch.Tensor:
    return network.module.get_submodule(name).weight.detach()


def lowest(scores: torch.Tensor, count: int) -> list[int]:
    return sorted(scores.topk(count, largest=False).indices.tolist())


@pytest.mark.parametrize("unit", [1.0, 1 / 255])
def test_the_smallest_filters_shrink_by_the_penalty_and_the_others_stay(
    network: Network, unit: float
) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    pruner = pruner_of(network, Walk(lr=0.1, pull=0.0), unit, **options())
    means = torch.stack([weight_of(network, n).abs().mean((1, 2, 3)) for n in ENDS]).mean(0)
    expected = {
        **dict.fromkeys(ENDS, lowest(means, 3)),
        FREE: lowest(weight_of(network, FREE).abs().mean((1, 2, 3)), 3),
    }
    pruner.compress()
    left = math.prod(1 - 0.1 * unit * level for level in LEVELS)
    grouping = find_groups(network)
    for layer, gone in expected.items():
        assert pruner.removed[group_with(grouping, layer).name] == gone
        stays = [i for i in range(6) if i not in gone]
        for leaf in ("weight", "bias"):
            old, new = before[f"{layer}.{leaf}"], network.module.state_dict()[f"{layer}.{leaf}"]
            torch.testing.assert_close(new[gone], old[gone] * left)
            assert torch.equal(new[stays], old[stays])
    assert torch.equal(network.module.state_dict()["tail.0.weight"], before["tail.0.weight"])


def test_fading_empties_them_for_good_while_the_others_learn(network: Network) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    pruner = pruner_of(network, Walk(lr=0.5), **options(penalty=FADE))
    pruner.compress()
    (gone,) = [pruner.removed[g.name] for g in pruner.groups if FREE in g.layers]
    after = weight_of(network, FREE)
    assert torch.equal(after[gone], torch.zeros_like(after[gone]))
    stays = [i for i in range(6) if i not in gone]
    assert (after[stays] != before[f"{FREE}.weight"][stays]).any()


def test_layers_of_different_fan_in_count_alike(network: Network) -> None:
    """By the mean of |W|: by its sum the layer with most inputs would decide alone."""
    set_filters(network.module.get_submodule("head.0"), [9, 8, 7, 1, 1, 1])
    for name in ENDS[1:]:
        set_filters(network.module.get_submodule(name), [1, 1, 1, 2, 3, 4])
    pruner = pruner_of(network, Walk(), **options())
    pruner.begin()
    assert pruner.removed[group_with(find_groups(network), "head.0").name] == [3, 4, 5]


@pytest.mark.parametrize(("seed", "agreement"), [(0, "random"), (5, None), (6, "random")])
def test_the_drawn_set(network: Network, seed: int, agreement: str | None) -> None:
    pruner = pruner_of(network, Walk(), **options(seed=seed, common_set=agreement))
    pruner.begin()
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(seed))
    assert pruner.removed[group_with(find_groups(network), "head.0").name] == lowest(drawn, 3)


def test_the_set_of_the_layer_that_runs_first(network: Network) -> None:
    pruner = pruner_of(network, Walk(), **options(common_set="first-layer"))
    pruner.begin()
    first = weight_of(network, "head.0").abs().mean((1, 2, 3))
    assert pruner.removed[group_with(find_groups(network), "head.0").name] == lowest(first, 3)


def test_channels_are_scored_by_all_who_read_them(network: Network) -> None:
    pruner = pruner_of(network, Walk(lr=0.1, pull=0.0), **options(weight_group="channel"))
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    readers = [FREE, "body.1", "tail.0"]
    group = group_with(find_groups(network), "head.0")
    assert [name for name in readers if name in group.readers] == readers
    means = torch.stack([weight_of(network, n).abs().mean((0, 2, 3)) for n in readers]).mean(0)
    pruner.compress()
    gone = pruner.removed[group.name]
    assert gone == lowest(means, 3)
    left = math.prod(1 - 0.1 * level for level in LEVELS)
    after = network.module.state_dict()
    for name in readers:
        old = before[f"{name}.weight"]
        torch.testing.assert_close(after[f"{name}.weight"][:, gone], old[:, gone] * left)
    assert torch.equal(after["head.0.weight"], before["head.0.weight"])
    # A free layer is scored by the one that reads it.
    free = weight_of(network, "body.0.body.2").abs().mean((0, 2, 3))
    assert pruner.removed[group_with(find_groups(network), FREE).name] == lowest(free, 3)


def test_single_weights_the_smallest_of_each_layer(network: Network) -> None:
    asked = options(weight_group="weight", ratio=0.3)
    pruner = pruner_of(network, Walk(lr=0.1, pull=0.0), **asked)
    before = {n: weight_of(network, n).clone() for n in (FREE, *ENDS)}
    pruner.compress()
    left = math.prod(1 - 0.1 * level for level in LEVELS)
    for name, old in before.items():
        mask = pruner.loose[f"{name}.weight"].bool()
        count = math.ceil(0.3 * old.numel())
        assert int(mask.sum()) == count
        assert old[mask].abs().max() <= old[~mask].abs().min()
        torch.testing.assert_close(weight_of(network, name)[mask], old[mask] * left)
        assert torch.equal(weight_of(network, name)[~mask], old[~mask])
    assert pruner.removed == {}


def test_never_every_weight_of_a_layer(network: Network) -> None:
    pruner = pruner_of(network, Walk(), **options(weight_group="weight", ratio=0.9999))
    pruner.begin()
    assert [int((1 - mask).sum()) for mask in pruner.loose.values()] == [1] * 4


@pytest.mark.parametrize("group", ["filter", "weight"])
def test_a_choice_survives_a_kill(network: Network, group: str) -> None:
    asked = options(weight_group=group)
    first = pruner_of(network.copy(), Walk(), **asked)
    first.begin()
    second = pruner_of(network.copy(), Walk(), **asked)
    with torch.no_grad():
        for parameter in second.bound_model.parameters():
            parameter.normal_()
    second.begin()
    state = first.state_dict()
    second.load_state_dict(state)
    assert second.removed == first.removed
    assert second.loose.keys() == first.loose.keys()
    for name, mask in first.loose.items():
        assert torch.equal(second.loose[name], mask)
        assert state["loose"][name].dtype == torch.bool


def test_a_choice_made_with_other_options_is_refused(network: Network) -> None:
    first = pruner_of(network.copy(), Walk(), **options(ratio=0.5))
    first.begin()
    second = pruner_of(network.copy(), Walk(), **options(ratio=0.25))
    with pytest.raises(UserError, match=r"\(ratio: was 0.5, is 0.25\)"):
        second.load_state_dict(first.state_dict())


# What all methods share.


def test_the_control_experiment_changes_nothing(network: Network) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    walk = Walk(lr=0.1, pull=0.0)
    for through in ("adam", "decoupled"):
        penalty = {**PENALTY, "apply": False, "through": through}
        pruner_of(network, walk, **options(penalty=penalty)).compress()
    for name, tensor in network.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("frozen", [True, False])
def test_skipped_layers_learn_unless_they_are_frozen(network: Network, frozen: bool) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    pruner_of(network, Walk(lr=0.1), **options(freeze_skipped=frozen)).compress()
    after = network.module.state_dict()
    for leaf in ("weight", "bias"):
        same = torch.equal(after[f"tail.0.{leaf}"], before[f"tail.0.{leaf}"])
        assert same == frozen
        assert not torch.equal(after[f"head.0.{leaf}"], before[f"head.0.{leaf}"])


def test_what_is_told_of_the_penalty(network: Network) -> None:
    told: list[dict[str, float]] = []
    walk = Walk(visit=lambda _: told.extend(dict(r()) for r in walk.reporters))
    pruner = pruner_of(network, walk, **options())
    pruner.compress()
    assert [entry["penalty"] for entry in told] == LEVELS
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for group in pruner.groups:
        for axis in group.out_axes():
            for index, row in enumerate(weight_of(network, axis.layer).abs()):
                sizes[index in pruner.removed[group.name]] += row.flatten().tolist()
    for name, gone in (("pruned", True), ("kept", False)):
        wanted = sum(sizes[gone]) / len(sizes[gone])
        assert told[-1][name] == pytest.approx(wanted, rel=1e-5)


def test_masks_that_nni_gets(network: Network) -> None:
    pruner = pruner_of(network, Walk(), **options())
    _, masks = pruner.compress()
    for group in pruner.groups:
        for axis in group.out_axes():
            for leaf, mask in masks[axis.layer].items():
                own = network.module.get_submodule(axis.layer).get_parameter(leaf)
                assert mask.shape == own.shape
                alive = mask.flatten(1).amax(1) if mask.dim() > 1 else mask
                gone = [i for i in range(6) if not alive[i]]
                assert gone == pruner.removed[group.name]
                assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_the_highest_go_where_that_is_asked(network: Network) -> None:
    pruner = pruner_of(network, Walk(), **options(pick="max"))
    pruner.begin()
    grouping = find_groups(network)
    means = torch.stack([weight_of(network, n).abs().mean((1, 2, 3)) for n in ENDS]).mean(0)
    assert pruner.removed[group_with(grouping, "head.0").name] == lowest(-means, 3)
    free = weight_of(network, FREE).abs().mean((1, 2, 3))
    assert pruner.removed[group_with(grouping, FREE).name] == lowest(-free, 3)
    single = pruner_of(network, Walk(), **options(pick="max", weight_group="weight", ratio=0.3))
    single.begin()
    size, mask = weight_of(network, FREE).abs(), single.loose[f"{FREE}.weight"].bool()
    assert size[mask].min() >= size[~mask].max()


def test_any_go_where_they_are_drawn(network: Network) -> None:
    def chosen(seed: int, **more: Any) -> Any:
        pruner = pruner_of(network, Walk(), **options(pick="rand", seed=seed, **more))
        pruner.begin()
        return {k: v.tolist() for k, v in pruner.loose.items()} or pruner.removed

    for more in ({}, {"weight_group": "weight"}):
        draws = [chosen(seed, **more) for seed in range(6)]
        assert chosen(0, **more) == draws[0]
        for layer in draws[0]:
            assert any(draw[layer] != draws[0][layer] for draw in draws)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "assl", "pick": "max"},
        {"method": "gassl", "compare": "global"},
        {"method": "srp", "compare": "global", "round_to": 4},
        {"method": "srp", "compare": "global", "weight_group": "weight"},
        {"method": "srp", "compare": "global", "same_index": ("a",)},
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belong to method srp|leave weight_group"):
        TrainedOptions(**given)
