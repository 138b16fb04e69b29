"""What is said of groups: their status, the reasons for it, and the print-out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.groups import Atom, Group, Grouping
from tests.pruning.helpers import group_with, groups_of
from tests.pruning.tracing.test_groups import Net, conv


def grouping(forward, **layers):
    return groups_of(Net(forward, **layers).eval())


def atoms(tensor: str, *indices: tuple[int, ...], role: str = "out", dim: int = 0) -> list[Atom]:
    return [Atom({Axis(tensor, dim, role): own}) for own in indices]


def group(layers: int = 1, readers: int = 1, why: tuple[str, ...] = (), **changed) -> Group:
    given = {
        "name": "g7", "status": "coupled", "why": list(why),
        "layers": [f"l{i}" for i in range(layers)], "readers": [f"r{i}" for i in range(readers)],
        "atoms": atoms("l0.weight", (0,), (1,)),
    }  # fmt: skip
    return Group(**{**given, **changed})


@pytest.mark.parametrize(
    ("forward", "layers", "reason"),
    [
        (lambda n, x: n.b(n.a(x)), {"a": conv(3, 1), "b": conv(1, 3)}, "it has one channel"),
        (
            lambda n, x: n.b(F.pixel_shuffle(n.a(x), 2)),
            {"a": conv(3, 4), "b": conv(1, 3)},
            "all of its channels are tied into one",
        ),
        (
            lambda n, x: n.b(torch.cat([n.a(x), n.c(x)[:, :1].sigmoid()], 1)),
            {"a": conv(3, 4), "c": conv(3, 4), "b": conv(5, 3)},
            None,
        ),
    ],
)
def test_what_cannot_be_done_without(forward, layers, reason) -> None:
    found = group_with(grouping(forward, **layers), "a")
    if reason is None:
        assert found.status == "free"
    else:
        assert (found.status, found.why) == ("untouchable", [reason])


def test_one_of_a_kind_stays() -> None:
    """Of layers that are joined to a part of another, all but one atom may be of another kind."""

    def forward(n, x):
        return n.d(torch.cat([n.a(x), n.b(x)], 1) + n.c(x))

    layers = {"a": conv(3, 2), "b": conv(3, 1), "c": conv(3, 3), "d": conv(3, 3)}
    found = grouping(forward, **layers)
    assert [(g.layers, g.status) for g in found.groups] == [
        (["a", "c"], "coupled"), (["b", "c"], "untouchable"), (["d"], "untouchable"),
    ]  # fmt: skip
    assert found.groups[1].why == ["it has one channel"]

    def halves(n, x):
        first, second = n.a(x).chunk(2, 1)
        return n.d(torch.cat([first, second * n.b(x)], 1))

    with_one = grouping(halves, a=conv(3, 4), b=conv(3, 2), d=conv(4, 3))
    assert group_with(with_one, "a").status == "coupled"


def test_an_atom_alone_among_others_of_its_layers() -> None:
    def forward(n, x):  # the first channel of a meets the last of b, the others meet zeros
        a, b = n.a(x), n.b(x)
        return n.c(F.pad(a, (0, 0, 0, 0, 2, 0)) + F.pad(b, (0, 0, 0, 0, 0, 2)))

    found = grouping(forward, a=conv(3, 3), b=conv(3, 3), c=conv(5, 3))
    (both,) = [g for g in found.groups if g.layers == ["a", "b"]]
    assert (both.status, len(both.atoms)) == ("untouchable", 1)
    assert both.why == ["it is the only one of its kind, and one stays"]


def test_tensors_that_are_no_weights_of_layers_are_not_scored() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.rand(4, 3, 1, 1))
            self.b = conv(4, 3)

        def forward(self, x):
            return self.b(F.conv2d(x, self.kernel))

    found = group_with(groups_of(Own()), "kernel")
    assert found.status == "untouchable"
    assert found.why == ["'kernel' is not the weight of a layer, so it cannot be scored"]

    class Named(nn.Module):
        """A weight by name, of no convolution."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 3, 1, 1))

        def forward(self, x):
            return F.conv2d(x, self.weight)

    found = group_with(
        groups_of(nn.Sequential(Named(), conv(4, 3))), "0"
    )  # fmt: skip
    assert found.why == ["'0.weight' is not the weight of a layer, so it cannot be scored"]


def test_why_channels_are_coupled_names_each_reason_once() -> None:
    def forward(n, x):
        y = n.a(x) + n.b(x)
        return n.c((y + n.a(x)) * n.b(x) * torch.exp(n.gamma))

    gamma = nn.Parameter(torch.ones(1, 4, 1, 1))
    found = grouping(forward, a=conv(3, 4), b=conv(3, 4), c=conv(4, 3), gamma=gamma)
    here = "in the network's own forward"
    assert group_with(found, "a").why == [f"added together {here}", f"multiplied together {here}"]
    assert grouping(
        lambda n, x: n.c((n.a(x) + n.b(x)) * torch.exp(n.gamma)),
        a=conv(3, 4), b=conv(3, 4), c=conv(4, 3), gamma=gamma,
    ).groups[0].why == [f"added together {here}"]  # fmt: skip


def test_groups_come_in_the_order_in_which_their_first_layers_run() -> None:
    found = grouping(lambda n, x: n.a(n.c(n.b(x))), a=conv(5, 3), b=conv(3, 4), c=conv(4, 5))
    assert [(g.name, g.layers) for g in found.groups] == [
        ("g1", ["b"]), ("g2", ["c"]), ("g3", ["a"])
    ]  # fmt: skip
    assert [g.readers for g in found.groups] == [["c"], ["a"], []]
    assert found.groups[0].why == ["read only by c"]
    assert found.layer_names() == ["b", "c", "a"]
    assert found.sizes[Axis("c.weight", 0, "out")] == 5
    assert found.ranks["b.weight"] == 4
    assert found.ranks["b.bias"] == 1


def test_a_group_as_data() -> None:
    block = group(2, 1, ("tied in 'x'",), atoms=atoms("l0.weight", (0, 1, 2, 3), (4, 5, 6, 7)))
    assert block.to_dict() == {
        "name": "g7", "status": "coupled", "channels": 8, "atoms": 2, "block": 4,
        "layers": ["l0", "l1"], "readers": ["r0"], "why": ["tied in 'x'"],
    }  # fmt: skip
    assert block.out_axes() == [Axis("l0.weight", 0, "out")]


def test_the_block_is_that_of_the_issuing_layer_with_most_channels() -> None:
    members = {
        Axis("a.weight", 0, "out"): (0,), Axis("b.weight", 0, "out"): (0, 1),
        Axis("c.weight", 1, "in"): (0, 1, 2), Axis("a.bias", 0, "along"): (0, 1, 2, 3),
    }  # fmt: skip
    assert group(atoms=[Atom(members)]).block == 2
    assert group(atoms=[Atom(members)]).out_axes() == list(members)[:2]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "nothing"), (1, "l0"), (6, "l0, l1, l2, l3, l4, l5"),
        (7, "l0, l1, l2, l3, l4 ... l6 (7 layers)"),
    ],
)  # fmt: skip
def test_long_lists_are_cut_short(count: int, text: str) -> None:
    shown = str(group(count, count)).splitlines()
    assert shown[1] == f"  layers:  {text}"
    assert shown[2] == f"  read by: {text.replace('l', 'r').replace('rayers', 'layers')}"


def test_a_print_out() -> None:
    one = group(why=("free",))
    assert str(one) == "\n".join(
        ["g7: coupled, 2 channels", "  layers:  l0", "  read by: r0", "  why:     free"]
    )
    blocks = group(atoms=atoms("l0.weight", (0, 1), (2, 3), (4, 5)))
    assert str(blocks).splitlines()[0] == "g7: coupled, 6 channels in blocks of 2"


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["added in 'a'"], ["added in 'a'"]),
        (["added in 'a'", "added in 'b'", "added in 'c'"], ["added in 'a', 'b', 'c'"]),
        ([f"added in '{p}'" for p in "abcd"], ["added in 'a', 'b', 'c' and 1 more"]),
        ([f"added in '{p}'" for p in "abcdef"], ["added in 'a', 'b', 'c' and 3 more"]),
        (["added in 'a'", "tied in 'b'", "added in 'c'"], ["added in 'a', 'c'", "tied in 'b'"]),
        (["it is so", "added in 'a'"], ["it is so", "added in 'a'"]),
        (["added", "added in 'a'"], ["added in 'a'"]),
        (["it is so", "it is so"], ["it is so"]),
    ],
)
def test_reasons_of_one_kind_share_a_line(reasons: list[str], told: list[str]) -> None:
    lines = str(group(why=tuple(reasons))).splitlines()[3:]
    assert lines == [f"  why:     {line}" for line in told]


ALIKE = Axis("a.weight", 0, "out"), Axis("b.weight", 0, "out")


@pytest.mark.parametrize(
    ("axes", "indices", "sizes", "ranks", "aligned"),
    [
        (ALIKE, [(0,), (1,)], (2, 2), (4, 4), True),
        (ALIKE, [(0,), (1,)], (2, 3), (4, 4), False),  # only some channels of b
        (ALIKE, [(0,), (1,)], (2, 2), (4, 2), False),  # b is linear
        ((ALIKE[0], Axis("b.weight", 1, "out")), [(0,), (1,)], (2, 2), (4, 4), False),
        (ALIKE, [(1,), (0,)], (2, 2), (4, 4), False),
        (ALIKE, [(0,), (1, 2)], (2, 2), (4, 4), False),
        (ALIKE[:1], [(0,), (1,), (2,)], (3,), (4,), True),
        (ALIKE[:1], [(0,), (2,)], (3,), (4,), False),
    ],
)
def test_one_mask_for_all_layers(axes, indices, sizes, ranks, aligned: bool) -> None:
    found = group(atoms=[Atom(dict.fromkeys(axes, own)) for own in indices])
    names = [axis.tensor for axis in axes]
    whole = Grouping(
        [found], dict(zip(axes, sizes, strict=True)), dict(zip(names, ranks, strict=True))
    )
    assert found.aligned(whole) == aligned
