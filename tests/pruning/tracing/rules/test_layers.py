"""What a layer reads, what it issues, and which of them its form ties or keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srdeploy.pruning.tracing.channel_labels import NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed, aten

ONE = [1, 1]
NONE = [0, 0]


def convolve(seen: Followed, x: Tensor, layer: Any, **changed: Any) -> Tensor:
    """A 1x1 convolution with a layer's numbers and, where they are named, others."""
    given = {"weight": layer.weight, "bias": layer.bias, "groups": layer.groups, **changed}
    transposed = isinstance(layer, nn.ConvTranspose2d)
    return seen.do(
        aten.convolution.default, x, given["weight"], given["bias"], ONE, NONE, ONE, transposed,
        NONE, given["groups"],
    )  # fmt: skip


def test_a_convolution_reads_and_issues() -> None:
    layer = nn.Conv2d(2, 3, 1)
    seen = Followed(2, a=layer)
    out = convolve(seen, seen.image([1, 2]), layer)
    assert seen.axes() == {
        ("a.weight", 1, "in"): [3, 4],
        ("a.weight", 0, "out"): [5, 6, 7],
        ("a.bias", 0, "along"): [8, 9, 10],
    }
    assert seen.ties() == [(1, 3), (2, 4), (5, 8), (6, 9), (7, 10)]
    assert (seen.why_tied(), seen.frozen()) == ({}, {})
    assert seen.channels(out) == ([5, 6, 7], [1, 1, 1])


def test_other_names_and_dimensions_of_a_convolution() -> None:
    line, volume, flat = nn.Conv1d(2, 3, 1), nn.Conv3d(2, 3, 1), nn.Conv2d(2, 3, 1)
    for operation, layer, size, numbers in (
        (aten.convolution.default, line, (2,), ([1], [0], [1], False, [0], 1)),
        (aten.convolution.default, volume, (2, 2, 2),
         ([1] * 3, [0] * 3, [1] * 3, False, [0] * 3, 1)),
        (aten._convolution.default, flat, (2, 2),
         (ONE, NONE, ONE, False, NONE, 1, False, False, False, False)),
        (aten.conv2d.default, flat, (2, 2), ()),
        (aten.conv2d.padding, flat, (2, 2), (ONE, "same", ONE, 1)),
    ):  # fmt: skip
        seen = Followed(2, a=layer)
        out = seen.do(operation, seen.image([1, 2], size=size), layer.weight, layer.bias, *numbers)
        assert seen.ties() == [(1, 3), (2, 4), (5, 8), (6, 9), (7, 10)]
        assert seen.channels(out)[0] == [5, 6, 7]


def test_a_convolution_without_a_bias() -> None:
    layer = nn.Conv2d(2, 3, 1, bias=False)
    seen = Followed(2, a=layer)
    convolve(seen, seen.image([1, 2]), layer)
    assert list(seen.axes()) == [("a.weight", 1, "in"), ("a.weight", 0, "out")]
    short = Followed(2, a=layer)
    short.do(aten.conv2d.default, short.image([1, 2]), layer.weight)
    assert (seen.axes(), seen.ties()) == (short.axes(), short.ties())


def test_a_convolution_of_what_carries_no_channels() -> None:
    layer = nn.Conv2d(2, 3, 1)
    seen = Followed(a=layer)
    out = convolve(seen, torch.rand(1, 2, 2, 2), layer)
    assert seen.axes()["a.weight", 0, "out"] == [3, 4, 5]
    assert seen.ties() == [(3, 6), (4, 7), (5, 8)]
    assert seen.frozen() == {}
    assert seen.channels(out) == ([3, 4, 5], [1, 1, 1])


def test_a_convolution_keeps_what_is_not_zero_once_removed() -> None:
    layer = nn.Conv2d(3, 2, 1)
    seen = Followed(3, a=layer)
    out = convolve(seen, seen.image([1, 0, 2], clean=[1, 0, 0]), layer)
    why = "removed, it would not be zero where 'a' reads it"
    assert seen.frozen() == {2: why, 6: why}  # and the column that reads it
    assert seen.channels(out)[1] == [1, 1]


def test_the_first_channel_of_all_is_kept_as_others_are() -> None:
    layer = nn.Conv2d(1, 2, 1, bias=False)
    seen = Followed(1, a=layer)
    convolve(seen, seen.image([1], clean=[0]), layer)
    why = "removed, it would not be zero where 'a' reads it"
    assert seen.frozen() == {1: why, 2: why}


def test_a_convolution_ties_what_lies_side_by_side_in_a_channel() -> None:
    layer = nn.Conv2d(1, 2, 1)
    seen = Followed(2, a=layer)
    convolve(seen, seen.tensor([[[[1, 2]]]]), layer)
    assert seen.why_tied() == {(1, 2, 3): ["side by side in one channel read by 'a'"]}


def test_groups_tie_positions_on_both_sides() -> None:
    layer = nn.Conv2d(6, 4, 1, groups=2)
    seen = Followed(6, a=layer)
    out = convolve(seen, seen.image([1, 2, 3, 4, 5, 6]), layer)
    assert seen.axes()["a.weight", 1, "in"] == [7, 8, 9]
    assert seen.issued("a.weight") == [10, 11, 10, 11]
    why = ["tied across the 2 groups of 'a'"]
    assert seen.why_tied() == {
        (1, 4, 7): why, (2, 5, 8): why, (3, 6, 9): why, (10, 12, 14, 16): why, (11, 13, 15, 17): why
    }  # fmt: skip
    assert seen.channels(out)[0] == [10, 11, 10, 11]
    assert seen.frozen() == {}


def test_groups_of_what_carries_channels_in_one_group_only() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    seen = Followed(2, a=layer)
    convolve(seen, seen.image([1, 2, 0, 0]), layer)
    assert seen.ties() == [(1, 3), (2, 4), (5, 7), (6, 8)]
    assert seen.frozen() == dict.fromkeys((1, 2, 3, 4), f"tied to fixed numbers in {HERE}")


def test_a_depthwise_layer_carries_channels_through() -> None:
    for each in (1, 2):
        layer = nn.Conv2d(2, 2 * each, 1, groups=2, bias=False)
        seen = Followed(2, a=layer)
        out = convolve(seen, seen.image([1, 2], clean=[1, 0]), layer)
        assert list(seen.axes()) == [("a.weight", 0, "out")]
        why = ["carried through the depthwise 'a'"]
        sets = {(1, 3): why, (2, 4): why} if each == 1 else {(1, 3, 4): why, (2, 5, 6): why}
        assert seen.why_tied() == sets
        assert seen.frozen() == {}  # it multiplies what was not zero by what is
        assert seen.channels(out) == ([1] * each + [2] * each, [1] * (2 * each))


def test_one_channel_is_read_by_a_layer_of_one_group() -> None:
    layer = nn.Conv2d(1, 2, 1)
    seen = Followed(1, a=layer)
    convolve(seen, seen.image([1]), layer)
    assert ("a.weight", 1, "in") in seen.axes()
    assert seen.why_tied() == {}


def test_a_depthwise_layer_of_what_carries_no_channels_stays() -> None:
    layer = nn.Conv2d(2, 2, 1, groups=2, bias=False)
    seen = Followed(a=layer)
    convolve(seen, torch.rand(1, 2, 2, 2), layer)
    assert seen.frozen() == dict.fromkeys((1, 2), f"tied to fixed numbers in {HERE}")


def test_a_transposed_convolution_reads_the_first_dimension() -> None:
    layer = nn.ConvTranspose2d(2, 3, 1)
    seen = Followed(2, a=layer)
    out = convolve(seen, seen.image([1, 2]), layer)
    assert seen.axes() == {
        ("a.weight", 0, "in"): [3, 4],
        ("a.weight", 1, "out"): [5, 6, 7],
        ("a.bias", 0, "along"): [8, 9, 10],
    }
    assert seen.ties() == [(1, 3), (2, 4), (5, 8), (6, 9), (7, 10)]
    assert seen.why_tied() == {}
    assert seen.channels(out)[0] == [5, 6, 7]


def test_groups_of_a_transposed_convolution() -> None:
    layer = nn.ConvTranspose2d(4, 6, 1, groups=2, bias=False)
    seen = Followed(4, a=layer)
    out = convolve(seen, seen.image([1, 2, 3, 4]), layer)
    assert seen.axes() == {
        ("a.weight", 0, "in"): [5, 6, 7, 8], ("a.weight", 1, "out"): [9, 10, 11]
    }  # fmt: skip
    why = ["tied across the 2 groups of 'a'"]
    assert seen.why_tied() == {(1, 3, 5, 7): why, (2, 4, 6, 8): why}
    assert seen.channels(out)[0] == [9, 10, 11, 9, 10, 11]


def test_a_transposed_depthwise_layer_carries_channels_through() -> None:
    layer = nn.ConvTranspose2d(2, 2, 1, groups=2, bias=False)
    seen = Followed(2, a=layer)
    out = convolve(seen, seen.image([1, 2]), layer)
    assert list(seen.axes()) == [("a.weight", 0, "out")]
    assert seen.ties() == [(1, 3), (2, 4)]
    assert seen.channels(out)[0] == [1, 2]


def test_a_transposed_layer_with_a_group_for_each_of_several_outputs() -> None:
    """One weight issues several channels of each group, so that all groups are cut alike."""
    layer = nn.ConvTranspose2d(2, 4, 1, groups=2, bias=False)
    seen = Followed(2, a=layer)
    out = convolve(seen, seen.image([1, 2]), layer)
    assert list(seen.axes()) == [("a.weight", 0, "in"), ("a.weight", 1, "out")]
    assert seen.ties() == [(1, 2, 3, 4)]
    assert seen.channels(out)[0] == [5, 6, 5, 6]


def test_a_bias_that_no_file_holds() -> None:
    layer = nn.Conv2d(2, 2, 1)
    seen = Followed(2, a=layer)
    convolve(seen, seen.image([1, 2]), layer, bias=torch.rand(2))
    why = "the bias of 'a' is computed or not stored in its file"
    assert seen.frozen() == {5: why, 6: why}
    one = nn.Conv2d(2, 1, 1)
    seen = Followed(2, a=one)
    convolve(seen, seen.image([1, 2]), one, bias=torch.rand(1))
    assert seen.frozen() == {}


def test_weights_that_are_frozen() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False).requires_grad_(False)
    seen = Followed(2, a=layer)
    convolve(seen, seen.image([1, 2]), layer)
    reads, issues = "'a', whose weights are frozen, reads it", "the weights of 'a' are frozen"
    assert seen.frozen() == {1: reads, 2: reads, 3: reads, 4: reads, 5: issues, 6: issues}


def test_a_weight_that_belongs_to_no_layer_goes_by_its_own_name() -> None:
    kernel = nn.Parameter(torch.rand(2, 2, 1, 1), requires_grad=False)
    seen = Followed(2, kernel=kernel)
    numbers = None, ONE, NONE, ONE, False, NONE, 1
    seen.do(aten.convolution.default, seen.image([1, 2], clean=[1, 0]), kernel, *numbers)
    assert seen.frozen()[2] == "removed, it would not be zero where 'kernel' reads it"
    assert seen.frozen()[5] == "the weights of 'kernel' are frozen"


def test_a_weight_that_is_computed() -> None:
    layer = nn.Conv2d(2, 2, 1)
    seen = Followed(2, a=layer)
    with pytest.raises(NotFollowedError, match="a weight that is computed, not stored"):
        convolve(seen, seen.image([1, 2]), layer, weight=layer.weight * 2)


def call_linear(seen: Followed, x: Tensor, layer: nn.Linear, name: str) -> Tensor:
    """The forms that a linear layer takes below autograd."""
    if name == "linear":
        given = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
        return seen.do(aten.linear.default, x, *given)
    turned = layer.weight.t()
    seen.labelling.record_transposed(turned, layer.weight)
    if layer.bias is None:
        return seen.do(aten.mm.default, x, turned)
    return seen.do(aten.addmm.default, layer.bias, x, turned)


@pytest.mark.parametrize(("name", "bias"), [("linear", True), ("linear", False), ("addmm", True),
                                            ("mm", False)])  # fmt: skip
def test_a_linear_layer_reads_and_issues_in_the_last_dimension(name: str, bias: bool) -> None:
    layer = nn.Linear(2, 3, bias=bias)
    seen = Followed(2, a=layer)
    x = seen.tensor([[1, 2]] * 4, clean=[[1, 0]] * 4)
    out = call_linear(seen, x, layer, name)
    assert {axis: nodes for axis, nodes in seen.axes().items() if axis[0] == "a.weight"} == {
        ("a.weight", 1, "in"): [3, 4], ("a.weight", 0, "out"): [5, 6, 7]
    }  # fmt: skip
    along = [(5, 8), (6, 9), (7, 10)] if bias else []
    assert seen.ties() == [(1, 3), (2, 4), *along]
    why = "removed, it would not be zero where 'a' reads it"
    assert seen.frozen() == {2: why, 4: why}
    assert seen.channels(out, dim=1) == ([5, 6, 7], [1, 1, 1])


def test_a_linear_layer_of_several_dimensions_and_of_what_carries_no_channels() -> None:
    layer = nn.Linear(2, 3)
    for x_of in (
        lambda seen: seen.tensor([[[1, 2]] * 3] * 2),
        lambda seen: torch.rand(4, 3, 2),
    ):
        seen = Followed(2, a=layer)
        out = call_linear(seen, x_of(seen), layer, "linear")
        assert seen.issued("a.weight") == [5, 6, 7]
        assert seen.channels(out, dim=2) == ([5, 6, 7], [1, 1, 1])
        assert seen.frozen() == {}


def test_a_linear_layer_whose_numbers_are_frozen_or_computed() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    seen = Followed(2, a=layer)
    seen.do(aten.linear.default, seen.tensor([[1, 2]]), layer.weight, torch.rand(2))
    assert seen.frozen()[1] == "'a', whose weights are frozen, reads it"
    assert seen.frozen()[5] == "the bias of 'a' is computed or not stored in its file"


def test_a_matrix_product_that_is_no_linear_layer() -> None:
    seen = Followed(2)
    with pytest.raises(NotFollowedError, match="a matrix product that is no linear layer"):
        seen.do(aten.mm.default, seen.tensor([[1, 2]]), torch.rand(2, 3))
