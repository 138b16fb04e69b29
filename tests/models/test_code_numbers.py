"""Numbers that a network's code bakes into its reshapes and cuts, replaced while it runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.code_calls import RESHAPE, Site
from srdeploy.models.code_numbers import (
    Asked,
    code_numbers,
    fits,
    is_number_name,
    is_part_number,
    number_name,
)
from srdeploy.models.resize import set_numbers


class Part(nn.Module):
    """Asks for two heads of six channels, and puts them together again; an inner layer, too."""

    def __init__(self, inner: bool = False) -> None:
        super().__init__()
        self.inside = Part() if inner else None

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.inside is None else self.inside(x)
        y = torch.reshape(y, (len(x), -1, 2, 6)).transpose(1, 2)
        return y.transpose(1, 2).reshape(len(x), -1, 12)


HEADS, TOGETHER = Asked(RESHAPE, (None, None, 2, 6)), Asked(RESHAPE, (None, None, 12))


def test_names_and_what_they_recognise() -> None:
    name = number_name(HEADS, 3)
    assert name == "reshape (?, ?, 2, 6)[3]"
    assert is_number_name(name)
    assert not is_number_name("sizes[1]")
    assert is_part_number(f"body.0.{name}")
    for sizes, known in (((5, -1, 2, 6), True), ((5, 7, 2, -1), True), ((5, 7, 6, 2), False),
                         ((5, 2, 6), False)):  # fmt: skip
        assert fits(HEADS, Site(RESHAPE, sizes)) is known
    front = Asked("slice 1 of 4", (None, 6))
    assert number_name(front, 1) == "slice 1 of 4 (?, 6)[1]"
    assert is_number_name("split each 1 of 4 (6)[0]")
    assert is_number_name(number_name(Asked("slice 1 of 3", (-6, None)), 0))
    for kind, ends, known in (("slice 1 of 4", (0, 6), True), ("slice 1 of 4", (2, 6), False),
                              ("slice 1 of 4", (None, None), False),
                              ("slice 2 of 4", (None, 6), False)):  # fmt: skip
        assert fits(front, Site(kind, ends)) is known


@pytest.mark.parametrize("inner", [False, True])
def test_a_part_runs_with_fewer_channels(inner: bool) -> None:
    part = Part(inner)
    x = torch.rand(3, 5, 8)
    with pytest.raises(RuntimeError, match="invalid"):
        part(x)
    numbers = {number_name(HEADS, 3): 4, number_name(TOGETHER, 2): 8}
    set_numbers(part, {"": numbers})
    assert torch.equal(part(x), x)  # of the layer inside, too, as it runs in the part
    assert torch.equal(copy.deepcopy(part)(x), x)
    assert part.state_dict() == {}


def test_numbers_given_again_recognise_those_given_before() -> None:
    part = Part()
    set_numbers(part, {"": {number_name(HEADS, 3): 4, number_name(TOGETHER, 2): 8}})
    smaller = {number_name(Asked(RESHAPE, (None, None, 2, 4)), 3): 3,
               number_name(Asked(RESHAPE, (None, None, 8)), 2): 6}  # fmt: skip
    set_numbers(part, {"": smaller})
    x = torch.rand(3, 5, 6)
    assert torch.equal(part(x), x)
    numbers = {number_name(HEADS, 3): 3, number_name(TOGETHER, 2): 6, **smaller}
    assert code_numbers(part) == numbers
    fresh = Part()  # as its file has it
    set_numbers(fresh, {"": numbers})
    assert torch.equal(fresh(x), x)


def test_a_copy_has_numbers_of_its_own() -> None:
    part = Part()
    set_numbers(part, {"": {number_name(HEADS, 3): 4, number_name(TOGETHER, 2): 8}})
    other = copy.deepcopy(part)
    set_numbers(other, {"": {number_name(Asked(RESHAPE, (None, None, 2, 4)), 3): 3}})
    x = torch.rand(3, 5, 8)
    assert torch.equal(part(x), x)


def test_calls_that_ask_for_others_are_left_alone() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(torch.int32).view(torch.float32).reshape(len(x), 2, 6, -1).view(-1)

    part, x = Own(), torch.rand(3, 5, 12)
    set_numbers(part, {"": {number_name(HEADS, 3): 4}})
    assert torch.equal(part(x), x.flatten())


def test_no_part_no_numbers() -> None:
    with pytest.raises(UserError, match="made for another architecture"):
        set_numbers(Part(), {"attention": {number_name(HEADS, 3): 4}})
    with pytest.raises(UserError, match="made for another architecture"):
        set_numbers(Part(), {"": {"reshape (2, x)[3]": 4}})


class Halves(nn.Module):
    """Cuts by numbers of its own, in every way."""

    def forward(self, x: Tensor) -> list[Tensor]:
        first, rest = torch.split(x, [6, 2], 1)
        return [
            x[:, :6], x[:, 6:], x[:, -2:], x[:, :-2], x[..., 1:6, :, :], x.narrow(1, 6, 2), first,
            rest, *x.split(4, dim=1), x[:, None, :6, 0],
        ]  # fmt: skip


def test_cuts_run_with_other_numbers() -> None:
    """As if channels 4 and 7 of 8 were gone: the front has 5, the back 1."""
    part, x = Halves(), torch.rand(3, 6, 4, 5)
    numbers = {
        "slice 1 of 4 (?, 6)[1]": 5, "slice 1 of 4 (6, ?)[0]": 5, "slice 1 of 4 (-2, ?)[0]": 1,
        "slice 1 of 4 (?, -2)[1]": 1, "slice 1 of 4 (1, 6)[1]": 5, "narrow 1 of 4 (6, 2)[0]": 5,
        "narrow 1 of 4 (6, 2)[1]": 1, "split 1 of 4 (6, 2)[0]": 5, "split 1 of 4 (6, 2)[1]": 1,
        "split each 1 of 4 (4)[0]": 3,
    }  # fmt: skip
    set_numbers(part, {"": numbers})
    wanted = [x[:, :5], x[:, 5:], x[:, 5:], x[:, :5], x[:, 1:5], x[:, 5:], x[:, :5], x[:, 5:],
              x[:, :3], x[:, 3:], x[:, None, :5, 0]]  # fmt: skip
    for found, own in zip(part(x), wanted, strict=True):
        assert torch.equal(found, own)
    assert code_numbers(part) == numbers


def test_a_part_inside_has_the_first_say() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = Inner()

        def forward(self, x: Tensor) -> Tensor:
            return self.inside(x)[:, :6]

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :8]

    part, x = Outer(), torch.rand(1, 9)
    set_numbers(part, {"": {"slice 1 of 2 (?, 6)[1]": 4}, "inside": {"slice 1 of 2 (?, 8)[1]": 6}})
    assert part.inside(x).shape == (1, 6)
    assert part(x).shape == (1, 4)


def test_of_two_numbers_one_does_not_follow_the_other() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, :6], x[:, :4]], 1)

    part, x = Twice(), torch.rand(1, 4)
    set_numbers(part, {"": {"slice 1 of 2 (?, 6)[1]": 4, "slice 1 of 2 (?, 4)[1]": 2}})
    assert torch.equal(part(x), torch.cat([x, x[:, :2]], 1))
