from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.pruning.methods.schedule import Ramp
from srdeploy.pruning.methods.training import TrainedOptions, check_fit, clusters
from srdeploy.pruning.tracing.groups import Grouping, find_groups


def options(**values: Any) -> TrainedOptions:
    return TrainedOptions.model_validate({"method": "srp", "ratio": 0.5, **values})


@pytest.fixture(scope="module")
def vdsr() -> Grouping:
    return find_groups(create("vdsr", n_layers=5, n_feats=8))


@pytest.fixture(scope="module")
def ledsr() -> Grouping:
    return find_groups(create("ledsr", n_blocks=2, n_feats=8))


def test_defaults_are_the_published_schedules() -> None:
    srp = options()
    assert srp.penalty.ramp().total == 143_150
    assert srp.agreement == "random"
    assl = options(method="assl")
    assert assl.alignment.iterations == 17_260
    assert assl.agreement == "first-layer"
    assert options(method="gassl").search.limit == 0.05


@pytest.mark.parametrize("ratio", [1.0, -0.1, float("nan"), 7])
def test_impossible_ratios(ratio: float) -> None:
    with pytest.raises(UserError, match="is impossible; give the fraction to remove"):
        options(ratio=ratio)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "assl", "weight_group": "channel"}, "use method srp"),
        ({"criterion": "l2"}, "choose common_set instead"),
        ({"penalty": {"through": "decoupled", "limit": 2}}, "its limit is 1"),
        ({"penalty": {"every": 0}}, "greater than 0"),
        ({"common_set": "best"}, "'random', 'joint', 'first-layer', 'obs' or 'reconstruct'"),
        ({"common_set": "obs", "pick": "max"}, "leave weight_group, same_index, pick and"),
        ({"common_set": "reconstruct", "method": "assl"}, "all layers of method srp"),
        ({"reg_upper_limit": 0.5}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**values)


@pytest.mark.parametrize("key", ["exclude", "same_index"])
def test_patterns_that_match_nothing_list_what_exists(ledsr: Grouping, key: str) -> None:
    with pytest.raises(UserError, match=r"No layer matches 'bdoy.\*'; the layers are: .*body.2"):
        check_fit(ledsr, options(**{key: ("bdoy.*",)}))


def test_a_ratio_for_layers_that_cannot_be_pruned(ledsr: Grouping) -> None:
    asked = options(layer_ratios={"tail.*": 0.3})
    with pytest.raises(UserError, match=r"that 'tail.\*' names cannot be pruned"):
        check_fit(ledsr, asked)
    excluded = options(exclude=("body.0.body.0",), layer_ratios={"body.0.body.0": 0.3})
    with pytest.raises(UserError, match=r"'body.0.body.0' excludes body.0.body.0"):
        check_fit(ledsr, excluded)


def test_a_cluster_whose_members_cannot_all_be_pruned(vdsr: Grouping) -> None:
    tied = options(same_index=("residual_layer.*.conv",), exclude=("residual_layer.1.conv",))
    with pytest.raises(UserError, match=r"names residual_layer.1.conv, which cannot be pruned: '"):
        check_fit(vdsr, tied)
    uneven = options(
        same_index=("residual_layer.*.conv",), layer_ratios={"residual_layer.2.conv": 0.25}
    )
    with pytest.raises(UserError, match="they lose 4 of 8 and 2 of 8"):
        check_fit(vdsr, uneven)
    with pytest.raises(UserError, match="write one pattern"):
        check_fit(vdsr, options(same_index=("residual_layer.*", "residual_layer.1.*")))


def test_coupled_layers_with_several_ratios(ledsr: Grouping) -> None:
    asked = options(layer_ratios={"head.0": 0.5, "body.2": 0.25})
    with pytest.raises(UserError, match="are coupled and need one ratio"):
        check_fit(ledsr, asked)


def test_nothing_to_prune(ledsr: Grouping) -> None:
    with pytest.raises(UserError, match="Nothing to prune"):
        check_fit(ledsr, options(exclude=("*",)))


def test_counts(ledsr: Grouping) -> None:
    counts = check_fit(ledsr, options(ratio=0.9))
    assert sorted(counts.values()) == [7, 7, 7]


def test_what_is_not_said_is_as_published() -> None:
    assert TrainedOptions(method="srp") == options()
    assert options().model_dump() == {
        "ratio": 0.5,
        "layer_ratios": {},
        "exclude": (),
        "round_to": 1,
        "criterion": "l1",
        "seed": 0,
        "method": "srp",
        "common_set": None,
        "same_index": (),
        "weight_group": "filter",
        "penalty": {
            "growth": 1e-4, "every": 20, "limit": 0.5, "hold": 43150, "first": None,
            "through": "adam", "apply": True,
        },
        "alignment": {"iterations": 17260, "weight": 1.0},
        "search": {"growth": 1e-4, "every": 20, "limit": 0.05, "hold": 0, "keep": 0.5},
        "freeze_skipped": False, "pick": None, "compare": None, "reinit": None,
    }  # fmt: skip


def test_ramps_are_those_of_the_settings() -> None:
    penalty = options(
        penalty={"growth": 0.2, "every": 3, "limit": 7, "hold": 5, "first": 0.25}
    ).penalty
    assert penalty.ramp(4) == Ramp(0.2, 3, 7, 5, start=4, first=0.25)
    assert penalty.ramp() == Ramp(0.2, 3, 7, 5, start=0, first=0.25)
    search = options(search={"growth": 0.2, "every": 3, "limit": 7, "hold": 5}).search
    assert search.ramp() == Ramp(0.2, 3, 7, 5)


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({"penalty": {"first": 0.5, "limit": 0.5}}, True),
        ({"penalty": {"first": 0.6, "limit": 0.5}}, False),
        ({"penalty": {"through": "decoupled", "limit": 1}}, True),
        ({"penalty": {"through": "decoupled", "limit": 1.01}}, False),
        ({"penalty": {"limit": 250}}, True),
        ({"alignment": {"weight": 0}}, True),
        ({"alignment": {"weight": -1}}, False),
        ({"search": {"keep": 0}}, False),
        ({"search": {"keep": 1}}, True),
        ({"search": {"keep": 1.1}}, False),
        ({"method": "srp", "weight_group": "weight"}, True),
        ({"method": "gassl", "weight_group": "weight"}, False),
        ({"method": "gassl", "weight_group": "filter"}, True),
    ],
)
def test_bounds(values: dict[str, Any], fits: bool) -> None:
    if fits:
        options(**values)
    else:
        with pytest.raises(ValidationError):
            options(**values)


def test_what_decides_a_run_leaves_out_what_is_not_set() -> None:
    decisive = options().decisive()
    assert "common_set" not in decisive
    assert "first" not in decisive["penalty"]
    assert options(common_set="joint").decisive()["common_set"] == "joint"


def test_a_ratio_of_nothing_for_layers_that_cannot_be_pruned_is_no_mistake(
    ledsr: Grouping,
) -> None:
    assert check_fit(ledsr, options(layer_ratios={"tail.*": 0.0}))
    # One layer of a pattern that can be pruned is enough.
    assert check_fit(ledsr, options(layer_ratios={"*": 0.25}))


def test_who_is_tied_by_patterns(vdsr: Grouping) -> None:
    tied = clusters(vdsr, options(same_index=("residual_layer.[01].*", "residual_layer.2.*")))
    assert [[g.layers[0] for g in cluster] for cluster in tied] == [
        ["residual_layer.0.conv", "residual_layer.1.conv"],
        ["residual_layer.2.conv"],
    ]
    assert clusters(vdsr, options()) == []
