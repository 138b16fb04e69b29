"""What is cut out of tensors, and what the card tells of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.compacting import surgery
from srdeploy.compacting.run import PruneReport, prune_oneshot
from srdeploy.compacting.surgery import compact
from srdeploy.errors import SrdeployError
from srdeploy.models.registry import create
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.plan import cut


@pytest.fixture(scope="module")
def pruned() -> tuple[Any, Any, PruneReport]:
    torch.manual_seed(0)
    dense = create("ledsr", n_blocks=2, n_feats=8)
    small, report = prune_oneshot(dense, PruneOptions(ratio=0.5, exclude=("body.1*",)))
    return dense, small, report


def test_the_card_of_what_was_cut(pruned: tuple[Any, Any, PruneReport]) -> None:
    dense, small, report = pruned
    assert dense.card.proof is None
    assert not dense.card.history
    step = small.card.history[-1]
    assert (step["step"], step["method"]) == ("prune", report.plan.method)
    assert step["ratio"] == 0.5
    assert small.card.quality == {}
    assert small.card.proof["claim"] == "masked(x) == compact(x)"
    state = small.module.state_dict()
    for name, shape in small.card.shapes.items():
        assert list(state[name].shape) == list(shape)
    changed = {n for n, t in dense.module.state_dict().items() if t.shape != state[n].shape}
    assert changed == set(small.card.shapes)
    assert not small.module.training


def test_cutting_takes_the_kept_indices_of_every_axis() -> None:
    torch.manual_seed(0)
    dense = create("ledsr", n_blocks=1, n_feats=8)
    before = {name: tensor.clone() for name, tensor in dense.module.state_dict().items()}
    plan = plan_oneshot(dense, PruneOptions(ratio=0.5))
    small = cut(dense.module, plan)
    for name, dims in plan.keep.items():
        expected = before[name]
        for dim, kept in dims.items():
            expected = expected.index_select(dim, torch.tensor(kept))
        found = dict(small.named_parameters())[name]
        assert torch.equal(found, expected)
        assert isinstance(found, nn.Parameter)
    for name, tensor in dense.module.state_dict().items():
        assert torch.equal(tensor, before[name])
    convolution = next(m for m in small.modules() if isinstance(m, nn.Conv2d))
    assert convolution.out_channels == convolution.weight.shape[0]


def test_a_layer_that_cannot_be_rebuilt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = create("ledsr", n_blocks=1, n_feats=8)
    answers = iter([{"a": 1, "b": 2}, {"a": 1, "b": 3}])
    monkeypatch.setattr(surgery, "layer_numbers", lambda module: next(answers))
    told = r"Layer 'b' could not be rebuilt from the file \(2 instead of 3\): a grouped convolution"
    with pytest.raises(SrdeployError, match=told):
        compact(dense, plan_oneshot(dense, PruneOptions(ratio=0.5)))
