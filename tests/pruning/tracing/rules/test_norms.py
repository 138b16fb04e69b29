"""What a normalisation ties, keeps and leaves zero, over channels and in them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srdeploy.pruning.tracing.channel_labels import NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed, aten

FIXED = f"normalised by fixed numbers in {HERE}"


def batch_norm(seen: Followed, x: Tensor, *numbers: Tensor | None) -> Tensor:
    """Weight, bias, mean and variance."""
    return seen.do(
        aten._native_batch_norm_legit_no_training.default, x, *numbers, 0.1, 1e-5
    )[0]  # fmt: skip


def test_batch_normalisation_takes_its_numbers_along() -> None:
    layer = nn.BatchNorm2d(3)
    seen = Followed(3, norm=layer)
    x = seen.image([1, 2, 3], clean=[1, 0, 0])
    numbers = layer.weight, layer.bias, layer.running_mean, layer.running_var
    out = batch_norm(seen, x, *numbers)
    assert seen.axes() == {
        ("norm.weight", 0, "along"): [4, 5, 6],
        ("norm.bias", 0, "along"): [7, 8, 9],
        ("norm.running_mean", 0, "along"): [10, 11, 12],
        ("norm.running_var", 0, "along"): [13, 14, 15],
    }
    assert seen.ties() == [(1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15)]
    assert seen.why_tied() == {}
    assert seen.frozen() == {}
    # With its weight and bias gone a channel is zero, whatever came in.
    assert seen.channels(out) == ([1, 2, 3], [1, 1, 1])


def test_only_the_weight_makes_a_normalised_channel_zero() -> None:
    layer = nn.BatchNorm2d(2)
    for weight, bias, clean in (
        (layer.weight, None, [1, 1]),
        (None, layer.bias, [1, 0]),
        (None, None, [1, 0]),
    ):
        seen = Followed(2, norm=layer)
        x = seen.image([1, 2], clean=[1, 0])
        out = batch_norm(seen, x, weight, bias, layer.running_mean, layer.running_var)
        assert seen.channels(out) == ([1, 2], clean)


def test_numbers_that_no_file_holds_keep_the_channels() -> None:
    layer = nn.BatchNorm2d(2)
    for missing in range(4):
        numbers = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
        numbers[missing] = torch.ones(2)
        seen = Followed(2, norm=layer)
        out = batch_norm(seen, seen.image([1, 2], clean=[1, 0]), *numbers)
        assert seen.frozen() == dict.fromkeys(seen.frozen(), FIXED)
        assert {1, 2} <= set(seen.frozen())
        assert len(seen.axes()) == 3  # the others still go along
        assert seen.channels(out) == ([1, 2], [1, 0] if missing == 0 else [1, 1])


def test_one_channel_needs_no_numbers_of_its_own() -> None:
    seen = Followed(1)
    batch_norm(seen, seen.image([1]), *(torch.ones(1) for _ in range(4)))
    assert seen.frozen() == {}


def group_norm(seen: Followed, x: Tensor, layer: nn.GroupNorm, groups: int) -> Tensor:
    numbers = x.shape[0], x.shape[1], x[0, 0].numel(), groups, 1e-5
    return seen.do(aten.native_group_norm.default, x, layer.weight, layer.bias, *numbers)[0]


def test_one_group_per_channel_sees_no_other() -> None:
    layer = nn.GroupNorm(4, 4)
    seen = Followed(4, norm=layer)
    out = group_norm(seen, seen.image([1, 2, 3, 4], clean=[1, 0, 0, 1]), layer, 4)
    assert seen.ties() == [(1, 5, 9), (2, 6, 10), (3, 7, 11), (4, 8, 12)]
    assert seen.frozen() == {}
    assert seen.channels(out) == ([1, 2, 3, 4], [1, 1, 1, 1])


def test_larger_groups_go_as_a_whole() -> None:
    layer = nn.GroupNorm(2, 4)
    seen = Followed(4, norm=layer)
    out = group_norm(seen, seen.image([1, 2, 3, 4], [1, 0, 1, 1], size=(4, 2)), layer, 2)
    assert seen.ties() == [(1, 2, 5, 6, 9, 10), (3, 4, 7, 8, 11, 12)]
    why = f"normalised together with others by GroupNorm in {HERE}"
    assert seen.why_tied() == {key: [why] for key in seen.ties()}
    assert seen.frozen() == {}
    assert set(torch.tensor(seen.clean(out)).ravel().tolist()) == {1}


def test_the_only_group_stays() -> None:
    layer = nn.GroupNorm(1, 4)
    seen = Followed(4, norm=layer)
    group_norm(seen, seen.image([1, 2, 3, 4], size=(4, 2)), layer, 1)
    why = f"normalised together with others by GroupNorm in {HERE}"
    assert seen.frozen() == dict.fromkeys((1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12), why)


def test_one_group_per_channel_without_weights_cannot_be_rebuilt() -> None:
    layer = nn.GroupNorm(2, 2, affine=False)
    seen = Followed(2)
    out = group_norm(seen, seen.image([1, 2], clean=[1, 0]), layer, 2)
    why = f"normalised by a GroupNorm without weights in {HERE}"
    assert seen.frozen() == {1: why, 2: why}
    assert seen.channels(out) == ([1, 2], [1, 0])


@pytest.mark.parametrize(
    ("dim", "shape", "frozen"),
    [(-1, (3,), True), (-1, (2, 3), True), (1, (5,), False), (1, (4, 5), False),
     (1, (3, 4, 5), True), (0, (3,), False), (2, (3, 5), True), (2, (5,), False)],
)  # fmt: skip
def test_layer_normalisation(dim: int, shape: tuple[int, ...], frozen: bool) -> None:
    """Channels in one of four dimensions, normalised over some of the last."""
    size = [2, 2, 2, 2]
    size[4 - len(shape) :] = shape
    size[dim] = 3
    view = [1] * 4
    view[dim] = 3
    seen = Followed(3)
    x = seen.tensor(torch.tensor([1.0, 2.0, 3.0]).view(view).expand(size))
    out = seen.do(aten.native_layer_norm.default, x, list(shape), None, None, 1e-5)[0]
    why = f"normalised together with others by LayerNorm in {HERE}"
    assert seen.frozen() == (dict.fromkeys((1, 2, 3), why) if frozen else {})
    assert seen.channels(out, dim) == ([1, 2, 3], [0, 0, 0])


@pytest.mark.parametrize("operation", [aten._softmax.default, aten._log_softmax.default])
@pytest.mark.parametrize(
    ("dim", "frozen"), [(0, False), (1, True), (2, False), (3, False), (-1, False), (-3, True)]
)
def test_softmax(operation: torch._ops.OpOverload, dim: int, frozen: bool) -> None:
    seen = Followed(2)
    out = seen.do(operation, seen.image([1, 2]), dim, False)
    why = f"weighed against others by softmax in {HERE}"
    assert seen.frozen() == ({1: why, 2: why} if frozen else {})
    assert seen.channels(out) == ([1, 2], [0, 0])


def test_softmax_over_the_last_of_the_dimensions_counted_from_the_end() -> None:
    seen = Followed(2)
    seen.do(aten._softmax.default, seen.tensor([[[1, 2]]]), -1, False)
    assert list(seen.frozen()) == [1, 2]


def test_what_does_not_come_from_the_image() -> None:
    plain = torch.zeros(1, 2, 2, 3)
    calls = [
        (aten._softmax.default, (1, False)),
        (aten.native_layer_norm.default, ([3], None, None, 1e-5)),
    ]
    for operation, numbers in calls:
        with pytest.raises(NotFollowedError, match="does not come from the image"):
            Followed().do(operation, plain, *numbers)
