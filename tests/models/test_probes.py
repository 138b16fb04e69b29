"""Photographs to probe with, and sizes that fit a network of its own mind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.models.card import Card
from srdeploy.models.probes import (
    PROBE_SIZES,
    CannotRunError,
    fit_size,
    fit_sizes,
    photograph,
    run,
)


def _card(channels: int = 3, value_range: float = 1.0, multiple: int = 1) -> Card:
    return Card(
        arch="test:Net",
        scale=1,
        scales=(1,),
        channels=channels,
        value_range=value_range,
        size_multiple=multiple,
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(12, 12), (17, 29), (700, 520)])
def test_photographs_are_natural_images_in_the_networks_range(
    channels: int, size: tuple[int, int]
) -> None:
    x = photograph(_card(channels, 255.0), size, batch=4)
    assert x.shape == (4, channels, *size)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert x.min() >= 0
    assert 100 < x.max() <= 255
    assert (x.std((1, 2, 3)) > 10).all()  # nothing flat
    for i in range(4):  # nothing twice
        assert all(np.abs(x[i] - x[j]).max() > 10 for j in range(i))
    halves = np.abs(np.diff(x, axis=3)).mean(), np.abs(x[..., ::-1] - x).mean()
    assert halves[0] < halves[1]  # neighbours are alike, as in no noise
    np.testing.assert_allclose(photograph(_card(channels, 1.0), size, 4), x / 255, atol=1e-6)


def test_every_photograph_is_a_new_array() -> None:
    card = _card()
    first = photograph(card, (24, 20))
    kept = first.copy()
    first *= 0
    np.testing.assert_array_equal(photograph(card, (24, 20)), kept)


def test_a_network_may_write_into_what_it_is_given() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x *= 255.0
            return x

    x = torch.ones(1, 3, 4, 4)
    assert float(run(InPlace(), x).max()) == 255
    assert float(x.max()) == 1


class _Picky(nn.Module):
    """Takes sides of at least ``least`` that are multiples of ``multiple``."""

    def __init__(self, least: int, multiple: int, square: bool = False) -> None:
        super().__init__()
        self.least, self.multiple, self.square = least, multiple, square
        self.body = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        assert min(height, width) >= self.least, f"at least {self.least} pixels"
        assert height % self.multiple == width % self.multiple == 0, "bad multiple"
        assert height == width or not self.square, "must be square"
        return x


@pytest.mark.parametrize(
    ("least", "multiple", "square"),
    [(1, 1, False), (17, 1, False), (64, 1, False), (1, 7, False), (33, 12, False), (100, 9, True)],
)
def test_sizes_fit_a_smallest_size_and_a_multiple(least: int, multiple: int, square: bool) -> None:
    sizes = fit_sizes(_Picky(least, multiple, square), _card())
    assert max(max(size) for size in sizes) >= 136
    for wanted, got in zip(PROBE_SIZES, sizes, strict=False):
        assert got[0] >= wanted[0] or len(sizes) < 3
        assert min(got) >= least
        assert got[0] % multiple == got[1] % multiple == 0
    if (least, multiple) == (1, 1):
        assert tuple(sizes) == PROBE_SIZES


def test_reflection_padding_makes_its_own_smallest_size() -> None:
    class Padded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (20, 20, 20, 20), mode="reflect")[..., 20:-20, 20:-20]

    assert all(min(size) > 20 for size in fit_sizes(Padded(), _card()))


def test_the_cards_multiple_holds() -> None:
    sizes = fit_sizes(nn.Identity(), _card(multiple=16))
    assert sizes == [(16, 16), (32, 32), (144, 160)]  # two wanted sizes became one


def test_a_network_of_one_size_is_probed_at_it() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.new_zeros(48, 48)

    assert fit_sizes(Fixed(), _card()) == [(48, 48)]


def test_the_first_reason_is_told_where_no_size_works() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Identity(), nn.Conv2d(5, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    with pytest.raises(CannotRunError, match=r"\[1, 3, 12, 12\]: 'body.1' fails .*, nor on any"):
        fit_sizes(Broken(), _card())


def test_other_errors_are_not_taken_for_a_size_that_does_not_fit() -> None:
    def attempt(size: tuple[int, int]) -> None:
        raise KeyError(size)

    with pytest.raises(KeyError):
        fit_size(attempt, (8, 8))
