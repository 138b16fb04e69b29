"""What a photograph shows of the range that a network's pixels have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.models.card import Card
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import run
from srdeploy.models.registry import create
from srdeploy.models.value_range import recognise_range


def answers(network: Network) -> Callable[[NDArray], NDArray]:
    return lambda x: run(network.module, torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("name", ["edsr-s-x2", "edsr-s-x3-p50", "edsr-s-x4", "edsr-s-x2-p70"])
@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_shipped_networks_show_theirs(name: str, size: tuple[int, int]) -> None:
    network = load_network(name)
    answer = answers(network)
    assert recognise_range(answer, network.card, size) == 255.0
    assert recognise_range(lambda x: answer(x * 255) / 255, network.card, size) == 1.0


def test_a_network_without_training_shows_none() -> None:
    for arch, layers in (("vdsr", "n_layers"), ("ledsr", "n_blocks"), ("edsr", "n_blocks")):
        network = create(arch, n_feats=8, **{layers: 3})
        assert recognise_range(answers(network), network.card, (32, 32)) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_what_has_no_biases_shows_none_and_what_fails_neither(channels: int) -> None:
    card = Card(arch="t", scale=2, scales=(2,), channels=channels, value_range=1.0)

    def bicubic(x: NDArray) -> NDArray:
        return imresize(x[0].transpose(1, 2, 0).astype(float), 2).transpose(2, 0, 1)[None]

    assert recognise_range(bicubic, card, (32, 32)) is None
    assert recognise_range(lambda x: bicubic(x) * np.nan, card, (32, 32)) is None
    assert recognise_range(lambda x: x, card, (32, 32)) is None
    four = card.model_copy(update={"channels": 4})
    assert recognise_range(lambda x: pytest.fail("was run"), four, (32, 32)) is None


def test_the_input_is_upscaled_where_the_network_wants_it_so() -> None:
    card = Card(
        arch="t", scale=3, scales=(3,), channels=1, value_range=1.0, luma_only=True,
        pre_upscaled=True,
    )  # fmt: skip
    seen: list[NDArray] = []
    recognise_range(lambda x: seen.append(x) or x, card, (64, 40))
    assert [x.shape for x in seen] == [(1, 1, 64, 40)] * 2
    np.testing.assert_allclose(seen[1], seen[0] * 255, rtol=1e-6)
    steps = np.abs(np.diff(seen[0], axis=3)).max()
    sharp = Card(arch="t", scale=3, scales=(3,), channels=1, value_range=1.0)
    recognise_range(
        lambda x: seen.append(x) or np.repeat(np.repeat(x, 3, 2), 3, 3), sharp, (21, 13)
    )
    assert steps < np.abs(np.diff(seen[2], axis=3)).max()


def test_a_size_beyond_the_photograph_is_mirrored() -> None:
    network = load_network("edsr-s-x2-p70")
    assert recognise_range(answers(network), network.card, (8, 330)) == 255.0
