"""Pooling stays in a channel; what a sum, a mean or an extreme does depends on the dimension."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from srdeploy.pruning.tracing.channel_labels import NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed, aten


@pytest.mark.parametrize(
    ("operation", "spatial", "numbers"),
    [
        (aten.avg_pool1d.default, 1, ([2],)),
        (aten.avg_pool2d.default, 2, ([2, 2],)),
        (aten.avg_pool3d.default, 3, ([2, 2, 2],)),
        (aten.upsample_nearest1d.default, 1, ([5],)),
        (aten.upsample_bilinear2d.default, 2, ([5, 7], False)),
        (aten.upsample_trilinear3d.default, 3, ([5, 7, 3], False)),
        (aten._adaptive_avg_pool2d.default, 2, ([1, 1],)),
    ],
)
def test_pooling_and_resizing_in_any_number_of_dimensions(
    operation: Any, spatial: int, numbers: tuple[Any, ...]
) -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0], size=[2, 4, 6][-spatial:])
    assert seen.channels(seen.do(operation, x, *numbers)) == ([1, 2], [1, 0])
    assert (seen.ties(), seen.frozen()) == ([], {})


def test_pooling_of_one_image_without_a_batch() -> None:
    seen = Followed(2)
    x = seen.tensor(torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 4, 4))
    assert seen.channels(seen.do(aten.avg_pool2d.default, x, [2, 2]), dim=0) == ([1, 2], [1, 1])


def test_pooled_largest_elements_and_where_they_were() -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0], size=(4, 4))
    largest, places = seen.do(aten.max_pool2d_with_indices.default, x, [2, 2])
    assert seen.channels(largest) == ([1, 2], [1, 0])
    assert seen.channels(places) == ([1, 2], [0, 0])


def test_pooling_ties_what_lies_side_by_side_in_a_channel() -> None:
    seen = Followed(3)
    x = seen.tensor([[[[1, 2]], [[3, 3]]]], clean=[[[[1, 1]], [[1, 0]]]])
    out = seen.do(aten.avg_pool2d.default, x, [1, 2])
    assert seen.why_tied() == {(1, 2): [f"resampled together in {HERE}"]}
    assert seen.channels(out) == ([1, 3], [1, 0])


@pytest.mark.parametrize("dims", [[2, 3], [3, 2], [-1, -2], [2], [-1]])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("operation", [aten.mean.dim, aten.sum.dim_IntList, aten.amax.default])
def test_over_space(operation: Any, dims: list[int], keep: bool) -> None:
    seen = Followed(2)
    out = seen.do(operation, seen.image([1, 2], clean=[1, 0]), dims, keep)
    assert seen.channels(out) == ([1, 2], [1, 0])
    assert (seen.ties(), seen.frozen()) == ([], {})


def test_one_unclean_element_is_enough() -> None:
    seen = Followed(2)
    x = seen.tensor([[[1, 1, 1], [2, 2, 2]]], clean=[[[1, 1, 1], [1, 0, 1]]])
    assert seen.channels(seen.do(aten.sum.dim_IntList, x, [2])) == ([1, 2], [1, 0])


def test_a_sum_over_channels_reads_zeros_where_they_are_gone() -> None:
    for dims, keep, shape in (
        ([1], True, (1, 1, 2, 3)),
        ([1], False, (1, 2, 3)),
        (None, False, ()),
    ):
        seen = Followed(3)
        x = seen.image([1, 2, 3], clean=[1, 0, 1])
        out = seen.do(aten.sum.dim_IntList, x, dims, keep)
        assert out.shape == shape
        why = f"removed, it would not be zero where {HERE} sums over channels"
        assert seen.frozen() == {2: why}
        labelled = seen.labelling.labels_of(out)
        assert labelled is not None
        assert set(labelled.labels.ravel().tolist()) == {0}
        assert set(labelled.clean.ravel().tolist()) == {0}  # it depends on the image


@pytest.mark.parametrize(("order", "frozen"), [(2, [2]), (1, [2]), (float("inf"), [2])])
def test_a_norm_over_channels_is_such_a_sum(order: float, frozen: list[int]) -> None:
    seen = Followed(3)
    out = seen.do(aten.linalg_vector_norm.default, seen.image([1, 2, 3], [1, 0, 1]), order, [1])
    assert list(seen.frozen()) == frozen
    assert seen.ties() == []
    assert set(torch.tensor(seen.labels(out)).ravel().tolist()) == {0}


def test_a_norm_over_the_channels_of_heads_ties_their_places() -> None:
    seen = Followed(6)
    x = seen.tensor([[[1, 2, 3], [4, 5, 6]]])  # two heads of three channels
    seen.do(aten.linalg_vector_norm.default, x, 2, [-1], True)
    assert seen.ties() == [(1, 4), (2, 5), (3, 6)]


def test_a_sum_of_everything() -> None:
    seen = Followed(2)
    out = seen.do(aten.sum.default, seen.image([1, 2]))
    assert (seen.labels(out), seen.clean(out)) == (0, 0)
    assert seen.frozen() == {}


@pytest.mark.parametrize(
    ("operation", "numbers"),
    [
        (aten.mean.dim, ([1], True)),
        (aten.mean.default, ()),
        (aten.amax.default, ([-3],)),
        (aten.linalg_vector_norm.default, (float("-inf"), [1, 2])),
    ],
)
def test_other_mixtures_of_channels_keep_them(operation: Any, numbers: tuple[Any, ...]) -> None:
    seen = Followed(2)
    seen.do(operation, seen.image([1, 2]), *numbers)
    name = operation.overloadpacket.__name__
    why = f"mixed with others by {name} in {HERE}"
    assert seen.frozen() == {1: why, 2: why}
    assert seen.ties() == []


@pytest.mark.parametrize("keep", [True, False])
def test_the_largest_and_where_it_was(keep: bool) -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0])
    largest, place = seen.do(aten.max.dim, x, 2, keep)
    assert seen.channels(largest) == ([1, 2], [1, 0])
    assert seen.channels(place) == ([1, 2], [0, 0])
    assert seen.frozen() == {}
    seen.do(aten.max.dim, x, 1, keep)
    assert list(seen.frozen()) == [1, 2]


def test_over_tensors_that_were_stacked_it_is_an_operation_on_them() -> None:
    seen = Followed(6)
    x = seen.tensor([[[1, 2]], [[3, 4]], [[5, 6]]], clean=[[[1, 1]], [[1, 0]], [[1, 1]]])
    out = seen.do(aten.mean.dim, x, [0])
    why = [f"merged by mean in {HERE}"]
    assert seen.why_tied() == {(1, 3, 5): why, (2, 4, 6): why}
    assert (seen.labels(out), seen.clean(out)) == ([[1, 2]], [[1, 0]])
    assert seen.frozen() == {}


@pytest.mark.parametrize("rows", [[[1, 2], [0, 4], [5, 6]], [[1, 2], [5, 6], [0, 4]]])
def test_stacked_beside_numbers_of_no_channel(rows: list[list[int]]) -> None:
    seen = Followed(6)
    seen.do(aten.sum.dim_IntList, seen.tensor(rows), [0])
    assert seen.ties() == [(1, 5), (2, 4, 6)]
    assert seen.frozen() == dict.fromkeys((1, 5), f"tied to fixed numbers in {HERE}")


def test_stacked_in_two_dimensions_at_once() -> None:
    seen = Followed(8)
    x = seen.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    out = seen.do(aten.sum.dim_IntList, x, [0, 1], True)
    assert seen.ties() == [(1, 3, 5, 7), (2, 4, 6, 8)]
    assert seen.labels(out) == [[[1, 2]]]


def test_what_does_not_come_from_the_image() -> None:
    for operation, numbers in ((aten.sum.default, ()), (aten.avg_pool2d.default, ([1, 1],))):
        with pytest.raises(NotFollowedError, match="does not come from the image"):
            Followed().do(operation, torch.zeros(1, 2, 2, 2), *numbers)
