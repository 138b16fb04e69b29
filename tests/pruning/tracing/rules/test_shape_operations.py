"""Elements that move take their channels along; what depends on fixed positions stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from srdeploy.pruning.tracing.channel_labels import NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed, aten


def test_a_copy_or_an_alias_keeps_its_marks() -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0])
    for operation in (aten.clone.default, aten.detach.default, aten.alias.default):
        assert seen.channels(seen.do(operation, x)) == ([1, 2], [1, 0])
    wide = seen.do(aten._to_copy.default, x, dtype=torch.float64)
    assert (wide.dtype, seen.channels(wide)) == (torch.float64, ([1, 2], [1, 0]))


def test_a_copy_of_what_carries_no_channels() -> None:
    seen = Followed()
    assert seen.labelling.labels_of(seen.do(aten.clone.default, torch.zeros(2, 3))) is None


@pytest.mark.parametrize(
    ("operation", "numbers", "clean"),
    [
        (aten.zeros_like.default, (), 1),
        (aten.ones_like.default, (), 0),
        (aten.full_like.default, (0.0,), 1),
        (aten.full_like.default, (-1.0,), 0),
    ],
)
def test_a_tensor_like_another_is_as_zero_as_it_was_made(
    operation: Any, numbers: tuple[float, ...], clean: int
) -> None:
    seen = Followed(2)
    out = seen.do(operation, seen.image([1, 2], clean=[1, 0]), *numbers)
    assert seen.channels(out) == ([1, 2], [clean, clean])
    with pytest.raises(NotFollowedError, match="does not come from the image"):
        seen.do(operation, torch.zeros(2), *numbers)


def test_a_tensor_of_the_same_kind_carries_no_channels() -> None:
    seen = Followed(2)
    out = seen.do(aten.new_zeros.default, seen.image([1, 2]), [1, 2, 2, 3])
    assert seen.labelling.labels_of(out) is None


def test_side_by_side() -> None:
    seen = Followed(4)
    x, y = seen.image([1, 2], clean=[1, 0]), seen.image([3, 4], clean=[0, 1])
    plain = torch.ones(1, 1, 2, 3)
    out = seen.do(aten.cat.default, [x, plain, y], 1)
    assert seen.channels(out) == ([1, 2, 0, 3, 4], [1, 0, 1, 0, 1])
    assert (seen.ties(), seen.frozen()) == ([], {})


def test_numbers_of_no_channel_stay_constants_or_not() -> None:
    seen = Followed(2)
    out = seen.do(aten.flip.default, seen.image([1, 0, 2, 0], clean=[0, 0, 1, 1]), [1])
    assert seen.channels(out) == ([0, 2, 0, 1], [1, 1, 0, 0])


@pytest.mark.parametrize(
    ("operation", "numbers", "labels", "clean"),
    [
        (aten.permute.default, ([1, 0],), [[1, 4], [2, 5], [3, 6]], [[1, 1], [0, 1], [1, 1]]),
        (aten.t.default, (), [[1, 4], [2, 5], [3, 6]], [[1, 1], [0, 1], [1, 1]]),
        (aten.flip.default, ([1],), [[3, 2, 1], [6, 5, 4]], [[1, 0, 1], [1, 1, 1]]),
        (aten.unsqueeze.default, (1,), [[[1, 2, 3]], [[4, 5, 6]]], [[[1, 0, 1]], [[1, 1, 1]]]),
        (aten.repeat.default, ([1, 2],), [[1, 2, 3] * 2, [4, 5, 6] * 2],
         [[1, 0, 1] * 2, [1, 1, 1] * 2]),
        (aten.expand.default, ([2, 2, 3],), [[[1, 2, 3], [4, 5, 6]]] * 2,
         [[[1, 0, 1], [1, 1, 1]]] * 2),
        (aten.reflection_pad1d.default, ([1, 0],), [[2, 1, 2, 3], [5, 4, 5, 6]],
         [[0, 1, 0, 1], [1, 1, 1, 1]]),
        (aten.roll.default, ([1], [1]), [[3, 1, 2], [6, 4, 5]], [[1, 1, 0], [1, 1, 1]]),
        (aten.slice.Tensor, (1, 1, 3), [[2, 3], [5, 6]], [[0, 1], [1, 1]]),
        (aten.select.int, (0, 1), [4, 5, 6], [1, 1, 1]),
        (aten.view.default, ([3, 2],), [[1, 2], [3, 4], [5, 6]], [[1, 0], [1, 1], [1, 1]]),
    ],
)  # fmt: skip
def test_every_element_takes_its_marks_along(
    operation: Any, numbers: tuple[Any, ...], labels: Any, clean: Any
) -> None:
    seen = Followed(6)
    out = seen.do(operation, seen.tensor([[1, 2, 3], [4, 5, 6]], [[1, 0, 1], [1, 1, 1]]), *numbers)
    assert (seen.labels(out), seen.clean(out)) == (labels, clean)
    assert seen.ties() == []


# Of one image with channels 1 and 2, the second of them unclean, each of 2 x 2 pixels.
@pytest.mark.parametrize(
    ("widths", "value", "labels", "clean"),
    [
        ((1, 0), 0.0, [[[1, 1, 1]] * 2, [[2, 2, 2]] * 2], [[[1, 1, 1]] * 2, [[1, 0, 0]] * 2]),
        ((0, 1), 0.0, [[[1, 1, 1]] * 2, [[2, 2, 2]] * 2], [[[1, 1, 1]] * 2, [[0, 0, 1]] * 2]),
        ((2, 1), 0.5, [[[1] * 5] * 2, [[2] * 5] * 2],
         [[[0, 0, 1, 1, 0]] * 2, [[0, 0, 0, 0, 0]] * 2]),
        ((0, 1), 1, [[[1, 1, 1]] * 2, [[2, 2, 2]] * 2], [[[1, 1, 0]] * 2, [[0, 0, 0]] * 2]),
        ((0, 1), -1.0, [[[1, 1, 1]] * 2, [[2, 2, 2]] * 2], [[[1, 1, 0]] * 2, [[0, 0, 0]] * 2]),
        ((0, 0, 1, 0), 0.0, [[[1, 1]] * 3, [[2, 2]] * 3],
         [[[1, 1]] * 3, [[1, 1], [0, 0], [0, 0]]]),
        ((1, 0, 0, 1), 0.5, [[[1] * 3] * 3, [[2] * 3] * 3],
         [[[0, 1, 1], [0, 1, 1], [0, 0, 0]], [[0, 0, 0]] * 3]),
        ((0, 0, 0, 0, 1, 2), 0.0, [[[label] * 2] * 2 for label in (0, 1, 2, 0, 0)],
         [[[c] * 2] * 2 for c in (1, 1, 0, 1, 1)]),
        ((0, 0, 0, 0, 0, 1), 0.5, [[[label] * 2] * 2 for label in (1, 2, 0)],
         [[[c] * 2] * 2 for c in (1, 0, 1)]),
        ((0, 1, 0, 0, 1, 0), 0.5, [[[label] * 3] * 2 for label in (0, 1, 2)],
         [[[1, 1, 1]] * 2, [[1, 1, 0]] * 2, [[0, 0, 0]] * 2]),
        ((-1, 0), 0.0, [[[1]] * 2, [[2]] * 2], [[[1]] * 2, [[0]] * 2]),
        ((1, -1), 0.5, [[[1, 1]] * 2, [[2, 2]] * 2], [[[0, 1]] * 2, [[0, 0]] * 2]),
        ((0, 0), 0.5, [[[1, 1]] * 2, [[2, 2]] * 2], [[[1, 1]] * 2, [[0, 0]] * 2]),
    ],
)  # fmt: skip
def test_padding(widths: tuple[int, ...], value: float, labels: Any, clean: Any) -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0], size=(2, 2))
    out = seen.do(aten.constant_pad_nd.default, x, list(widths), value)
    assert (seen.labels(out), seen.clean(out)) == ([labels], [clean])
    assert (seen.ties(), seen.frozen()) == ([], {})


def test_padding_with_nothing_said_is_with_zeros() -> None:
    seen = Followed(1)
    out = seen.do(aten.constant_pad_nd.default, seen.image([1]), [1, 1])
    assert seen.channels(out) == ([1], [1])


@pytest.mark.parametrize("widths", [(-1, 0), (0, -1), (1, -1)])
def test_cutting_channels_off_by_padding(widths: tuple[int, int]) -> None:
    seen = Followed(3)
    out = seen.do(aten.constant_pad_nd.default, seen.image([1, 2, 3]), [0, 0, 0, 0, *widths])
    why = f"cut at fixed positions by constant_pad_nd in {HERE}"
    assert seen.frozen() == {1: why, 2: why, 3: why}
    assert seen.channels(out)[0] == {(-1, 0): [2, 3], (0, -1): [1, 2], (1, -1): [0, 1, 2]}[widths]


def test_padding_of_channels_in_the_last_dimension() -> None:
    seen = Followed(2)
    out = seen.do(aten.constant_pad_nd.default, seen.tensor([[[1, 2]]]), [1, 2, 0, 1], 0.5)
    assert seen.labels(out) == [[[0, 1, 2, 0, 0], [0, 1, 2, 0, 0]]]
    assert seen.clean(out) == [[[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]]
    assert seen.frozen() == {}


def fixed(operation: str) -> str:
    return f"taken from fixed positions by {operation} in {HERE}"


@pytest.mark.parametrize(
    ("shifts", "dims", "frozen"),
    [([1], [1], True), ([1], [-3], True), ([1, 1], [2, 1], True), ([1], [2], False),
     ([1, 1], [2, 3], False), ([1], [], True)],
)  # fmt: skip
def test_rolling(shifts: list[int], dims: list[int], frozen: bool) -> None:
    seen = Followed(2)
    out = seen.do(aten.roll.default, seen.image([1, 2]), shifts, dims)
    assert seen.frozen() == (dict.fromkeys((1, 2), fixed("roll")) if frozen else {})
    if not frozen:
        assert seen.channels(out) == ([1, 2], [1, 1])


@pytest.mark.parametrize(("dim", "frozen"), [(1, True), (-3, True), (2, False), (-1, False)])
def test_sliding_windows(dim: int, frozen: bool) -> None:
    seen = Followed(2)
    out = seen.do(aten.unfold.default, seen.image([1, 2]), dim, 2, 1)
    assert seen.frozen() == (dict.fromkeys((1, 2), fixed("unfold")) if frozen else {})
    if not frozen:
        assert seen.channels(out) == ([1, 2], [1, 1])


def test_elements_at_given_places() -> None:
    places = torch.tensor([2, 0])
    for operation, given in (
        (aten.index.Tensor, ([None, places],)),
        (aten.index_select.default, (1, places)),
    ):
        seen = Followed(3)
        out = seen.do(operation, seen.image([1, 2, 3], clean=[1, 1, 0]), *given)
        name = operation.overloadpacket.__name__
        assert seen.frozen() == dict.fromkeys((1, 2, 3), fixed(name))
        assert seen.channels(out) == ([3, 1], [0, 1])


def test_elements_at_given_places_of_one_channel() -> None:
    seen = Followed(1)
    out = seen.do(aten.index_select.default, seen.image([1]), 3, torch.tensor([2, 0]))
    assert seen.channels(out) == ([1], [1])
    assert seen.frozen() == {}


def test_places_that_depend_on_the_image() -> None:
    seen = Followed(2)
    x = seen.image([1])
    places = seen.do(aten._to_copy.default, seen.tensor([2.0], value=0.0), dtype=torch.int64)
    for operation, given in (
        (aten.index.Tensor, ([None, None, places],)),
        (aten.index_select.default, (2, places)),
    ):
        with pytest.raises(NotFollowedError, match="positions that depend on the image"):
            seen.do(operation, x, *given)


CUT = "cut at fixed positions by {} in " + HERE + " (chunk is not)"


@pytest.mark.parametrize(
    ("operation", "numbers", "frozen"),
    [
        (aten.slice.Tensor, (1, 0, 2), True),
        (aten.slice.Tensor, (-3, 1), True),
        (aten.slice.Tensor, (1, 0, 9), False),  # all of it
        (aten.slice.Tensor, (2, 0, 1), False),
        (aten.slice.Tensor, (), False),
        (aten.select.int, (1, 0), True),
        (aten.select.int, (0, 0), False),
        (aten.split.Tensor, (2, 1), True),
        (aten.split.Tensor, (4, 1), False),
        (aten.split.Tensor, (1, 2), False),
        (aten.split_with_sizes.default, ([1, 3], 1), True),
        (aten.unbind.int, (1,), True),
        (aten.unbind.int, (), False),
    ],
)
def test_cuts(operation: Any, numbers: tuple[Any, ...], frozen: bool) -> None:
    seen = Followed(4)
    assert not seen.labelling.in_chunk
    seen.do(operation, seen.image([1, 2, 3, 4]), *numbers)
    why = CUT.format(operation.overloadpacket.__name__)
    assert seen.frozen() == (dict.fromkeys((1, 2, 3, 4), why) if frozen else {})
    assert seen.ties() == []


def test_cuts_of_batches_of_channels_in_the_last_dimension() -> None:
    seen = Followed(2)
    first, second = seen.do(aten.unbind.int, seen.tensor([[1, 2], [1, 2]]))
    assert seen.labels(first) == seen.labels(second) == [1, 2]
    assert seen.frozen() == {}


def test_pixels_are_gathered_at_places_that_are_the_same_for_all_channels() -> None:
    seen = Followed(2)
    x = seen.tensor([[[1, 2]] * 3], [[[1, 0]] * 2 + [[0, 0]]])
    places = torch.tensor([2, 0]).view(1, 2, 1).expand(1, 2, 2)
    out = seen.do(aten.gather.default, x, 1, places)
    assert (seen.labels(out), seen.clean(out)) == ([[[1, 2]] * 2], [[[0, 0]] * 2])
    for dim, index in ((1, places.clone()), (2, places)):
        with pytest.raises(NotFollowedError, match="positions that differ between channels"):
            seen.do(aten.gather.default, x, dim, index.clamp(max=1) if dim == 2 else index)


def test_every_part_of_a_cut_has_its_own_channels() -> None:
    seen = Followed(3)
    x = seen.image([1, 2, 3], clean=[1, 0, 1])
    first, second = seen.do(aten.split_with_sizes.default, x, [1, 2], 1)
    assert seen.channels(first) == ([1], [1])
    assert seen.channels(second) == ([2, 3], [0, 1])


def test_a_chunk_ties_the_same_positions_of_all_parts() -> None:
    seen = Followed(6)
    seen.labelling.in_chunk = True
    parts = seen.do(aten.split.Tensor, seen.image([1, 2, 3, 4, 5, 6]), 2, 1)
    why = [f"chunked evenly in {HERE}"]
    assert seen.why_tied() == {(1, 3, 5): why, (2, 4, 6): why}
    assert [seen.channels(part)[0] for part in parts] == [[1, 2]] * 3
    assert seen.frozen() == {}


def test_a_chunk_of_channels_in_the_last_dimension() -> None:
    seen = Followed(4)
    seen.labelling.in_chunk = True
    seen.do(aten.split.Tensor, seen.tensor([[[1, 2, 3, 4]]]), 2, -1)
    assert seen.ties() == [(1, 3), (2, 4)]


def test_a_chunk_that_is_uneven_is_a_cut() -> None:
    seen = Followed(3)
    seen.labelling.in_chunk = True
    seen.do(aten.split.Tensor, seen.image([1, 2, 3]), 2, 1)
    assert seen.frozen() == dict.fromkeys((1, 2, 3), CUT.format("split"))
    assert seen.ties() == []


@pytest.mark.parametrize(
    ("before", "after", "sides"),
    [
        ((2, 4, 3), (2, 12), {}),
        ((2, 4, 3), (8, 3), {}),
        ((2, 4, 3), (24,), {}),
        ((2, 4, 3), (2, 4, 3), {}),
        ((2, 4, 3), (2, 1, 4, 3), {}),
        ((2, 4, 3), (1, 2, 4, 1, 3, 1), {}),
        ((2, 4, 3), (2, 2, 2, 3), {1: [2, 2]}),
        ((2, 4, 3), (2, 2, 6), {1: None, 2: None}),
        ((2, 4, 3), (2, 6, 2), {1: None, 2: None}),
        ((2, 4, 3), (4, 2, 3), {0: None, 1: None}),
        ((2, 4, 3), (2, 3, 4), {1: None, 2: None}),
        ((2, 4, 3), (6, 4), {0: None, 1: None, 2: None}),
        ((2, 1, 4, 3), (2, 4, 3), {}),
        ((2, 6, 5), (2, 6, 1, 5), {}),
        ((2, 6, 5), (2, 1, 2, 3, 5), {1: [2, 3]}),
        ((2, 12, 5), (2, 2, 3, 2, 5), {1: [2, 3, 2]}),
        ((1, 12, 5), (2, 6, 5), {1: [2, 6]}),
        ((2, 3, 4), (6, 2, 2), {2: [2, 2]}),
        ((2, 4, 9), (4, 2, 9), {0: None, 1: None}),
        ((4, 3), (2, 2, 3), {0: [2, 2]}),
        ((3, 4), (3, 2, 2), {1: [2, 2]}),
    ],
)
def test_what_a_reshape_takes_apart(
    before: tuple[int, ...], after: tuple[int, ...], sides: dict[int, list[int] | None]
) -> None:
    """Into the sides of a box, or, where they are mixed with another dimension, not at all."""
    found: dict[int, list[int] | None] = {}
    for dim, size in enumerate(before):
        if size == 1:
            continue
        seen = Followed(size)
        view = [-1 if d == dim else 1 for d in range(len(before))]
        x = seen.tensor(torch.arange(1, size + 1).view(view).expand(before))
        out = seen.do(aten.view.default, x, list(after))
        flat = [torch.tensor(seen.labels(t)).ravel().tolist() for t in (x, out)]
        assert flat[0] == flat[1]
        assert seen.frozen() == {}  # another reshape may undo it
        seen.labelling.use_mixed([out])
        if frozen := seen.frozen():
            found[dim] = None
            why = f"reshaped from {list(before[1:])} to {list(after[1:])} in {HERE}"
            assert frozen == dict.fromkeys(range(1, size + 1), why)
        for box in seen.labelling.boxes._boxes:
            found[dim] = list(box.nodes.shape[:-1])
            assert box.nodes.ravel().tolist() == list(range(1, size + 1))
    assert found == sides


def test_memory_read_in_the_same_way_is_the_same() -> None:
    seen = Followed(2)
    x = seen.image([1, 2], clean=[1, 0])
    out = seen.do(aten.as_strided.default, x, [1, 2, 2, 3], [999, 6, 3, 1])  # one image alone
    assert seen.channels(out) == ([1, 2], [1, 0])
    assert (seen.ties(), seen.frozen()) == ([], {})
    for size, strides in (([1, 2, 2, 3], [12, 1, 6, 2]), ([1, 2, 6], [12, 6, 1])):
        with pytest.raises(NotFollowedError, match="another way to read the memory"):
            seen.do(aten.as_strided.default, x, size, strides)


def test_a_pixel_shuffle_ties_the_blocks() -> None:
    for factor in (2, 3):
        block = factor**2
        seen = Followed(2 * block)
        x = seen.image(range(1, 2 * block + 1), clean=[1.0] * block + [0.0] * block)
        out = seen.do(aten.pixel_shuffle.default, x, factor)
        why = [f"{block} to a pixel block of PixelShuffle in {HERE}"]
        first, second = tuple(range(1, block + 1)), tuple(range(block + 1, 2 * block + 1))
        assert seen.why_tied() == {first: why, second: why}
        assert seen.channels(out) == ([1, block + 1], [1, 0])
        assert seen.frozen() == {}


def test_a_pixel_shuffle_of_one_image_without_a_batch() -> None:
    seen = Followed(8)
    x = seen.tensor(torch.arange(1, 9).view(8, 1, 1).expand(8, 2, 3))
    out = seen.do(aten.pixel_shuffle.default, x, 2)
    assert seen.ties() == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert seen.channels(out, dim=0) == ([1, 5], [1, 1])


def test_a_pixel_unshuffle_ties_nothing() -> None:
    seen = Followed(2)
    out = seen.do(aten.pixel_unshuffle.default, seen.image([1, 2], size=(2, 4)), 2)
    assert seen.channels(out) == ([1, 1, 1, 1, 2, 2, 2, 2], [1] * 8)
    assert seen.ties() == []


def test_a_channel_shuffle_ties_positions() -> None:
    seen = Followed(6)
    x = seen.image([1, 2, 3, 4, 5, 6])
    out = seen.do(aten.channel_shuffle.default, x, 3)
    why = [f"interleaved by ChannelShuffle in {HERE}"]
    assert seen.why_tied() == {(1, 3, 5): why, (2, 4, 6): why}
    assert seen.channels(out)[0] == [1, 1, 1, 2, 2, 2]


def test_a_channel_shuffle_moves_what_it_does_not_tie() -> None:
    seen = Followed(2)
    x = seen.image([1, 2, 1, 2], clean=[1, 0, 1, 0])
    out = seen.do(aten.channel_shuffle.default, x, 2)
    assert seen.channels(out) == ([1, 1, 2, 2], [1, 1, 0, 0])
    assert (seen.ties(), seen.frozen()) == ([], {})
