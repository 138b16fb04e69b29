"""Numbers that a network's code bakes into its reshapes, replaced while it runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.reshapes import fits, is_number_name, number_name
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


HEADS, TOGETHER = (None, None, 2, 6), (None, None, 12)


def test_names_and_what_they_recognise() -> None:
    name = number_name(HEADS, 3)
    assert name == "reshape (?, ?, 2, 6)[3]"
    assert is_number_name(name)
    assert not is_number_name("sizes[1]")
    assert fits(HEADS, [5, -1, 2, 6])
    assert fits(HEADS, [5, 7, 2, -1])
    assert not fits(HEADS, [5, 7, 6, 2])
    assert not fits(HEADS, [5, 2, 6])


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
    smaller = {number_name((None, None, 2, 4), 3): 3, number_name((None, None, 8), 2): 6}
    set_numbers(part, {"": smaller})
    x = torch.rand(3, 5, 6)
    assert torch.equal(part(x), x)


def test_a_copy_has_numbers_of_its_own() -> None:
    part = Part()
    set_numbers(part, {"": {number_name(HEADS, 3): 4, number_name(TOGETHER, 2): 8}})
    other = copy.deepcopy(part)
    set_numbers(other, {"": {number_name((None, None, 2, 4), 3): 3}})
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
