"""Which rule an operation gets, by its name, its form and torch's own tags."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from srdeploy.pruning.tracing.rules.call import Call, Rule, no_rule
from srdeploy.pruning.tracing.rules.elements import copy, glu, pointwise
from srdeploy.pruning.tracing.rules.layers import convolution, linear
from srdeploy.pruning.tracing.rules.merges import per_channel, reduction
from srdeploy.pruning.tracing.rules.norms import softmax
from srdeploy.pruning.tracing.rules.shape_operations import cut, same, structural, view
from srdeploy.pruning.tracing.rules.table import READS_WEIGHT, rule_for
from tests.pruning.tracing.rules.follow import aten

LIBRARY = torch.library.Library("srdeploy_tests", "DEF")
LIBRARY.define("halved(Tensor x) -> Tensor", tags=(torch.Tag.pointwise,))
LIBRARY.define("sorted_by(Tensor x) -> Tensor")


@pytest.mark.parametrize(
    ("operation", "name", "rule"),
    [
        (aten.convolution.default, "convolution", convolution),
        (aten.addmm.default, "addmm", linear),
        (aten.relu.default, "relu", pointwise),
        (aten.relu_.default, "relu", pointwise),
        (aten.masked_fill_.Scalar, "masked_fill", pointwise),
        (aten.fill_.Scalar, "fill", pointwise),
        (aten.hardswish.default, "hardswish", pointwise),
        (aten.where.self, "where", pointwise),
        (aten.glu.default, "glu", glu),
        (aten.copy_.default, "copy", copy),
        (aten.clone.default, "clone", same),  # tagged as elementwise, but it is simpler than that
        (aten.cat.default, "cat", structural),
        (aten.slice.Tensor, "slice", cut),
        (aten.view.default, "view", view),
        (aten._softmax.default, "_softmax", softmax),
        (aten.avg_pool2d.default, "avg_pool2d", per_channel),
        (aten.mean.dim, "mean", reduction),
        (aten.max.default, "max", reduction),
        (aten.max.dim, "max", reduction),
        (aten.equal.default, "equal", no_rule),  # tagged as elementwise, too
        # The larger of two tensors is another thing than the largest element.
        (aten.max.other, "max", pointwise),
        (aten.min.other, "min", pointwise),
        # The same memory read as another type.
        (aten.view.dtype, "view", no_rule),
        (aten.cumsum.default, "cumsum", no_rule),
        (aten.sort.default, "sort", no_rule),
        # Operations of others: torch's tag is all that is known of them.
        (torch.ops.srdeploy_tests.halved.default, "halved", pointwise),
        (torch.ops.srdeploy_tests.sorted_by.default, "sorted_by", no_rule),
    ],
)
def test_the_rule_of_an_operation(operation: Any, name: str, rule: Rule) -> None:
    assert rule_for(Call(operation, name, (), {}, None, (), False)) is rule


def test_a_form_in_place_is_tagged_as_the_other_one_is() -> None:
    assert torch.Tag.pointwise not in aten.gelu_.default.tags  # else this shows nothing
    assert rule_for(Call(aten.gelu_.default, "gelu", (), {}, None, (), True)) is pointwise


def test_what_reads_weights_is_what_has_a_rule_of_layers() -> None:
    for name in READS_WEIGHT:
        operation = getattr(aten, name).default
        rule = rule_for(Call(operation, name, (), {}, None, (), False))
        assert rule in (convolution, linear), name
    assert len(READS_WEIGHT) == 6
