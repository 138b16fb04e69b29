"""Elements that meet are tied; what is zero once a channel is gone is worked out by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from srdeploy.pruning.tracing.channel_labels import NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed, aten

MEMORY = "a change in place of memory that other tensors share"
SHARED = f"applied to every channel of another in {HERE}"


def test_what_is_added_is_tied_channel_by_channel() -> None:
    for operation, verb in (
        (aten.add.Tensor, "added together"),
        (aten.sub.Tensor, "added together"),
        (aten.mul.Tensor, "multiplied together"),
        (aten.maximum.default, "combined by maximum"),
    ):
        seen = Followed(6)
        out = seen.do(operation, seen.image([1, 2, 3]), seen.image([4, 5, 6]))
        assert seen.channels(out) == ([1, 2, 3], [1, 1, 1])
        why = [f"{verb} in {HERE}"]
        assert seen.why_tied() == {(1, 4): why, (2, 5): why, (3, 6): why}
        assert seen.frozen() == {}


def test_three_at_once() -> None:
    seen = Followed(6)
    x, y, z = seen.image([1, 2]), seen.image([3, 4]), seen.image([5, 6])
    out = seen.do(aten.addcmul.default, x, y, z)
    assert seen.ties() == [(1, 3, 5), (2, 4, 6)]
    assert seen.channels(out) == ([1, 2], [1, 1])


def test_channels_in_the_last_dimension() -> None:
    seen = Followed(6)
    out = seen.do(aten.add.Tensor, seen.tensor([[[1, 2, 3]]]), seen.tensor([[[4, 5, 6]]]))
    assert seen.ties() == [(1, 4), (2, 5), (3, 6)]
    assert seen.labels(out) == [[[1, 2, 3]]]
    assert seen.frozen() == {}


def test_stored_numbers_go_along_without_a_reason() -> None:
    gamma, beta = (torch.nn.Parameter(torch.ones(1, 2, 1, 1)) for _ in range(2))
    seen = Followed(2, gamma=gamma, beta=beta)
    x = seen.image([1, 2])
    seen.do(aten.mul.Tensor, x, gamma)
    assert seen.axes() == {("gamma", 1, "along"): [3, 4]}
    assert (seen.ties(), seen.why_tied()) == ([(1, 3), (2, 4)], {})
    seen.do(aten.add.Tensor, gamma, beta)
    assert (seen.ties(), seen.why_tied()) == ([(1, 3, 5), (2, 4, 6)], {})
    assert seen.frozen() == {}


@pytest.mark.parametrize(
    ("operation", "numbers", "clean"),
    [
        # Of a channel that is zero once removed, and of one that could then be anything.
        (aten.relu.default, (), [1, 0]),
        (aten.neg.default, (), [1, 0]),
        (aten.mul.Scalar, (2.0,), [1, 0]),
        (aten.add.Scalar, (1.0,), [0, 0]),
        (aten.sub.Scalar, (1.0,), [0, 0]),
        (aten.sigmoid.default, (), [0, 0]),
        (aten.mul.Scalar, (0.0,), [1, 1]),
        # Not zero for large numbers only, of either sign, or for small ones only.
        (aten.threshold.default, (1000.0, 0.0), [1, 0]),
        (aten.gt.Scalar, (1000.0,), [1, 0]),
        (aten.lt.Scalar, (-1000.0,), [1, 0]),
        (aten.clamp.default, (-0.5, 0.0), [1, 0]),
        (aten.remainder.Scalar, (0.5,), [1, 0]),
        (aten.fmod.Scalar, (0.01,), [1, 0]),
        (aten.silu.default, (), [1, 0]),
    ],
)
def test_of_one_tensor(operation: Any, numbers: tuple[float, ...], clean: list[float]) -> None:
    seen = Followed(2)
    out = seen.do(operation, seen.image([1, 2], clean=[1, 0]), *numbers)
    assert seen.channels(out) == ([1, 2], clean)
    assert (seen.ties(), seen.frozen()) == ([], {})


@pytest.mark.parametrize(
    ("operation", "clean"),
    [
        # Both zero once removed; only the first; only the second; neither.
        (aten.add.Tensor, [1, 0, 0, 0]),
        (aten.sub.Tensor, [1, 0, 0, 0]),
        (aten.mul.Tensor, [1, 1, 1, 0]),
        (aten.div.Tensor, [0, 1, 0, 0]),  # 0 / 0 is no zero
        (aten.maximum.default, [1, 0, 0, 0]),
        (aten.ne.Tensor, [1, 0, 0, 0]),
        (aten.eq.Tensor, [0, 0, 0, 0]),  # what could be anything could be zero
    ],
)
def test_of_two_tensors(operation: Any, clean: list[float]) -> None:
    seen = Followed(8)
    x = seen.image([1, 2, 3, 4], clean=[1, 1, 0, 0])
    y = seen.image([5, 6, 7, 8], clean=[1, 0, 1, 0])
    assert seen.channels(seen.do(operation, x, y))[1] == clean


@pytest.mark.parametrize(
    ("operation", "clean"),
    [
        (aten.logical_or.default, [1, 0, 0, 0]),
        (aten.logical_and.default, [1, 1, 1, 0]),
        (aten.logical_xor.default, [1, 0, 0, 0]),
        (aten.gt.Tensor, [1, 1, 0, 0]),
        (aten.lt.Tensor, [1, 0, 1, 0]),
        (aten.eq.Tensor, [0, 0, 0, 0]),
    ],
)
def test_of_two_conditions(operation: Any, clean: list[float]) -> None:
    seen = Followed(8)
    x = seen.image([1, 2, 3, 4], clean=[1, 1, 0, 0])
    y = seen.image([5, 6, 7, 8], clean=[1, 0, 1, 0])
    a, b = (seen.do(aten.ne.Scalar, image, 0.0) for image in (x, y))
    assert seen.channels(seen.do(operation, a, b))[1] == clean


def test_every_combination_of_three_conditions_is_tried() -> None:
    """What is chosen is zero if the last is and either of the others."""
    for known in product((0, 1), repeat=3):
        condition, first, second = known
        clean = int(bool(second and (condition or first)))
        seen = Followed(3)
        given = [seen.image([i + 1], clean=[c]) for i, c in enumerate(known)]
        masks = [seen.do(aten.ne.Scalar, image, 0.0) for image in given]
        assert seen.channels(seen.do(aten.where.self, *masks))[1] == [clean], known


def test_numbers_of_no_channel_keep_their_values() -> None:
    for value, clean in ((0.75, [1, 0]), (0.0, [1, 1])):
        seen = Followed(1)
        out = seen.do(aten.relu.default, seen.image([1, 0], value=value))
        assert seen.channels(out) == ([1, 0], clean)


def test_channels_that_meet_numbers_of_no_channel_stay() -> None:
    seen = Followed(3)
    out = seen.do(aten.add.Tensor, seen.image([1, 2]), seen.image([3, 0], value=0.0))
    why = f"combined with a fixed tensor of shape [1, 2, 2, 3] in {HERE}"
    assert seen.ties() == [(1, 3)]
    assert seen.frozen() == {2: why}
    assert seen.channels(out) == ([1, 2], [1, 1])


@pytest.mark.parametrize(
    ("shape", "frozen"),
    [((1, 2, 1, 1), True), ((2, 1, 1), True), ((5, 2, 1, 1), True), ((2, 2, 3), True),
     ((1, 1, 1, 1), False), ((2, 3), False), ((3,), False), ((1, 1, 2, 1), False), ((), False)],
)  # fmt: skip
def test_a_fixed_number_for_each_channel_is_kept_with_it(
    shape: tuple[int, ...], frozen: bool
) -> None:
    seen = Followed(2)
    x = seen.image([1, 2])
    out = seen.do(aten.mul.Tensor, x, torch.full(shape, 2.0))
    why = f"combined with a fixed tensor of shape {list(shape)} in {HERE}"
    assert seen.frozen() == ({1: why, 2: why} if frozen else {})
    assert seen.channels(out) == ([1, 2], [1, 1])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3), (4, 1, 3)])
def test_a_fixed_number_for_each_channel_of_the_last_dimension(shape: tuple[int, ...]) -> None:
    for labels in ([1, 2, 3], [[[1, 2, 3]]]):
        seen = Followed(3)
        seen.do(aten.mul.Tensor, seen.tensor(labels), torch.full(shape, 2.0))
        assert list(seen.frozen()) == [1, 2, 3]


def test_a_fixed_number_for_all_channels_of_the_last_dimension() -> None:
    for shape in ((1,), (2, 1), (1, 2, 1)):
        seen = Followed(3)
        seen.do(aten.mul.Tensor, seen.tensor([[[1, 2, 3], [1, 2, 3]]]), torch.full(shape, 2.0))
        assert seen.frozen() == {}


def test_one_channel_over_all_of_another_stays() -> None:
    for flip in (False, True):
        seen = Followed(3)
        x, mask = seen.image([1, 2]), seen.image([3])
        out = seen.do(aten.mul.Tensor, *((mask, x) if flip else (x, mask)))
        assert seen.frozen() == {3: SHARED}
        assert seen.channels(out) == ([1, 2], [1, 1])
        assert seen.ties() == []


def test_one_channel_over_all_of_another_could_be_anything_there() -> None:
    """It stays, so that its cleanness says nothing of where the other's channel is gone."""
    seen = Followed(3)
    out = seen.do(aten.add.Tensor, seen.image([1, 2]), seen.image([3]))
    assert seen.frozen() == {3: SHARED}
    assert seen.channels(out) == ([1, 2], [0, 0])


def test_one_channel_beside_fixed_numbers() -> None:
    seen = Followed(3)
    mask, x = seen.image([3]), seen.image([1, 2])
    seen.do(aten.where.self, torch.tensor([[[[True]]]]), mask, x)
    assert seen.frozen() == {3: SHARED}


@pytest.mark.parametrize(
    ("labels", "shared"),
    [
        (torch.full((2, 3), 3.0), True),  # no dimension of channels at all
        (torch.full((3,), 3.0), True),
        (torch.tensor([3.0, 4.0]).view(2, 1, 1), False),  # no dimension of images, but channels
    ],
)
def test_dimensions_meet_from_the_right(labels: torch.Tensor, shared: bool) -> None:
    seen = Followed(4)
    x, other = seen.image([1, 2]), seen.tensor(labels)
    out = seen.do(aten.mul.Tensor, x, other)
    assert seen.frozen() == ({3: SHARED} if shared else {})
    assert seen.ties() == ([] if shared else [(1, 3), (2, 4)])
    assert seen.channels(out) == ([1, 2], [1, 1])


def test_one_channel_over_channels_of_the_last_and_of_the_only_dimension() -> None:
    for others, own in (([[[1, 2, 3]]], [[[4]]]), ([1, 2, 3], [4])):
        seen = Followed(4)
        seen.do(aten.mul.Tensor, seen.tensor(others), seen.tensor(own))
        assert seen.frozen() == {4: SHARED}


def test_in_place_what_is_small_is_spread_over_what_it_becomes() -> None:
    seen = Followed(2)
    x = seen.image([1, 2])
    fixed = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    out = seen.do(aten.sub_.Tensor, x, fixed)
    assert out is x
    assert seen.labels(out) == [[[[1] * 3] * 2, [[2] * 3] * 2]]
    assert seen.clean(out) == [[[[1, 0, 0], [0, 0, 0]]] * 2]
    out = seen.do(aten.sigmoid_.default, x)
    assert seen.channels(out) == ([1, 2], [0, 0])


def test_in_place_of_memory_that_others_see() -> None:
    seen = Followed(4)
    x = seen.image([1, 2])
    other = x.view(-1)
    seen.labelling.note(other)
    seen.do(aten.relu_.default, x)
    seen.do(aten.mul_.Tensor, x, seen.image([3, 4]))
    assert seen.ties() == [(1, 3), (2, 4)]
    with pytest.raises(NotFollowedError, match=MEMORY):
        seen.do(aten.sigmoid_.default, x)
    seen.do(aten.sigmoid.default, x)  # not in place


def test_in_place_of_shared_memory_numbers_of_no_channel_may_become_some() -> None:
    seen = Followed(4)
    x = seen.image([1, 0], value=0.0)
    other = x.view(-1)
    seen.labelling.note(other)
    seen.do(aten.relu_.default, x)
    with pytest.raises(NotFollowedError, match=MEMORY):
        seen.do(aten.add_.Tensor, x, seen.image([3, 4], value=0.0))


def test_in_place_of_shared_memory_that_carried_no_channels() -> None:
    seen = Followed(2)
    plain = torch.zeros(1, 2, 2, 3)
    other = plain.view(-1)
    seen.labelling.note(plain)
    seen.labelling.note(other)
    with pytest.raises(NotFollowedError, match=MEMORY):
        seen.do(aten.add_.Tensor, plain, seen.image([1, 2]))


def test_several_results_at_once() -> None:
    seen = Followed(2)
    with pytest.raises(NotFollowedError, match="several results"):
        seen.do(aten.frexp.Tensor, seen.image([1, 2]))


def test_a_whole_tensor_is_overwritten() -> None:
    seen = Followed(4)
    x, y = seen.image([1, 2]), seen.image([3, 4], clean=[1, 0])
    seen.do(aten.copy_.default, x, y, True)
    assert seen.channels(x) == ([1, 2], [1, 0])
    why = [f"written over each other in {HERE}"]
    assert seen.why_tied() == {(1, 3): why, (2, 4): why}
    plain = torch.zeros(1, 2, 2, 3)
    seen.do(aten.copy_.default, plain, y)
    assert seen.channels(plain) == ([1, 2], [1, 0])
    assert seen.frozen() == {}


def test_overwriting_a_part_or_with_fixed_numbers_is_refused() -> None:
    seen = Followed(3)
    x = seen.image([1, 2])
    for source in (torch.zeros(1, 2, 2, 3), seen.image([3])):
        with pytest.raises(NotFollowedError, match="overwriting a part of a tensor"):
            seen.do(aten.copy_.default, x, source)


def test_overwriting_memory_that_others_see() -> None:
    seen = Followed(6)
    x = seen.image([1, 2])
    other = x.view(-1)
    seen.labelling.note(other)
    seen.do(aten.copy_.default, x, seen.image([3, 4]))
    with pytest.raises(NotFollowedError, match=MEMORY):
        seen.do(aten.copy_.default, x, seen.image([5, 6], clean=[1, 0]))
    plain = torch.zeros(1, 2, 2, 3)
    seen.labelling.note(beside := plain.view(-1))
    assert beside.numel() == 12
    with pytest.raises(NotFollowedError, match=MEMORY):
        seen.do(aten.copy_.default, plain, x)


def test_a_gate_ties_the_halves_and_is_as_clean_as_the_first() -> None:
    seen = Followed(4)
    out = seen.do(aten.glu.default, seen.image([1, 2, 3, 4], clean=[1, 0, 0, 1]), 1)
    why = [f"multiplied together in {HERE}"]
    assert seen.why_tied() == {(1, 3): why, (2, 4): why}
    assert seen.channels(out) == ([1, 2], [1, 0])
    seen = Followed(4)
    out = seen.do(aten.glu.default, seen.tensor([[[1, 2, 3, 4]]]))
    assert seen.labels(out) == [[[1, 2]]]
    assert seen.frozen() == {}
    with pytest.raises(NotFollowedError, match="does not come from the image"):
        seen.do(aten.glu.default, torch.zeros(1, 4))
