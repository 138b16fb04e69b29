"""An operation's arguments are found by name, and what cannot be followed is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.pruning.tracing.channel_labels import Labelling, NotFollowedError
from srdeploy.pruning.tracing.rules.call import Call, labels_of_first, no_rule
from tests.pruning.tracing.rules.follow import Followed, aten


def call_of(operation: Any, *args: Any, out: Any = None, **kwargs: Any) -> Call:
    return Call(operation, operation.overloadpacket.__name__, args, kwargs, out, args, False)


def test_arguments_by_name() -> None:
    x = torch.zeros(2)
    given = call_of(aten.roll.default, x, [3])
    assert given.argument("self") is x
    assert given.argument("shifts") == [3]
    assert given.argument("dims") == []  # as the operation declares it
    assert given.argument("bias") is None
    assert call_of(aten.roll.default, x, [3], dims=[1]).argument("dims") == [1]
    assert call_of(aten.roll.default, x, [3], [0]).argument("dims") == [0]


def test_every_tensor_that_it_returned() -> None:
    a, b, c = torch.zeros(3, 1)
    made = call_of(aten.relu.default, a, out=(a, None, [b, 3], {"more": c}))
    assert [id(t) for t in made.tensors_out()] == [id(t) for t in (a, b, c)]
    assert call_of(aten.relu.default, a, out=1.0).tensors_out() == []


def test_the_first_argument_has_marks_or_the_operation_is_refused() -> None:
    seen = Followed(2)
    x, plain = seen.image([1, 2]), torch.zeros(1, 2, 2, 3)
    found = labels_of_first(seen.labelling, call_of(aten.add.Tensor, x, plain, plain))
    assert found.nodes().ravel().tolist() == [1, 2]
    with pytest.raises(NotFollowedError, match=r"^applied to a tensor that does not come from"):
        labels_of_first(seen.labelling, call_of(aten.add.Tensor, plain, x))


def test_the_marks_of_the_tensor_itself_not_of_a_copy_from_before() -> None:
    seen = Followed(2)
    x = seen.image([1, 2])
    call = Call(aten.relu_.default, "relu", (x.clone(),), {}, x, (x,), True)
    assert labels_of_first(seen.labelling, call) is seen.labelling.labels_of(x)


def test_an_operation_without_a_rule() -> None:
    with pytest.raises(NotFollowedError, match="no rule for it"):
        no_rule(Labelling(nn.Module()), call_of(aten.cumsum.default, torch.zeros(2), 0))
