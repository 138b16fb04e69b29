"""Which network a run keeps, whatever happens to it on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from srdeploy.models.network import Network
from srdeploy.models.store import read_network, save_network
from srdeploy.train.best import Best, read_best
from srdeploy.train.recipe import Validation
from srdeploy.train.run_folder import BEST

Make = Callable[..., Network]
CHECK = Validation(data="builtin", every=5)


def numbered(network: Network, number: float) -> Network:
    one = network.copy()
    with torch.no_grad():
        one.module.head[0].bias.fill_(number)
    return one


def kept(folder: Path, network: Network, check: Validation = CHECK) -> tuple[float, dict] | None:
    found = read_best(folder, check, network.copy())
    return None if found is None else (found[0].module.head[0].bias[0].item(), found[1])


def test_the_first_of_the_best(tiny: Network, tmp_path: Path) -> None:
    best = Best(tmp_path, CHECK)
    assert not best.known
    assert kept(tmp_path, tiny) is None
    for iteration, psnr in enumerate([math.nan, 30.0, 32.0, 31.0, 32.0, math.nan]):
        best.offer(numbered(tiny, iteration), iteration, psnr)
        assert best.known == (iteration > 0)
    assert kept(tmp_path, tiny) == (2.0, {"iteration": 2, "psnr": 32.0})


def test_the_file_is_the_record(tiny: Network, tmp_path: Path) -> None:
    Best(tmp_path, CHECK).offer(numbered(tiny, 7), 7, 32.000000001)
    again = Best(tmp_path, CHECK)
    assert again.known
    again.offer(numbered(tiny, 8), 8, 32.0)
    assert kept(tmp_path, tiny) == (7.0, {"iteration": 7, "psnr": 32.000000001})
    again.offer(numbered(tiny, 9), 9, 33.0)
    assert kept(tmp_path, tiny) == (9.0, {"iteration": 9, "psnr": 33.0})
    assert read_network(tmp_path / BEST).card.history[-1]["step"] == "kept"
    found = read_best(tmp_path, CHECK, tiny.copy())
    assert found is not None
    assert found[0].card == tiny.card  # what it was kept for is no step of its own


def test_nothing_beats_equal_pictures(tiny: Network, tmp_path: Path) -> None:
    best = Best(tmp_path, CHECK)
    best.offer(numbered(tiny, 1), 1, math.inf)
    best.offer(numbered(tiny, 2), 2, 50.0)
    assert kept(tmp_path, tiny) == (1.0, {"iteration": 1, "psnr": math.inf})
    assert Best(tmp_path, CHECK).known


@pytest.mark.parametrize("change", [{"data": "Set5"}, {"scale": 3}, {"protocol": "rgb"}])
def test_another_measure_counts_for_nothing(tiny: Network, tmp_path: Path, change: dict) -> None:
    Best(tmp_path, CHECK).offer(numbered(tiny, 1), 1, 40.0)
    other = CHECK.model_copy(update=change)
    assert kept(tmp_path, tiny, other) is None
    best = Best(tmp_path, other)
    assert not best.known
    best.offer(numbered(tiny, 2), 2, 30.0)
    assert kept(tmp_path, tiny, other) == (2.0, {"iteration": 2, "psnr": 30.0})
    assert kept(tmp_path, tiny) is None
    oftener = CHECK.model_copy(update={"every": 1})
    assert oftener.what == CHECK.what


def test_a_file_that_is_none(tiny: Network, tmp_path: Path) -> None:
    (tmp_path / BEST).write_bytes(b"cut")
    assert not Best(tmp_path, CHECK).known
    save_network(tiny, tmp_path / BEST)  # of srdeploy 0.1: it does not say what it is
    assert not Best(tmp_path, CHECK).known
    odd = {"step": "kept", "what": CHECK.what, "psnr": "much", "iteration": 3}
    save_network(Network(tiny.module, tiny.card.step(**odd)), tmp_path / BEST)
    assert not Best(tmp_path, CHECK).known


def test_a_live_module_is_made_as_before(tiny: Network, tmp_path: Path) -> None:
    Best(tmp_path, CHECK).offer(tiny, 1, 30.0)
    live = replace(tiny.copy(), make=lambda: tiny.copy().module)
    found = read_best(tmp_path, CHECK, live)
    assert found is not None
    assert found[0].make is live.make
