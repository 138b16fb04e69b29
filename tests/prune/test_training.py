from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.prune.groups import Grouping, find_groups
from srdeploy.prune.training import TrainedOptions, check_fit


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
        ({"common_set": "best"}, "'random', 'joint' or 'first-layer'"),
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
