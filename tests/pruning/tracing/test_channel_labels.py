"""Channel labels are kept small, and say of each element what the full tensors would."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.pruning.tracing.channel_labels import Axis, ChannelLabels, Labelling, NotFollowedError
from tests.pruning.tracing.rules.follow import HERE, Followed


def test_constant_dimensions_have_size_one() -> None:
    labels = torch.arange(1.0, 4.0).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    labelled = ChannelLabels.of(labels, torch.ones(2, 3, 4, 5))
    assert (labelled.labels.shape, labelled.clean.shape) == ((1, 3, 1, 1), (1, 1, 1, 1))
    assert labelled.shape == (2, 3, 4, 5)
    assert torch.equal(labelled.full_labels(), labels)
    assert torch.equal(labelled.full_clean(), torch.ones(2, 3, 4, 5))


def test_what_varies_is_kept() -> None:
    labels = torch.randint(0, 3, (2, 3, 4)).double()
    labels[0, 0], labels[1, 1] = torch.arange(4), torch.arange(4).flip(0)
    clean = torch.zeros(2, 3, 4)
    clean[:, 1] = 1
    labelled = ChannelLabels.of(labels, clean)
    assert torch.equal(labelled.full_labels(), labels)
    assert torch.equal(labelled.full_clean(), clean)
    assert labelled.clean.shape == (1, 3, 1)
    assert labelled.clean_channels(1).tolist() == [0, 1, 0]
    assert labelled.clean_channels(0).tolist() == [0, 0]
    assert np.array_equal(labelled.nodes(), labelled.labels.numpy())


def test_one_unclean_element_makes_its_channel_so() -> None:
    clean = torch.ones(1, 2, 3, 3)
    clean[0, 1, 2, 0] = 0
    labelled = ChannelLabels.of(torch.zeros(1, 2, 3, 3), clean)
    assert labelled.clean_channels(1).tolist() == [1, 0]


def test_lower_dimensional_tensors_lie_at_the_end() -> None:
    labelled = ChannelLabels.of(torch.tensor([1.0, 2.0]), torch.tensor(1.0), torch.Size([3, 4, 2]))
    assert labelled.labels.shape == (1, 1, 2)
    assert labelled.full_labels()[2, 3].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("clean", [None, torch.tensor([1.0, 0.0, 1.0])])
def test_channels_of_one_dimension(clean: torch.Tensor | None) -> None:
    nodes = np.array([4, 5, 6])
    labelled = ChannelLabels.broadcast(nodes, 1, torch.Size([2, 3, 7]), clean)
    assert labelled.full_labels()[1, :, 6].tolist() == [4, 5, 6]
    wanted = [1.0, 1.0, 1.0] if clean is None else clean.tolist()
    assert labelled.full_clean()[1, :, 6].tolist() == wanted


def test_the_layer_of_an_axis() -> None:
    assert Axis("body.0.weight", 0, "out").layer == "body.0"
    assert Axis("scale", 0, "along").layer == "scale"


def test_the_size_that_is_kept_of_a_constant_dimension_of_two() -> None:
    labelled = ChannelLabels.of(torch.full((2, 2), 3.0), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    assert (labelled.labels.shape, labelled.clean.shape) == ((1, 1), (2, 1))


def test_axes_are_values_in_order() -> None:
    first, second = Axis("a.weight", 0, "out"), Axis("a.weight", 1, "in")
    assert sorted([second, first]) == [first, second]
    assert len({first, Axis("a.weight", 0, "out")}) == 1


class Buffers(nn.Module):
    """What a file holds, and what it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.rand(2))
        self.register_buffer("passing", torch.rand(2), persistent=False)


def test_what_is_stored_is_what_a_file_holds() -> None:
    module = Buffers()
    module.inner = nn.Sequential(Buffers(), nn.Linear(2, 2))
    labelling = Labelling(module)
    assert sorted(labelling.names.values()) == [
        "inner.0.kept", "inner.1.bias", "inner.1.weight", "kept"
    ]  # fmt: skip
    assert labelling.names[id(module.kept)] == "kept"
    assert labelling.is_stored(module.inner[1].weight)
    assert not labelling.is_stored(module.passing)
    assert not labelling.is_stored(module.inner[0].passing)
    made = module.kept * 2
    assert not labelling.is_stored(made)
    labelling.note_stored(made, labelling.sources([module.kept]))
    assert labelling.is_stored(made)


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((2,), 0), ((1, 3, 1, 1), 1), ((4, 1), 0), ((1, 1, 2), 2), ((), None), ((1,), None),
     ((1, 1), None), ((2, 3), None), ((2, 1, 3), None)],
)  # fmt: skip
def test_numbers_of_one_dimension_have_channels_of_their_own(
    shape: tuple[int, ...], dim: int | None
) -> None:
    seen = Followed(scale=nn.Parameter(torch.rand(shape)))
    labelled = seen.labelling.labels_of(seen.module.scale)
    if dim is None:
        assert labelled is None
        assert seen.axes() == {}
    else:
        nodes = list(range(1, shape[dim] + 1))
        assert seen.axes() == {("scale", dim, "along"): nodes}
        assert seen.channels(seen.module.scale, dim) == (nodes, [1] * len(nodes))
        assert seen.labelling.labels_of(seen.module.scale) is labelled


def test_what_has_no_marks() -> None:
    module = nn.Module()
    module.register_buffer("places", torch.arange(3))
    labelling = Labelling(module)
    for thing in (module.places, torch.rand(3), None, 3, "text"):
        assert labelling.labels_of(thing) is None
    assert labelling.axes == {}


def test_whether_all_of_some_tensors_are_clean() -> None:
    seen = Followed(2)
    clean, half = seen.image([1, 2]), seen.image([1, 2], clean=[1, 0])
    plain = torch.rand(2)
    assert seen.labelling.all_clean([clean, plain])
    assert seen.labelling.all_clean([])
    assert not seen.labelling.all_clean([clean, half])
    assert not seen.labelling.all_clean([half])


def test_an_axis_is_made_once() -> None:
    layer = nn.Conv2d(2, 3, 1)
    seen = Followed(a=layer)
    first = seen.labelling.axis(layer.weight, 1, "in")
    assert first.tolist() == [1, 2]
    assert seen.labelling.axis(layer.weight, 0, "out").tolist() == [3, 4, 5]
    assert seen.labelling.axis(layer.weight, 1, "in") is first
    assert list(seen.labelling.axes) == [Axis("a.weight", 1, "in"), Axis("a.weight", 0, "out")]


@pytest.mark.parametrize(("first", "second"), [("in", "out"), ("out", "in"), ("along", "out")])
def test_an_axis_has_one_role(first: str, second: str) -> None:
    layer = nn.Conv2d(2, 3, 1)
    labelling = Labelling(nn.Sequential(layer))
    labelling.axis(layer.weight, 1, first)
    sentence = f"dimension 1 of '0.weight' is read as '{second}' channels, elsewhere as '{first}'"
    with pytest.raises(NotFollowedError, match=f"^{re.escape(sentence)}$"):
        labelling.axis(layer.weight, 1, second)


def test_what_meets_inside_a_channel_is_joined() -> None:
    seen = Followed(7)
    x = seen.tensor([[[1, 2], [3, 3], [4, 0], [0, 0]]])
    labelled = seen.labelling.labels_of(x)
    assert seen.labelling.channels(labelled, 1, "side by side").tolist() == [1, 3, 4, 0]
    assert seen.why_tied() == {(1, 2): ["side by side"]}
    assert seen.frozen() == {4: f"side by side with fixed numbers in {HERE}"}
    assert seen.labelling.channels(labelled, 0).tolist() == [1]
    assert seen.ties() == [(1, 2, 3, 4)]


def test_the_channels_of_what_does_not_vary() -> None:
    seen = Followed(2)
    x = seen.tensor(torch.full((2, 3), 2.0))
    assert seen.labelling.channels(seen.labelling.labels_of(x), 1).tolist() == [2, 2, 2]
    assert (seen.ties(), seen.frozen()) == ([], {})


def test_tied_to_nothing_a_channel_stays() -> None:
    seen = Followed(6)
    seen.labelling.tie(np.array([1, 3, 0, 0]), np.array([2, 0, 5, 0]), "met")
    assert seen.why_tied() == {(1, 2): ["met"]}
    assert seen.frozen() == dict.fromkeys((3, 5), f"tied to fixed numbers in {HERE}")


def test_freezing_an_activation() -> None:
    seen = Followed(3)
    seen.labelling.freeze(seen.image([1, 3]), "it is so")
    seen.labelling.freeze(torch.rand(2), "nothing is known of it")
    assert seen.frozen() == {1: "it is so", 3: "it is so"}


def test_along_which_dimensions_labels_vary() -> None:
    seen = Followed(4)
    labelled = seen.labelling.labels_of(seen.tensor([[[1, 2, 1]], [[1, 2, 1]]]))
    assert [seen.labelling.varies(labelled, dim) for dim in range(3)] == [False, False, True]
    seen.labelling.sets.join(np.array([1]), np.array([2]))
    assert not seen.labelling.varies(labelled, 2)  # they are one channel now
    labelled = seen.labelling.labels_of(seen.tensor([[3, 3], [3, 4]]))
    assert [seen.labelling.varies(labelled, dim) for dim in range(2)] == [True, True]


def test_which_tensors_share_memory() -> None:
    labelling = Labelling(nn.Module())
    a = torch.rand(4)
    b, c, apart = a.view(2, 2), a[1:], torch.rand(4)
    assert labelling.sharing(a) == []
    for tensor in (a, b, c, apart, a):
        labelling.note(tensor)

    def shared(tensor: torch.Tensor) -> set[int]:
        return {id(other) for other in labelling.sharing(tensor)}

    assert shared(a) == {id(b), id(c)}
    assert shared(b) == {id(a), id(c)}
    assert labelling.sharing(apart) == []
    del c
    assert shared(a) == {id(b)}
    assert shared(b) == {id(a)}


def test_what_is_stored_shares_memory_from_the_start() -> None:
    layer = nn.Linear(2, 2)
    labelling = Labelling(layer)
    view = layer.weight.detach()
    assert [id(t) for t in labelling.sharing(view)] == [id(layer.weight)]


def reuse_of_its_place(make: Callable[[], torch.Tensor], place: int) -> torch.Tensor:
    """A new tensor with the id of one that is gone: what CPython does sooner or later."""
    kept = []
    for _ in range(10_000):
        kept.append(make())
        if id(kept[-1]) == place:
            return kept[-1]
    pytest.skip("the memory of a tensor that is gone was not used again")


def test_nothing_is_known_of_a_tensor_at_the_place_of_one_that_is_gone() -> None:
    seen = Followed(2)
    old = seen.image([1, 2])
    layer = nn.Linear(2, 2)
    seen.labelling.record_transposed(old, layer.weight)
    seen.labelling.note_stored(old, frozenset(["weight"]))
    assert seen.labelling.weight_behind(old) is layer.weight
    place, gone = id(old), weakref.ref(old)
    del old
    assert gone() is None  # the labelling does not keep it
    new = reuse_of_its_place(lambda: torch.rand(1, 2, 2, 3), place)
    assert seen.labelling.labels_of(new) is None
    assert seen.labelling.weight_behind(new) is None
    assert not seen.labelling.is_stored(new)


def test_a_view_at_the_place_of_one_that_is_gone_is_known_to_share_memory() -> None:
    labelling = Labelling(nn.Module())
    memory = torch.rand(4)
    old = memory.view(2, 2)
    labelling.note(memory)
    labelling.note(old)
    place = id(old)
    del old
    new = reuse_of_its_place(lambda: memory.view(2, 2), place)
    labelling.note(new)
    assert [id(t) for t in labelling.sharing(memory)] == [id(new)]
