"""A plan is data: it survives JSON, and masks exactly what it removes."""

from __future__ import annotations

import pytest
import torch

from srdeploy.compacting.surgery import compact
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.registry import create
from srdeploy.pruning.methods.oneshot import default_exclude, plan_oneshot
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.plan import Plan, apply_masks, cut, make_plan
from srdeploy.pruning.tracing.groups import find_groups


@pytest.fixture(scope="module")
def edsr():
    return create("edsr", n_blocks=1, n_feats=4)


def test_round_trip_through_json(edsr):
    plan = plan_oneshot(edsr, PruneOptions(ratio=0.5, exclude=("tail.*",)))
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    first, second = cut(edsr.module, plan), cut(edsr.module, again)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_indices_of_a_coupled_group(edsr):
    grouping = find_groups(edsr)
    plan = make_plan(grouping, {"g2": [1, 3]}, "l1", {})
    for tensor in ("head.0.weight", "head.0.bias", "body.0.body.2.weight", "body.1.weight"):
        assert plan.keep[tensor][0] == [0, 2]
        assert plan.zero[tensor][0] == [1, 3]
    assert plan.keep["tail.0.0.weight"] == {1: [0, 2]}
    assert "tail.0.0.weight" not in plan.zero


def test_masks_zero_rows_and_biases_only(edsr):
    plan = make_plan(find_groups(edsr), {"g3": [0]}, "l1", {})
    masked = edsr.copy().module
    apply_masks(masked, plan)
    layer, dense = masked.body[0].body[0], edsr.module.body[0].body[0]
    assert not layer.weight[0].any()
    assert layer.bias[0] == 0
    assert torch.equal(layer.weight[1:], dense.weight[1:])
    assert torch.equal(masked.body[0].body[2].weight, edsr.module.body[0].body[2].weight)


def test_a_plan_that_leaves_nothing_is_refused(edsr):
    with pytest.raises(SrdeployError, match=r"leaves nothing of dimension 0 of 'body.0.body.0"):
        make_plan(find_groups(edsr), {"g3": [0, 1, 2, 3]}, "l1", {})


def test_nothing_to_prune_is_said():
    network = create("edsr", n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="Nothing to prune"):
        plan_oneshot(network, PruneOptions(ratio=0.5, exclude=("*",)))


def test_a_false_plan_is_caught_by_the_proof(edsr):
    plan = make_plan(find_groups(edsr), {"g3": [0]}, "l1", {})
    wrong = {**plan.keep, "body.0.body.2.weight": {1: [0, 1, 2]}}  # the reader loses another one
    with pytest.raises(SrdeployError, match="not exact"):
        compact(edsr, plan.model_copy(update={"keep": wrong}))
    short = {**plan.keep, "body.0.body.2.weight": {1: [1, 2]}}
    with pytest.raises(
        SrdeployError, match=r"compact network does not run on .*: 'body.0.body.2' fails"
    ):
        compact(edsr, plan.model_copy(update={"keep": short}))


def test_default_exclusions_are_the_published_ones(edsr):
    assert default_exclude(edsr) == ("tail.*",)
    assert default_exclude(create("vdsr")) == ()
