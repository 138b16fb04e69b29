"""Costs of removal against least squares done the long way."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

from srdeploy.models.registry import create
from srdeploy.pruning.methods.pruners import choose
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct import choice
from srdeploy.reconstruct.choice import Reader, choose_by_cost
from tests.reconstruct.own import network_of

CHANNELS, TAPS, OUTPUTS, POSITIONS = 6, 3, 4, 500


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and correlated columns."""
    generator = torch.Generator().manual_seed(3)
    size = CHANNELS * TAPS
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64)
    columns = mixing @ torch.randn(size, POSITIONS, generator=generator, dtype=torch.float64)
    return torch.randn(OUTPUTS, size, generator=generator, dtype=torch.float64), columns


def _error(weight: torch.Tensor, columns: torch.Tensor, removed: tuple[int, ...]) -> float:
    """Share of the outputs' power lost when all other weights and the bias are free."""
    wanted = weight @ columns
    kept = [c * TAPS + t for c in range(CHANNELS) if c not in removed for t in range(TAPS)]
    free = torch.cat([columns[kept], torch.ones(1, POSITIONS, dtype=torch.float64)])
    fitted = torch.linalg.lstsq(free.T, wanted.T).solution.T @ free
    centred = wanted - wanted.mean(1, keepdim=True)
    return float((wanted - fitted).square().sum() / centred.square().sum())


def _reader(weight: torch.Tensor, columns: torch.Tensor) -> Reader:
    rows = torch.arange(CHANNELS * TAPS).view(CHANNELS, TAPS)
    return Reader(weight, torch.cov(columns, correction=0), rows)


def test_costs_are_the_errors_of_the_best_refit(
    data: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "DAMPING", 1e-12)
    reader = _reader(*data)
    alone = [_error(*data, (c,)) for c in range(CHANNELS)]
    torch.testing.assert_close(
        reader.costs(range(CHANNELS)), torch.tensor(alone, dtype=torch.float64), rtol=1e-5, atol=0
    )
    reader.remove(2)
    left = [c for c in range(CHANNELS) if c != 2]
    further = [_error(*data, (2, c)) - alone[2] for c in left]
    torch.testing.assert_close(
        reader.costs(left), torch.tensor(further, dtype=torch.float64), rtol=1e-5, atol=1e-12
    )


def test_one_after_another_is_near_the_best_pair(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    removed, costs = choice._cheapest([_reader(*data)], CHANNELS, 2)
    errors = {pair: _error(*data, pair) for pair in combinations(range(CHANNELS), 2)}
    chosen = errors[tuple(sorted(removed))]
    assert chosen == pytest.approx(sum(costs), rel=1e-2)
    assert chosen <= sorted(errors.values())[2]


class Copies(nn.Module):
    """Channels 1 and 4 of the first layer are others, scaled: nothing is lost without them."""

    value_range, scale = 1.0, 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.tail = nn.Conv2d(6, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        with torch.no_grad():
            for copy, original, factor in ((1, 0, 2.0), (4, 3, 0.5)):
                self.head.weight[copy] = factor * self.head.weight[original]
                self.head.bias[copy] = factor * self.head.bias[original]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.tail(torch.relu(self.head(x))))


def test_copies_go_first_and_cost_nothing() -> None:
    network = network_of(Copies())
    grouping = find_groups(network)
    (group,) = [group for group in grouping.groups if group.layers == ["head"]]
    inputs = [torch.rand(1, 3, 24, 24)]
    removed, costs = choose_by_cost(network.module, grouping, {group.name: 2}, inputs)
    first, second = removed[group.name]
    assert first in (0, 1)
    assert second in (3, 4)
    assert max(costs[group.name]) < 1e-3
    _, dearer = choose_by_cost(network.module, grouping, {group.name: 3}, inputs)
    assert dearer[group.name][2] > 10 * max(costs[group.name])


def test_coupled_layers_are_judged_by_all_who_read_them() -> None:
    network = create("ledsr", scale=2, n_blocks=2, n_feats=6)
    grouping = find_groups(network)
    (stream,) = [group for group in grouping.groups if "head.0" in group.layers]
    found = choice.readers_of(network.module, stream)
    assert set(found) == set(stream.readers)
    removed, _ = choose_by_cost(
        network.module, grouping, {stream.name: 2}, [torch.rand(1, 3, 16, 16) * 255]
    )
    assert len(removed[stream.name]) == 2


def test_what_nobody_reads_as_a_matrix_is_chosen_by_norm() -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    grouping = find_groups(network)
    group = next(group for group in grouping.groups if group.status != "untouchable")
    for atom in group.atoms:
        for axis in [axis for axis in atom.members if axis.role == "in"]:
            del atom.members[axis]
    x = [torch.rand(1, 3, 8, 8)]
    removed, costs = choose_by_cost(network.module, grouping, {group.name: 1}, x)
    assert removed == choose(network.module, grouping, {group.name: 1}, "l1")
    assert costs == {}
