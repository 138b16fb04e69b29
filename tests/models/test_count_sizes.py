"""The input of a 720p output, and what is not counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from srdeploy.models import (
    count,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize(
    ("scale", "multiple", "size"),
    [(2, 1, (360, 640)), (3, 1, (240, 426)), (4, 1, (180, 320)), (3, 4, (240, 424)),
     (8, 7, (84, 154))],
)  # fmt: skip
def test_the_input_of_a_720p_output(scale: int, multiple: int, size: tuple[int, int]) -> None:
    card = SimpleNamespace(network_scale=scale, size_multiple=multiple)
    assert count.lr_size_720p(SimpleNamespace(card=card)) == size  # type: ignore[arg-type]


def test_frozen_shifts_are_not_counted(edsr: Network) -> None:
    plain = create("edsr", n_blocks=1, n_feats=4, mean_shift=False)
    assert count.count(edsr) == count.count(plain)
    assert count.macs(edsr, 1, 1) == 3 * 4 * 9 + 3 * 4 * 4 * 9 + 4 * 16 * 9 + 4 * (4 * 3 * 9)
    assert next(edsr.module.parameters()).device.type == "cpu"
