"""What is measured of a user's own network, what its attributes say, and what contradicts."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import load_user_network

MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 128)
"""Of sides that networks need."""


class Settled(nn.Module):
    """Enlarges its input, for the tests to settle how.

    Attributes:
        ratio: Output size over input size.
        multiple: Refuses sides that are no multiples of this.
        least: Refuses shorter sides.
        takes: Refuses other numbers of channels.
        makes: Says what is returned.
        sizes: Every height and width that it was given.
    """

    receptive_field = 0  # not to be measured
    value_range: float | None = 1.0  # not to be looked for

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.ratio, self.multiple, self.least = 2, 1, 1
        self.takes = 3
        self.makes = lambda y: y
        self.sizes: list[tuple[int, ...]] = []
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        self.sizes.append(tuple(x.shape[1:]))
        if x.shape[1] != self.takes:
            raise ValueError(f"expected {self.takes} channels, but got {x.shape[1]} channels")
        if any(side % self.multiple for side in x.shape[2:]):
            raise ValueError(f"not multiples of {self.multiple}")
        if min(x.shape[2:]) < self.least:
            raise ValueError("too small")
        return self.makes(F.interpolate(x, scale_factor=self.ratio, mode="nearest"))


_current: list[Settled] = []


def current() -> Settled:
    return _current[-1]


SPEC = f"{__name__}:current"


def card_of(scale: int | None = None, **settings: Any) -> tuple[Card, tuple[str, ...]]:
    _current[:] = [Settled(**settings)]
    network, assumed = load_user_network(StateDict(current().state_dict()), SPEC, "f.pt", scale)
    return network.card, assumed


def refused(scale: int | None = None, **settings: Any) -> str:
    with pytest.raises(UserError) as told:
        card_of(scale, **settings)
    return str(told.value)


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_the_multiple_of_sides(multiple: int) -> None:
    card, _ = card_of(multiple=multiple)
    assert (card.size_multiple, card.scale, card.scales) == (multiple, 2, (2,))


@pytest.mark.parametrize("least", [1, 25, 49, 97, 193])
@pytest.mark.parametrize("multiple", [1, 2, 12])
def test_a_smallest_side(least: int, multiple: int) -> None:
    assert card_of(least=least, multiple=multiple)[0].size_multiple == multiple


def test_sides_show_one_multiple_only() -> None:
    """Of blocks that are odd in number and have no divisor in common, at least three."""
    refused(least=10**6)
    bases = ((24, 40), (48, 80), (96, 160), (192, 320))
    for channels in (3, 1):
        own = [s[1:] for s in current().sizes if s[0] == channels and len(s) == 3]
        tried = list(product(bases, MULTIPLES))
        assert len(own) == len(tried)
        for (height, width), (base, multiple) in zip(own, tried, strict=True):
            assert height % multiple == width % multiple == 0
            tall, wide = height // multiple, width // multiple
            assert tall % 2 == wide % 2 == 1
            assert math.gcd(tall, wide) == 1
            least = [max(-(-side // multiple), 3) for side in base]
            assert least[0] <= tall <= least[0] + 1
            assert least[1] <= wide <= least[1] + 9


@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 8, 16])
def test_the_scale(ratio: int) -> None:
    card, _ = card_of(ratio=ratio)
    assert (card.scale, card.scales, card.pre_upscaled) == (ratio, (ratio,), False)
    assert card_of(ratio=ratio, scale=ratio)[0].scale == ratio


def times_17(y: Tensor) -> Tensor:
    """In shape alone: it takes no memory."""
    return y.mean().expand(1, 3, 17 * y.shape[2], 17 * y.shape[3])


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"ratio": 1, "makes": times_17}, r"\[1, 3, 425, 697\] of \[1, 3, 25, 41\]"),
        ({"ratio": 0.5}, r"\[1, 3, 12, 20\]"),
        ({"makes": lambda y: y[..., :-1]}, r"\[1, 3, 50, 81\]"),
        ({"makes": lambda y: y[..., :-1, :]}, r"\[1, 3, 49, 82\]"),
        ({"makes": lambda y: F.pad(y, (1, 0))}, r"\[1, 3, 50, 83\]"),
        ({"makes": lambda y: y.repeat(1, 1, 2, 1)}, r"\[1, 3, 100, 82\]"),
        ({"makes": lambda y: y[:, :2]}, r"\[1, 2, 50, 82\]"),
        ({"makes": lambda y: y[0]}, r"\[3, 50, 82\]"),
        ({"makes": lambda y: y[..., None]}, r"\[1, 3, 50, 82, 1\]"),
    ],
)
def test_what_is_no_image_of_a_whole_multiple(settings: dict[str, Any], shape: str) -> None:
    told = refused(**settings)
    assert "which is no image of a whole multiple of the input's size, up to 16" in told
    assert re.search(f"it makes {shape}", told), told


def test_channels_are_measured_or_stated() -> None:
    card, _ = card_of(takes=1)
    assert (card.channels, card.luma_only) == (1, True)
    card, _ = card_of(takes=3)
    assert (card.channels, card.luma_only) == (3, False)
    assert {size[0] for size in current().sizes} == {3}
    card, _ = card_of(takes=4, channels=4)
    assert (card.channels, card.luma_only) == (4, False)
    assert {size[0] for size in current().sizes} == {4}
    assert "expected 2 channels" in refused(takes=2)


def test_whether_it_is_luma_may_be_stated() -> None:
    assert not card_of(takes=1, luma_only=False)[0].luma_only


@pytest.mark.parametrize("multiple", [1, 9, 256])
def test_a_multiple_that_is_stated_is_believed(multiple: int) -> None:
    assert card_of(size_multiple=multiple)[0].size_multiple == multiple
    sizes = {size[1:] for size in current().sizes}  # two, for weights that its code computes
    assert len(sizes) == 2
    assert not any(side % multiple for size in sizes for side in size)


@pytest.mark.parametrize("multiple", [0, -1, 257])
def test_a_multiple_that_makes_no_sense(multiple: int) -> None:
    told = refused(size_multiple=multiple)
    assert f"sides must be multiples of {multiple}; its attribute" in told
    assert not current().sizes


def test_a_network_on_the_upscaled_image() -> None:
    for scale in (2, 3):
        card, _ = card_of(ratio=1, scale=scale)
        assert (card.scale, card.pre_upscaled, card.network_scale) == (scale, True, 1)
    card, _ = card_of(ratio=1, pre_upscaled=True, scale=2)
    assert (card.scale, card.pre_upscaled) == (2, True)
    _current[:] = [Settled(ratio=1, scale=4)]  # an attribute
    own = load_user_network(StateDict(current().state_dict()), SPEC, "f.pt")[0].card
    assert (own.scale, own.pre_upscaled) == (4, True)


def test_a_network_that_keeps_the_size_and_says_nothing() -> None:
    card, _ = card_of(ratio=1)
    assert (card.scale, card.pre_upscaled) == (1, False)
    card, _ = card_of(ratio=1, scale=1)
    assert (card.scale, card.pre_upscaled) == (1, False)


def test_what_is_said_of_the_upscaled_image_must_hold() -> None:
    for settings in ({"ratio": 1}, {"ratio": 2, "scale": 2}, {"ratio": 2}):
        told = refused(pre_upscaled=True, **settings)
        assert "says that its input is already upscaled: then it must keep the size" in told


def test_a_scale_that_is_given_must_be_the_measured_one() -> None:
    for scale in (1, 3):
        assert f"upscales by 2, not by {scale}." in refused(scale=scale)
    assert "upscales by 1, not by 2." in refused(ratio=1, pre_upscaled=False, scale=2)


@pytest.mark.parametrize(
    ("value", "read"),
    [(255, 255.0), (4095.5, 4095.5), (1, 1.0), (True, None), ("255", None), (None, None)],
)
def test_the_range_of_pixels(value: Any, read: float | None) -> None:
    card, assumed = card_of(value_range=value)
    assert card.value_range == (1.0 if read is None else read)
    assert assumed == (() if read else ("pixel values run from 0 to 1 (no attribute value_range)",))


@pytest.mark.parametrize(("value", "read"), [(7, 7), (0, 0), (True, 1), (7.0, 1), (None, 1)])
def test_the_receptive_field_is_stated_or_measured(value: Any, read: int) -> None:
    assert card_of(receptive_field=value)[0].receptive_field == read


def test_reasons_of_a_network_that_takes_nothing() -> None:
    def fails(y: Tensor) -> Tensor:
        raise ValueError("my own reason")

    assert "my own reason" in refused(makes=fails)
    # What a wrong number of channels gives is told only where there is nothing else.
    assert "my own reason" in refused(makes=fails, takes=1)
    assert "expected 5 channels, but got 3 channels" in refused(takes=5)


class Video(nn.Module):
    """Takes several images at once, one dimension further."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5 or x.shape[self.axis] != 3 or x.shape[3 - self.axis] != self.channels:
            raise ValueError("five dimensions")
        return x


@pytest.mark.parametrize("axis", [1, 2])
def test_networks_of_several_images_are_told_apart(axis: int) -> None:
    made = Video()
    made.axis, made.channels = axis, 1
    _current[:] = [made]
    with pytest.raises(UserError, match="it takes 5-D input"):
        load_user_network(StateDict(made.state_dict()), SPEC, "f.pt")


def test_code_of_the_users_own_is_called_once_and_in_float32() -> None:
    _current[:] = [Settled().double().train()]
    tensors = {name: tensor.float() for name, tensor in current().state_dict().items()}
    network, _ = load_user_network(StateDict(tensors), SPEC, "f.pt")
    assert network.module is current()
    assert {p.dtype for p in network.module.parameters()} == {torch.float32}
    assert not network.module.training
